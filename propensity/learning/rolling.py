"""
Candidates judged forward in time, and the recipe of the model that follows from it.

Rolling origin: for each block of weeks a candidate is fitted on the snapshots whose
labels were final when the block began, and scores the block's. Its log loss over all
blocks is what it would have been worth. Half-life, candidate, weights of a mean and
calibration are chosen there, in this order; the recipe is then fitted on other rows.

Source:
    Tashman, "Out-of-sample tests of forecasting accuracy: an analysis and review",
    International Journal of Forecasting 16, 2000, on rolling origins.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.learning import calibration
from propensity.learning.candidates import (
    FittedCandidate,
    estimator,
    figures,
    fit_on,
    is_mean,
    is_stacked,
    members,
)
from propensity.learning.choice import (
    Judged,
    Pick,
    mean_of,
    pick,
    stacked_weights,
)
from propensity.learning.data import Parts, Slice
from propensity.learning.preprocessor import fitted, transformed
from propensity.models.scoring import MeanOfModels, log_odds
from propensity.usecases import Candidate, UseCase

Floats = NDArray[np.float64]

# Half-lives of a row's weight, in weeks, that are compared with none.
HALF_LIVES = (52.0, 26.0, 13.0)
NO_HALF_LIFE = "none"

_CHEAP = "LogisticRegression"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """
    What makes a model of any rows.

    Attributes:
        candidate: The chosen one.
        members: Itself, or the members of a mean.
        weights: Of the members of a stacked mean; None for equal weights.
        half_life_weeks: Age at which a row weighs half as much; None for no ageing.
        calibrator: Calibration of out-of-time scores; None for none.
    """

    candidate: Candidate
    members: Sequence[Candidate]
    weights: Sequence[float] | None
    half_life_weeks: float | None
    calibrator: Any | None

    def model(
        self, part: Slice, use_case: UseCase, *, preprocessor: Any, seed: int
    ) -> tuple[Any, Any]:
        """Return preprocessor and model, fitted on rows in time order."""
        features = dict(use_case.features)
        encoder = fitted(preprocessor, part, features)
        encoded = transformed(encoder, part.rows, features)
        rows = aged(part, self.half_life_weeks)
        models = [
            fit_on(estimator(member, {}, seed=seed), encoded, rows, name=member.name)
            for member in self.members
        ]
        model = (
            MeanOfModels(models, self.weights) if is_mean(self.candidate) else models[0]
        )
        return encoder, calibration.attached(self.calibrator, model)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """
    What the forward blocks have shown.

    Attributes:
        recipe: Of the model.
        picked: Between the candidates.
        candidates: With figures of all judged rows; models are those of the newest
            block, behind ``encoder``.
        half_lives: Log loss of the cheapest candidate by half-life; empty if there was
            nothing to compare.
        calibration: Name of the chosen one.
        calibrations: Log loss by name: of each block, fitted on the blocks before it;
            of a single block, cross-fitted over users.
        stacks: Weights of the members of each stacked mean, by its name.
        rows: The judged rows, in time order.
        probability: Of these rows, out of time, with the chosen calibration, fitted on
            others, (rows,).
        fits: Number of fits so far.
    """

    recipe: Recipe
    picked: Pick
    encoder: Any
    candidates: Sequence[FittedCandidate]
    half_lives: Mapping[str, float]
    calibration: str
    calibrations: Mapping[str, float]
    stacks: Mapping[str, Sequence[float]]
    rows: Slice
    probability: Floats
    fits: int


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """Out-of-time probabilities of the judged rows, and how they came about."""

    probability: Floats
    model: Any
    seconds: float = 0.0


def choose(parts: Parts, use_case: UseCase, *, preprocessor: Any, seed: int) -> Choice:
    """
    Judge the candidates on the blocks of ``parts``, and choose a recipe.

    Raises:
        SchemaError: The rows or the preprocessor do not fit the use case.
        UseCaseError: A candidate is wrong.
    """
    forward = _Forward.of(parts, use_case, preprocessor=preprocessor, seed=seed)
    judged = forward.judged
    half_life, half_lives = _half_life(forward, use_case.candidates)
    scored: dict[str, _Scored] = {}
    for candidate in use_case.candidates:
        scored[candidate.name] = (
            forward.mean(candidate, scored)
            if is_mean(candidate)
            else forward.scored(candidate, half_life)
        )
    by_name = {candidate.name: candidate for candidate in use_case.candidates}
    preferred = sorted(by_name.values(), key=_preference)
    picked = pick(
        {
            candidate.name: judged.loss(scored[candidate.name].probability)
            for candidate in preferred
        },
        judged,
    )
    chosen = by_name[picked.name]
    names = members(chosen, scored) if is_mean(chosen) else [chosen.name]
    stacks = {
        candidate.name: scored[candidate.name].model.weights
        for candidate in use_case.candidates
        if is_stacked(candidate)
    }
    weights = stacks.get(chosen.name)
    if weights is not None:
        names = [name for name, weight in zip(names, weights, strict=True) if weight]
        weights = [weight for weight in weights if weight]

    raw = scored[chosen.name].probability
    decision = log_odds(raw)
    crossed = forward.calibrated(raw, decision)
    method = pick({name: judged.loss(p) for name, p in crossed.items()}, judged)
    return Choice(
        recipe=Recipe(
            candidate=chosen,
            members=[by_name[name] for name in names],
            weights=weights,
            half_life_weeks=half_life,
            calibrator=calibration.calibrator(method.name, decision, forward.rows),
        ),
        picked=picked,
        encoder=forward.encoder,
        candidates=[
            FittedCandidate(
                candidate=candidate,
                model=scored[name].model,
                figures=figures(scored[name].probability, forward.rows),
                fit_s=scored[name].seconds,
            )
            for name, candidate in by_name.items()
        ],
        half_lives=half_lives,
        calibration=method.name,
        calibrations=method.losses,
        stacks=stacks,
        rows=forward.rows,
        probability=crossed[method.name],
        fits=len(forward.fits) * len(forward.bounds),
    )


def aged(part: Slice, half_life_weeks: float | None) -> Slice:
    """Return rows that weigh half as much for each half-life before the newest."""
    if half_life_weeks is None:
        return part
    as_of = part.rows["as_of"].to_numpy().astype("datetime64[D]")
    weeks = (as_of.max() - as_of).astype(np.float64) / 7
    return replace(part, weight=part.weight * 0.5 ** (weeks / half_life_weeks))


def _preference(candidate: Candidate) -> int:
    """
    Return the rank of a candidate that is as good as another.

    Means come first, since an average errs less than the one of its members that
    happened to be best; then candidates as the use case lists them, the simplest first.
    """
    if not is_mean(candidate) or len(candidate.parameters["of"]) < 2:
        return 2
    return 1 if is_stacked(candidate) else 0


def _half_life(
    forward: _Forward, candidates: Sequence[Candidate]
) -> tuple[float | None, dict[str, float]]:
    """
    Choose the half-life by the candidate that is quickest to fit, and return losses.

    None is preferred, then the longest: a half-life must be shown to be better.
    """
    spanned = forward.weeks
    tried = [weeks for weeks in HALF_LIVES if weeks < spanned]
    fitted_alone = [one for one in candidates if not is_mean(one)]
    if not tried or not fitted_alone:
        return None, {}
    cheap = next(
        (one for one in fitted_alone if one.algorithm == _CHEAP), fitted_alone[0]
    )
    losses = {
        NO_HALF_LIFE if weeks is None else f"{weeks:g}": forward.judged.loss(
            forward.scored(cheap, weeks).probability
        )
        for weeks in (None, *tried)
    }
    picked = pick(losses, forward.judged)
    chosen = None if picked.name == NO_HALF_LIFE else float(picked.name)
    return chosen, dict(picked.losses)


@dataclass(frozen=True, kw_only=True)
class _Forward:
    """
    The rows before the holdout, encoded once, and where the blocks are among them.

    The encoder is fitted on the rows of the first block's fits, so that it knows
    nothing that any block judges. Rows are in time order: a block's rows to fit on are
    the first ones, and the judged rows of all blocks follow each other.

    Attributes:
        bounds: Of each block: the end of its rows to fit on, and the first and the end
            of those to judge on.
        fits: Models by candidate and half-life, with their scores: none is fitted
            twice.
    """

    encoder: Any
    part: Slice
    encoded: Any
    bounds: Sequence[tuple[int, int, int]]
    rows: Slice
    judged: Judged
    weeks: float
    seed: int
    fits: dict[tuple[str, float | None], list[tuple[Any, Floats, float]]] = field(
        default_factory=dict
    )

    @classmethod
    def of(
        cls, parts: Parts, use_case: UseCase, *, preprocessor: Any, seed: int
    ) -> _Forward:
        """Encode the rows of the blocks."""
        every = parts.every
        assert every is not None, "only rows of users have blocks"
        as_of = every.rows["as_of"].to_numpy().astype("datetime64[D]")

        def end(day: Any, side: Any = "right") -> int:
            return int(np.searchsorted(as_of, np.datetime64(day, "D"), side))

        bounds = [
            (
                end(block.fitting[-1]),
                end(block.judged[0], "left"),
                end(block.judged[-1]),
            )
            for block in parts.blocks
        ]
        features = dict(use_case.features)
        encoder = fitted(preprocessor, _rows(every, 0, bounds[0][0]), features)
        part = _rows(every, 0, bounds[-1][2])
        rows = _rows(every, bounds[0][1], bounds[-1][2])
        users = pc.dictionary_encode(rows.rows["user_id"].combine_chunks()).indices
        return cls(
            encoder=encoder,
            part=part,
            encoded=transformed(encoder, part.rows, features),
            bounds=bounds,
            rows=rows,
            judged=Judged(
                label=rows.label,
                weight=rows.weight,
                user=users.to_numpy().astype(np.int64),
            ),
            weeks=float((as_of[bounds[-1][0] - 1] - as_of[0]).astype(int)) / 7,
            seed=seed,
        )

    def scored(self, candidate: Candidate, half_life: float | None) -> _Scored:
        """Fit a candidate on every block, and score the judged rows."""
        key = (candidate.name, half_life)
        if key not in self.fits:
            self.fits[key] = [
                self._fit(candidate, half_life, place)
                for place in range(len(self.bounds))
            ]
        blocks = self.fits[key]
        return _Scored(
            probability=np.concatenate([probability for _, probability, _ in blocks]),
            model=blocks[-1][0],
            seconds=sum(seconds for *_, seconds in blocks),
        )

    def _fit(
        self, candidate: Candidate, half_life: float | None, place: int
    ) -> tuple[Any, Floats, float]:
        end, first, last = self.bounds[place]
        rows = aged(_rows(self.part, 0, end), half_life)
        began = time.perf_counter()
        model = fit_on(
            estimator(candidate, {}, seed=self.seed),
            self.encoded[:end],
            rows,
            name=candidate.name,
        )
        seconds = time.perf_counter() - began
        return model, model.predict_proba(self.encoded[first:last])[:, 1], seconds

    def mean(self, candidate: Candidate, scored: Mapping[str, _Scored]) -> _Scored:
        """
        Return the scores of a mean of candidates that are scored already.

        The weights of a stack come from the blocks before; on the first one they are
        equal.
        """
        names = members(candidate, scored)
        each = [scored[name].probability for name in names]
        probability = mean_of(each, None)
        weights = None
        if is_stacked(candidate):
            offset = self.bounds[0][1]
            for _, first, last in self.bounds[1:]:
                here = slice(first - offset, last - offset)
                known = self.weights(names, scored, until=first - offset)
                probability[here] = mean_of([one[here] for one in each], known)
            weights = self.weights(names, scored)
        models = [scored[name].model for name in names]
        return _Scored(probability=probability, model=MeanOfModels(models, weights))

    def calibrated(self, raw: Floats, decision: Floats) -> dict[str, Floats]:
        """
        Return probabilities of the judged rows by calibration.

        A calibration is used on a model that has been fitted again since. So it is
        judged on the blocks after those that it is fitted on: what it has learned of
        the level of some weeks may be wrong in the next.
        """
        if len(self.bounds) == 1:
            return calibration.cross_fitted(raw, decision, self.rows, self.seed)
        offset = self.bounds[0][1]
        by_method = {}
        for method in calibration.CALIBRATIONS:
            probability = raw.copy()
            for _, first, last in self.bounds[1:]:
                here = slice(first - offset, last - offset)
                known = _rows(self.rows, 0, first - offset)
                if not known.has_both_classes:
                    continue
                fit = calibration.calibrator(method, decision[: len(known)], known)
                if fit is not None:
                    later = decision[here, np.newaxis]
                    probability[here] = fit.predict_proba(later)[:, 1]
            by_method[method] = probability
        return by_method

    def weights(
        self, names: Sequence[str], scored: Mapping[str, _Scored], *, until: int = -1
    ) -> list[float]:
        """Return the weights of a stack by the first judged rows, or by all."""
        here = slice(None if until < 0 else until)
        judged = Judged(
            label=self.judged.label[here],
            weight=self.judged.weight[here],
            user=self.judged.user[here],
        )
        return stacked_weights(
            [scored[name].probability[here] for name in names], judged
        )


def _rows(part: Slice, first: int, end: int) -> Slice:
    return Slice(
        rows=part.rows.slice(first, end - first),
        label=part.label[first:end],
        weight=part.weight[first:end],
    )
