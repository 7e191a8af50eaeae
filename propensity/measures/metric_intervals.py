"""
95% intervals of metrics between 0 and 1, and of differences of two models.

A metric moves with every row, by its slope. The sum of a user's slopes is one draw, and
the variance of all draws is the metric's: nothing is resampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propensity.measures.intervals import FEW, NORMAL, Difference, Ends
from propensity.measures.metrics import Outcomes, Slopes
from propensity.models.encoding import Floats

# This turns a metric's slopes into the users of the rarer label and its variance.
Spread = Callable[[Callable[[Outcomes], Slopes]], tuple[float, float]]


def of_rows(observed: Outcomes, slopes: Slopes) -> tuple[float, float]:
    """Return what ``by_user`` does, of rows that are independent of each other."""
    positives = observed.conversions
    negatives = observed.users - positives
    squares = positives * slopes.positive**2 + negatives * slopes.negative**2
    return float(min(positives.sum(), negatives.sum())), float(squares.sum())


def by_user(
    slopes: Floats, label: NDArray[Any], user: NDArray[np.int64]
) -> tuple[float, float]:
    """
    Return the number of users of the rarer label, and the variance of a metric.

    Slopes, (rows,), say how far each row moves it. A row has a label, 0 or 1, and the
    number of its user, from 0 on.
    """
    fewest = min(len(np.unique(user[label == value])) for value in (0, 1))
    of_users = np.bincount(user, weights=slopes)
    return fewest, float((of_users**2).sum())


def interval(value: float, fewest: float, variance: float) -> Ends:
    """
    Return the interval of a metric between 0 and 1; None and None of too few users.

    Args:
        fewest, variance: As ``by_user`` returns them.

    Source:
        Boyd, Eng and Page, "Area under the Precision-Recall Curve: Point Estimates and
        Confidence Intervals", ECML PKDD 2013: the logit interval.
    """
    if fewest < FEW:
        return None, None
    if not 0 < value < 1:
        return value, value
    error = math.sqrt(variance) / (value * (1 - value))
    odds = value / (1 - value)
    factor = math.exp(NORMAL * error)
    return odds / (odds + factor), odds * factor / (odds * factor + 1)


def difference(
    estimate: float, slopes: Floats, label: NDArray[Any], user: NDArray[np.int64]
) -> Difference:
    """
    Return a difference with its interval, by Student's distribution.

    Its degrees of freedom are those of the users of the rarer label: where they are few
    it is wide, so that no other rule is needed for them. Without two users of each
    label there is none. Arguments are as for ``by_user``.
    """
    from scipy.special import stdtrit  # 03 has no SciPy

    fewest, variance = by_user(slopes, label, user)
    if fewest < 2:
        return Difference(estimate, None, None)
    error = math.sqrt(variance * fewest / (fewest - 1))
    half = float(stdtrit(fewest - 1, 0.975)) * error
    return Difference(estimate, estimate - half, estimate + half)
