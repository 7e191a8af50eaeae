"""
95% intervals: of rates by Wilson, of all else by the bootstrap over users.

A bootstrap needs ``FEW`` rows of either label: with fewer there are too few to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propensity.learning.metrics import Outcomes, merged, roc_auc

Floats = NDArray[np.float64]
Measure = Callable[[Outcomes], float | None]
Ends = tuple[float | None, float | None]

RESAMPLES = 200

# Rows of a label: of fewer, resampled intervals hold the truth in too few weeks.
FEW = 20

# Standard errors on either side of a 95% interval.
NORMAL = 1.959964

# Resampling merges finer groups: an interval needs no more.
_MOST_GROUPS = 20_000


@dataclass(frozen=True)
class Difference:
    """
    A challenger's metric less the champion's, with the ends of its 95% interval.

    Of too few rows there is no interval: ``low`` and ``high`` are the least and the
    greatest difference without any one of the positives, so that no single row decides;
    None without any.
    """

    estimate: float
    low: float | None
    high: float | None
    is_few: bool = False

    @property
    def interval(self) -> Ends:
        """The 95% interval; None and None of too few rows."""
        return (None, None) if self.is_few else (self.low, self.high)

    def is_above(self) -> bool:
        """Tell whether it is above 0 beyond chance, or whichever row is left out."""
        return self.low is not None and self.low > 0

    def is_below(self) -> bool:
        """Tell whether it is below 0 beyond chance, or whichever row is left out."""
        return self.high is not None and self.high < 0

    def written(self, form: str = "+.4f") -> str:
        """Write it with its interval."""
        low, high = self.interval
        if low is None or high is None:
            return f"{self.estimate:{form}} (too few for an interval)"
        return f"{self.estimate:{form}} ({low:{form}} to {high:{form}})"


def rate_interval(conversions: float, users: float) -> tuple[float, float]:
    """
    Return the interval of a rate, in [0, 1] and around it.

    Args:
        conversions: 0 to ``users``; may be a fraction.
        users: Above 0.

    Source:
        Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
        Journal of the American Statistical Association 22, 1927: the score interval,
        which holds for few rows and rates near 0, too.
    """
    rate, spread = conversions / users, NORMAL**2 / users
    middle = (rate + spread / 2) / (1 + spread)
    half = NORMAL * np.sqrt(rate * (1 - rate) / users + spread / (4 * users))
    half = float(half / (1 + spread))
    return min(max(middle - half, 0.0), rate), max(min(middle + half, 1.0), rate)


def interval(
    observed: Outcomes,
    measure: Measure,
    *,
    seed: int,
    per_row: tuple[float, float] = (1.0, 1.0),
) -> Ends:
    """
    Return the interval of a metric, around it; None and None of too few rows.

    Args:
        observed: Outcomes of users who are independent of each other.
        per_row: Users that a row stands for, of label 1 and of label 0: fewer rows
            make wider intervals.

    Source:
        Hanley and MacGibbon, "Creating non-parametric bootstrap samples using Poisson
        frequencies", Computer Methods and Programs in Biomedicine 83, 2006.
    """
    coarse, whole = _coarse(observed), measure(observed)
    positives = coarse.conversions / per_row[0]
    negatives = (coarse.users - coarse.conversions) / per_row[1]
    if whole is None or min(positives.sum(), negatives.sum()) < FEW:
        return None, None
    random = np.random.default_rng(seed)

    def drawn() -> Outcomes:
        positive = per_row[0] * random.poisson(positives).astype(np.float64)
        negative = per_row[1] * random.poisson(negatives).astype(np.float64)
        return Outcomes(coarse.probability, positive + negative, positive)

    low, high = ends(measure(drawn()) for _ in range(RESAMPLES))
    # A metric at its best, as of a perfect ranking, may be above all its resamples.
    return min(low, whole), max(high, whole)


def difference(
    challenger: Floats,
    champion: Floats,
    *,
    label: NDArray[Any],
    weight: Floats,
    user: NDArray[np.int64],
    seed: int,
) -> Difference:
    """
    Compare the ROC AUC of two scores of the same rows, which have both classes.

    Both are resampled together, so that what is common to them cancels out, and by
    user: each counts a Poisson(1) number of times with all of its rows.

    Args:
        challenger, champion: Probabilities, (rows,).
        label: 0 or 1, (rows,).
        weight: (rows,).
        user: Number of the row's user, from 0 on, (rows,).
    """
    sides = [np.unique(score, return_inverse=True) for score in (challenger, champion)]

    def apart(weights: Floats) -> float | None:
        positive = np.where(label == 1, weights, 0.0)
        mine, other = (roc_auc(merged(*side, weights, positive)) for side in sides)
        return None if mine is None or other is None else mine - other

    whole = apart(weight) or 0.0
    positives = np.flatnonzero(label == 1)
    if min(len(positives), len(label) - len(positives)) < FEW:
        every = np.arange(len(label))
        left = [apart(weight * (every != row)) for row in positives[:FEW]]
        return few(whole, left)
    generator, count = np.random.default_rng(seed), int(user.max()) + 1
    low, high = ends(
        apart(weight * generator.poisson(1.0, count)[user]) for _ in range(RESAMPLES)
    )
    return Difference(whole, low, high)


def few(whole: float, without_one: Iterable[float | None]) -> Difference:
    """Return a difference of too few rows, by those without each of the positives."""
    left = [value for value in without_one if value is not None]
    return Difference(whole, min(left, default=None), max(left, default=None), True)


def ends(resampled: Iterable[float | None]) -> tuple[float, float]:
    """Return the ends of the interval that resampled values give."""
    low, high = np.quantile(
        [value for value in resampled if value is not None], [0.025, 0.975]
    )
    return float(low), float(high)


def _coarse(observed: Outcomes) -> Outcomes:
    """Merge neighbouring probabilities until resampling is quick: ranks stay."""
    groups = len(observed.probability)
    if groups <= _MOST_GROUPS:
        return observed
    bucket = np.arange(groups) * _MOST_GROUPS // groups
    first = np.searchsorted(bucket, np.arange(_MOST_GROUPS))
    return merged(
        observed.probability[first], bucket, observed.users, observed.conversions
    )
