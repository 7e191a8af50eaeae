"""
Candidates judged forward in time, and the recipe of the model that follows from it.

Rolling origin: for each block of weeks a candidate is fitted on the snapshots whose
labels were final when the block began, and scores the block's. Its log loss over all
blocks is what it would have been worth. Candidate and calibration are chosen
there, in this order; the recipe is then fitted on other rows.

Source:
    Tashman, "Out-of-sample tests of forecasting accuracy: an analysis and review",
    International Journal of Forecasting 16, 2000, on rolling origins.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    members,
    side_by_side,
)
from propensity.learning.data import Parts, Slice
from propensity.learning.preprocessor import fitted, transformed
from propensity.learning.recipe import Recipe
from propensity.learning.sample import places, sampled
from propensity.models.scoring import MeanOfModels, Pools, log_odds
from propensity.usecases import Candidate, UseCase

Floats = NDArray[np.float64]

# Of very many rows, as many are encoded at a time to be scored.
_PIECE_ROWS = 200_000


@dataclass(frozen=True, kw_only=True)
class Choice:
    """
    What the forward blocks have shown.

    Attributes:
        candidates: With figures of all judged rows; models are those of the newest
            block, behind ``encoder``.
        calibrations: Log loss by name: of each block, fitted on the blocks before it;
            of a single block, cross-fitted over users.
        rows: The judged rows, in time order.
        probability: Of these rows, out of time, with the chosen calibration, fitted on
            others, (rows,).
        fits: Number of fits so far.
    """

    recipe: Recipe
    encoder: Any
    candidates: Sequence[FittedCandidate]
    calibration: str
    calibrations: Mapping[str, float]
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

    The candidate with the least log loss is taken, and then the calibration with the
    least.

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
    alone = [candidate for candidate in use_case.candidates if not is_mean(candidate)]
    fits = forward.fit(alone)
    scored: dict[str, _Scored] = {}
    for candidate in use_case.candidates:
        name = candidate.name
        scored[name] = _mean(candidate, scored) if is_mean(candidate) else fits[name]
    compared = [
        FittedCandidate(
            candidate=candidate,
            model=scored[candidate.name].model,
            figures=figures(scored[candidate.name].probability, forward.rows),
            fit_s=scored[candidate.name].seconds,
        )
        for candidate in use_case.candidates
    ]
    chosen = min(compared, key=lambda fit: fit.figures["log_loss"] or 0.0).candidate
    names = members(chosen, scored) if is_mean(chosen) else [chosen.name]
    raw = scored[chosen.name].probability
    decision = log_odds(raw)
    crossed = forward.calibrated(raw, decision)
    losses = calibration.losses(crossed, forward.rows)
    method = min(losses, key=lambda name: losses[name])
    return Choice(
        recipe=Recipe(
            candidate=chosen,
            members=[each for each in use_case.candidates if each.name in names],
            calibrator=calibration.calibrator(method, decision, forward.rows),
        ),
        encoder=forward.encoder,
        candidates=compared,
        calibration=method,
        calibrations=losses,
        rows=forward.rows,
        probability=crossed[method],
        fits=len(alone) * len(forward.bounds),
    )


def _mean(candidate: Candidate, scored: Mapping[str, _Scored]) -> _Scored:
    """Return the scores of a mean of candidates that are scored already."""
    each = [scored[name] for name in members(candidate, scored)]
    return _Scored(
        probability=np.mean([one.probability for one in each], axis=0),
        model=MeanOfModels([one.model for one in each]),
    )


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
    """

    encoder: Any
    part: Slice
    learned: Slice
    encoded: Any
    features: dict[str, str]
    bounds: Sequence[tuple[int, int, int]]
    ends: Sequence[int]
    rows: Slice
    seed: int
    pools: Pools | None

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
            seed=seed,
            pools=pools,
        )

    def fit(self, candidates: Sequence[Candidate]) -> dict[str, _Scored]:
        """Fit candidates on every block, and return their scores of the judged rows."""
        fits = [
            partial(self._fit, candidate, place)
            for candidate in candidates
            for place in range(len(self.bounds))
        ]
        results = iter(side_by_side(fits, rows=len(self.part), pools=self.pools))
        scored = {}
        for candidate in candidates:
            blocks = [next(results) for _ in self.bounds]
            scored[candidate.name] = _Scored(
                probability=np.concatenate([block.probability for block in blocks]),
                model=blocks[-1].model,
                seconds=sum(block.seconds for block in blocks),
            )
        return scored

    def _fit(self, candidate: Candidate, place: int) -> _Scored:
        end = self.ends[place]
        began = time.perf_counter()
        model = fit_on(
            estimator(candidate, {}, seed=self.seed),
            self.encoded[:end],
            _rows(self.learned, 0, end),
            name=candidate.name,
        )
        seconds = time.perf_counter() - began
        _, first, last = self.bounds[place]
        pieces = [
            model.predict_proba(encoded)[:, 1] for encoded in self._later(first, last)
        ]
        is_newest = place == len(self.bounds) - 1
        return _Scored(
            probability=np.concatenate(pieces),
            model=model if is_newest else None,
            seconds=seconds,
        )

    def _later(self, first: int, end: int) -> Iterator[Any]:
        """Yield encoded rows of ``part``: all, or piece by piece of very many."""
        if len(self.learned) == len(self.part):
            yield self.encoded[first:end]
            return
        for at in range(first, end, _PIECE_ROWS):
            piece = self.part.rows.slice(at, min(_PIECE_ROWS, end - at))
            yield transformed(self.encoder, piece, self.features)

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


def _rows(part: Slice, first: int, end: int) -> Slice:
    return Slice(
        rows=part.rows.slice(first, end - first),
        label=part.label[first:end],
        weight=part.weight[first:end],
    )
