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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
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
    side_by_side,
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
from propensity.learning.recipe import Recipe, aged
from propensity.learning.sample import places, sampled
from propensity.models.scoring import MeanOfModels, Pools, log_odds
from propensity.usecases import Candidate, UseCase

Floats = NDArray[np.float64]

# Half-lives of a row's weight, in weeks, that are compared with none.
HALF_LIVES = (52.0, 26.0, 13.0)
NO_HALF_LIFE = "none"

_CHEAP = "LogisticRegression"

# Of very many rows, as many are encoded at a time to be scored.
_PIECE_ROWS = 200_000


@dataclass(frozen=True, kw_only=True)
class Choice:
    """
    What the forward blocks have shown.

    Attributes:
        candidates: With figures of all judged rows; models are those of the newest
            block, behind ``encoder``.
        half_lives: Log loss of the cheapest candidate by half-life; empty if there was
            nothing to compare.
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


def choose(
    parts: Parts,
    use_case: UseCase,
    *,
    preprocessor: Any,
    seed: int,
    pools: Pools | None,
) -> Choice:
    """
    Judge the candidates on the blocks of ``parts``, and choose a recipe.

    Args:
        parts, use_case, preprocessor: As for ``fit.train``.
        seed: Of classifiers, and of a sample.
        pools: Opens threads, so that few rows are fitted side by side.

    Raises:
        SchemaError: The rows or the preprocessor do not fit the use case.
        UseCaseError: A candidate is wrong.
    """
    forward = _Forward.of(
        parts, use_case, preprocessor=preprocessor, seed=seed, pools=pools
    )
    judged = forward.judged
    half_life, half_lives = _half_life(forward, use_case.candidates)
    alone = [candidate for candidate in use_case.candidates if not is_mean(candidate)]
    forward.fit([(candidate, half_life) for candidate in alone])
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
    fitted_alone = [candidate for candidate in candidates if not is_mean(candidate)]
    if not tried or not fitted_alone:
        return None, {}
    cheap = next(
        (candidate for candidate in fitted_alone if candidate.algorithm == _CHEAP),
        fitted_alone[0],
    )
    forward.fit([(cheap, weeks) for weeks in (None, *tried)])
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
        learned: The rows to fit on: those of ``part``, or a sample of very many.
        bounds: Of each block: the end of its rows to fit on, and the first and the end
            of those to judge on.
        ends: Of each block: the end of its rows to fit on, among ``learned``.
        fits: By candidate and half-life for each block: its model, which only the
            newest block keeps, with its scores. None is fitted twice.
    """

    encoder: Any
    part: Slice
    learned: Slice
    encoded: Any
    features: dict[str, str]
    bounds: Sequence[tuple[int, int, int]]
    ends: Sequence[int]
    rows: Slice
    judged: Judged
    weeks: float
    seed: int
    pools: Pools | None
    fits: dict[tuple[str, float | None], list[tuple[Any, Floats, float]]] = field(
        default_factory=dict
    )

    @classmethod
    def of(
        cls,
        parts: Parts,
        use_case: UseCase,
        *,
        preprocessor: Any,
        seed: int,
        pools: Pools | None,
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
        first = sampled(_rows(every, 0, bounds[0][0]), seed=seed)
        encoder = fitted(preprocessor, first, features)
        part = _rows(every, 0, bounds[-1][2])
        learned = sampled(part, seed=seed)
        kept = places(len(part), seed=seed)
        rows = _rows(every, bounds[0][1], bounds[-1][2])
        return cls(
            encoder=encoder,
            part=part,
            learned=learned,
            encoded=transformed(encoder, learned.rows, features),
            features=features,
            bounds=bounds,
            ends=[int(np.searchsorted(kept, end)) for end, *_ in bounds],
            rows=rows,
            judged=Judged(label=rows.label, weight=rows.weight, user=rows.users),
            weeks=float((as_of[bounds[-1][0] - 1] - as_of[0]).astype(int)) / 7,
            seed=seed,
            pools=pools,
        )

    def fit(self, candidates: Sequence[tuple[Candidate, float | None]]) -> None:
        """Fit candidates by half-life on every block, and score the judged rows."""
        missing = [
            (candidate, half_life)
            for candidate, half_life in candidates
            if (candidate.name, half_life) not in self.fits
        ]
        fits = [
            partial(self._fit, candidate, half_life, place)
            for candidate, half_life in missing
            for place in range(len(self.bounds))
        ]
        results = iter(side_by_side(fits, rows=len(self.part), pools=self.pools))
        for candidate, half_life in missing:
            self.fits[candidate.name, half_life] = [next(results) for _ in self.bounds]

    def scored(self, candidate: Candidate, half_life: float | None) -> _Scored:
        """Return the scores of a candidate that is fitted."""
        blocks = self.fits[candidate.name, half_life]
        return _Scored(
            probability=np.concatenate([probability for _, probability, _ in blocks]),
            model=blocks[-1][0],
            seconds=sum(seconds for *_, seconds in blocks),
        )

    def _fit(
        self, candidate: Candidate, half_life: float | None, place: int
    ) -> tuple[Any, Floats, float]:
        end = self.ends[place]
        rows = aged(_rows(self.learned, 0, end), half_life)
        began = time.perf_counter()
        model = fit_on(
            estimator(candidate, {}, seed=self.seed),
            self.encoded[:end],
            rows,
            name=candidate.name,
        )
        seconds = time.perf_counter() - began
        _, first, last = self.bounds[place]
        pieces = [
            model.predict_proba(encoded)[:, 1] for encoded in self._later(first, last)
        ]
        is_newest = place == len(self.bounds) - 1
        return model if is_newest else None, np.concatenate(pieces), seconds

    def _later(self, first: int, end: int) -> Iterator[Any]:
        """Yield encoded rows of ``part``: all, or piece by piece of very many."""
        if len(self.learned) == len(self.part):
            yield self.encoded[first:end]
            return
        for at in range(first, end, _PIECE_ROWS):
            piece = self.part.rows.slice(at, min(_PIECE_ROWS, end - at))
            yield transformed(self.encoder, piece, self.features)

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
                probability[here] = mean_of([part[here] for part in each], known)
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
