"""
Expected amounts beside what was paid: their sums, by decile, and as a ranking.

A user's amount is one draw, so intervals are by user, whatever the horizon. They are of
logarithms, because sums of amounts with a heavy tail are never below zero.
"""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np

from propensity.measures.intervals import FEW, Ends, students_quantile
from propensity.measures.metrics import BINS, of_first, summed, tenths
from propensity.measures.money import exact_money
from propensity.models.encoding import Floats
from propensity.tables.models import MAXIMUM_AMOUNT, ValueDecile, WeekValue


def amounts(values: Floats) -> Floats:
    """Return amounts as they can be lost: nothing where missing or negative."""
    return np.clip(np.nan_to_num(values, posinf=MAXIMUM_AMOUNT), 0.0, MAXIMUM_AMOUNT)


def total(values: Floats) -> Decimal:
    """Return the sum of amounts, rounded once."""
    return exact_money(math.fsum(values.tolist()))


def value_metrics(
    expected: Floats, paid: Floats, users: Floats, *, budget: float = 0.0
) -> WeekValue:
    """
    Measure expected amounts; intervals are None where fewer than ``FEW`` users paid.

    Args:
        expected, paid, users: Of each group of equal users, (groups,): what each was
            expected to pay, what each paid, and how many they are.
        budget: How many of the best users can be acted on.
    """
    promised = float(expected @ users)
    observed = float(paid @ users)
    payers = float(users[paid > 0].sum())
    count = float(users.sum())
    error: float | None = None
    error_ends: Ends = None, None
    if observed > 0:
        ratio = promised / observed
        error = ratio - 1
        moves = (expected - paid * ratio) / observed
        low, high = _around(ratio, *_powers(moves, users), payers)
        # Nothing was expected of anybody: whoever paid, it is nothing of the sum.
        if ratio == 0 and payers >= FEW:
            low = high = 0.0
        if low is not None and high is not None:
            error_ends = low - 1, high - 1
    powers = _powers(paid - observed / count, users)
    low, high = _around(observed, *powers, payers)
    return WeekValue(
        value_promised=total(expected * users),
        value_observed=total(paid * users),
        value_gini=normalised_gini(expected, paid, users),
        revenue_at_budget=share_of_best(expected, paid, users, budget),
        value_observed_low=low,
        value_observed_high=high,
        value_error=error,
        value_error_low=error_ends[0],
        value_error_high=error_ends[1],
        value_top_share=share_of_best(expected, paid, users, count / BINS),
        value_deciles=_deciles(expected, paid, users),
    )


def _powers(moves: Floats, users: Floats) -> tuple[float, float]:
    """Return the sums over all users of the second and the fourth power."""
    return float(moves**2 @ users), float(moves**4 @ users)


def _around(value: float, squares: float, fourths: float, payers: float) -> Ends:
    """
    Return the 95% interval of a positive value, a sum over users.

    A few users with large amounts decide how far the sum may be off, so it is Student's
    with as many degrees of freedom as users of equal amounts would have.

    Args:
        squares, fourths: Sums over the users of the powers of how far each moves it.
        payers: Users who paid.

    Source:
        Satterthwaite, "An Approximate Distribution of Estimates of Variance
        Components", Biometrics 2, 1946: the degrees of freedom.
    """
    if payers < FEW or value <= 0:
        return None, None
    if squares <= 0:
        return value, value
    freedom = max(squares**2 / fourths - 1, 1.0)
    factor = float(np.exp(students_quantile(freedom) * squares**0.5 / value))
    return float(value / factor), float(value * factor)


def _deciles(expected: Floats, paid: Floats, users: Floats) -> list[ValueDecile]:
    """Return ten equal parts of the users, highest first; ties are shared out."""
    distinct, group = np.unique(-expected, return_inverse=True)
    size = summed(group, users, len(distinct))
    count, promised, observed, squares, fourths, payers = (
        tenths(size, summed(group, each * users, len(distinct)))
        for each in (np.ones_like(paid), expected, paid, paid**2, paid**4, paid > 0)
    )
    deviations = np.maximum(squares - observed**2 / count, 0.0)
    parts = []
    for n in range(BINS):
        low, high = _around(observed[n], deviations[n], fourths[n], payers[n])
        part = ValueDecile(
            decile=n + 1,
            users=float(count[n]),
            expected=float(promised[n]),
            paid=float(observed[n]),
            paid_low=low,
            paid_high=high,
        )
        parts.append(part)
    return parts


def share_of_best(
    score: Floats, paid: Floats, weight: Floats, n: float
) -> float | None:
    """
    Return the share of all that was paid by the n users with the highest scores.

    Each group of users, (groups,), has a score, what one of them paid on average, and
    its size as weight. None where nothing was paid.
    """
    sum_paid = float((paid * weight).sum())
    if sum_paid <= 0:
        return None
    distinct, group = np.unique(-score, return_inverse=True)
    users = summed(group, weight, len(distinct))
    amount = summed(group, paid * weight, len(distinct))
    return float(of_first(users, amount, n) / sum_paid)


def normalised_gini(expected: Floats, paid: Floats, weight: Floats) -> float | None:
    """
    Return how well expected amounts rank users by what they paid.

    Args:
        expected, paid, weight: Of each user or group of equal users, (groups,).

    Returns:
        1 for the order of what was paid, 0 for a random one, below 0 for a reversed
        one; None where all paid the same. Equal expected amounts share a rank.

    Source:
        Frees, Meyers and Cummings, "Summarizing insurance scores using a Gini index",
        Journal of the American Statistical Association 106, 2011: the index is a
        covariance of amounts and ranks. It is divided by the best order's covariance.
    """
    if not len(paid) or np.ptp(paid) == 0:
        return None
    deviation = weight * (paid - np.average(paid, weights=weight))
    best = (deviation * _ranks(paid, weight)).sum()
    return float((deviation * _ranks(expected, weight)).sum() / best)


def _ranks(values: Floats, weight: Floats) -> Floats:
    """Return how many users are below each; equal ones share their middle."""
    distinct, group = np.unique(values, return_inverse=True)
    users = summed(group, weight, len(distinct))
    middle: Floats = (np.cumsum(users) - users / 2)[group]
    return middle
