"""
Expected amounts beside what was paid: their sums, by decile, and as a ranking.

A user's amount is one draw, so intervals are by user, whatever the horizon. They are of
logarithms, because sums of amounts with a heavy tail are never below zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from propensity.measures.intervals import FEW, NORMAL, Ends
from propensity.measures.metrics import BINS, share_of_best, summed, tenths

Floats = NDArray[np.float64]


def measured(expected: Floats, paid: Floats, users: Floats) -> dict[str, Any]:
    """
    Measure expected amounts.

    Args:
        expected, paid, users: Of each group of equal users, (groups,): what each was
            expected to pay, what each paid, and how many they are.

    Returns:
        ``value_error``, the expected sum over the observed one less 1; the share of
        revenue in the top tenth; the deciles. Intervals are None where fewer than
        ``FEW`` users paid.
    """
    promised, observed = float(expected @ users), float(paid @ users)
    payers, total = float(users[paid > 0].sum()), float(users.sum())
    error: float | None = None
    error_ends: Ends = None, None
    if observed > 0:
        ratio = promised / observed
        error = ratio - 1
        moves = (expected - paid * ratio) / observed
        low, high = _around(ratio, *_powers(moves, users), payers)
        error_ends = low and low - 1, high and high - 1
    powers = _powers(paid - observed / total, users)
    low, high = _around(observed, *powers, payers)
    return {
        "value_observed_low": low,
        "value_observed_high": high,
        "value_error": error,
        "value_error_low": error_ends[0],
        "value_error_high": error_ends[1],
        "value_top_share": share_of_best(expected, paid, users, total / BINS),
        "value_deciles": _deciles(expected, paid, users),
    }


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
        Components", Biometrics 2, 1946: the degrees of freedom. Abramowitz and Stegun,
        "Handbook of Mathematical Functions", 1964, 26.7.5: Student's quantile, since 03
        has no SciPy.
    """
    if payers < FEW or value <= 0:
        return None, None
    if squares <= 0:
        return value, value
    freedom, z = max(squares**2 / fourths - 1, 1.0), NORMAL
    quantile = (
        z
        + (z**3 + z) / 4 / freedom
        + (5 * z**5 + 16 * z**3 + 3 * z) / 96 / freedom**2
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / freedom**3
    )
    factor = float(np.exp(quantile * squares**0.5 / value))
    return float(value / factor), float(value * factor)


def _deciles(
    expected: Floats, paid: Floats, users: Floats
) -> list[dict[str, float | None]]:
    """Return ten equal parts of the users, highest first; ties are shared out."""
    distinct, group = np.unique(-expected, return_inverse=True)
    size = summed(group, users, len(distinct))
    count, promised, observed, squares, fourths, payers = (
        tenths(size, summed(group, each * users, len(distinct)))
        for each in (np.ones_like(paid), expected, paid, paid**2, paid**4, paid > 0)
    )
    apart = np.maximum(squares - observed**2 / count, 0.0)
    parts = []
    for n in range(BINS):
        low, high = _around(observed[n], apart[n], fourths[n], payers[n])
        parts.append(
            {
                "decile": n + 1,
                "users": float(count[n]),
                "expected": float(promised[n]),
                "paid": float(observed[n]),
                "paid_low": low,
                "paid_high": high,
            }
        )
    return parts
