"""
Estimate: the ROC AUC of probabilities whose outcomes are not known yet.

Where probabilities are calibrated, a user of probability p is p of a conversion and
1 - p of none: the area follows without an outcome. The interval is that of the area
which will be measured, in which chance has its part: the outcomes of one week.

Source:
    NannyML, "Confidence-based Performance Estimation (CBPE)",
    https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html.
    Unlike there, what earlier weeks' estimates were off by is taken off again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from propensity.drift.sketch import Floats, Scores
from propensity.learning import metrics, season

_DRAWS = 200
_GROUPS = 2_000
# What estimates are off by has a part that all versions share, and which fades, and a
# part of each version. Their standard deviation before a week is known, and the days in
# which the shared part fades to 1/e.
_ORDINARY_BIAS = 0.01
_FADES_DAYS = 70.0
# Weeks that their intervals being as wide as chance counts for.
_PRIOR_WEEKS = 4


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A ROC AUC that is expected, and the ends of its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Its standard error: half of the interval in units of 1.96."""
        return (self.high - self.low) / (2 * 1.96)


@dataclass(frozen=True, kw_only=True)
class Past:
    """An earlier week: its uncorrected estimate, and the ROC AUC that was measured."""

    as_of: date
    model_version: int
    estimated: float
    error: float
    measured: float


def roc_auc(scores: Scores, shift: float | None, *, seed: int) -> Estimate | None:
    """
    Return the expected ROC AUC; None where no conversion is to be expected, or all are.

    Args:
        scores: The probabilities, without the season's shift.
        shift: The season's, in their log-odds.
    """
    probability = np.clip(season.apply(scores.mean, shift), 0.0, 1.0)
    users, p = _grouped(scores.users, probability)
    expected = metrics.roc_auc(metrics.grouped(p, users, users * p))
    if expected is None:
        return None
    generator = np.random.default_rng(seed)
    whole = np.maximum(np.round(users), 1).astype(np.int64)
    drawn = [
        metrics.roc_auc(
            metrics.grouped(
                p,
                whole.astype(np.float64),
                generator.binomial(whole, p).astype(np.float64),
            )
        )
        for _ in range(_DRAWS)
    ]
    known = np.array([area for area in drawn if area is not None])
    if not len(known):
        return None
    # By its spread, around the value: draws at the ends of few are noisy.
    half = 1.96 * float(known.std())
    return Estimate(
        value=expected, low=max(expected - half, 0.0), high=min(expected + half, 1.0)
    )


def corrected(
    estimate: Estimate, past: Sequence[Past], *, as_of: date, model_version: int
) -> Estimate:
    """
    Return an estimate without what earlier estimates were off by.

    The best linear prediction of its error from theirs: recent weeks count more, weeks
    of the same version most, and each week by how much its outcomes say. A version that
    is too sure of itself is so in every week, and the next version may not be.

    Source:
        Robinson, "That BLUP Is a Good Thing: The Estimation of Random Effects",
        Statistical Science 6, 1991.
    """
    age = np.array([(as_of - week.as_of).days for week in past], dtype=np.float64)
    version = np.array([week.model_version for week in past])
    error = np.array([max(week.error, 1e-6) for week in past])
    off = np.array([week.measured - week.estimated for week in past])
    between = _covariance(age[:, None] - age, version[:, None] == version)
    ahead = _covariance(age, version == model_version)
    solved = np.linalg.solve(between + np.diag(error**2), np.column_stack([off, ahead]))
    by = float(ahead @ solved[:, 0])
    unknown = 2 * _ORDINARY_BIAS**2 - float(ahead @ solved[:, 1])
    # How much wider the errors were than their intervals.
    spread = float((((off - between @ solved[:, 0]) / error) ** 2).sum())
    wider = max((_PRIOR_WEEKS + spread) / (_PRIOR_WEEKS + len(past)), 1.0) ** 0.5
    widened = wider * float(np.hypot(estimate.error, unknown**0.5)) * 1.96
    value = min(max(estimate.value + by, 0.0), 1.0)
    return Estimate(
        value=value, low=max(value - widened, 0.0), high=min(value + widened, 1.0)
    )


def _covariance(days_apart: Floats, is_same_version: NDArray[np.bool_]) -> Floats:
    """Return the covariances of what two estimates are off by."""
    shared = np.exp(-np.abs(days_apart) / _FADES_DAYS)
    return np.asarray(_ORDINARY_BIAS**2 * (shared + is_same_version))


def _grouped(users: Floats, probability: Floats) -> tuple[Floats, Floats]:
    """Return neighbours together, so that outcomes are drawn for few groups."""
    middle = np.cumsum(users) - users / 2
    place = np.minimum((middle / users.sum() * _GROUPS).astype(np.int64), _GROUPS - 1)
    _, group = np.unique(place, return_inverse=True)
    count = int(group.max()) + 1
    size = metrics.summed(group, users, count)
    return size, metrics.summed(group, users * probability, count) / size
