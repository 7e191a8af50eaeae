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
from propensity.measures.metrics import BINS, share_of_best, summed

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
    few = float(users[paid > 0].sum()) < FEW
    error: float | None = None
    error_ends: tuple[float | None, ...] = (None, None)
    if observed > 0:
        error = promised / observed - 1
        apart = float((expected - paid * promised / observed) ** 2 @ users)
        ends = _around(promised / observed, apart**0.5 / observed, few=few)
        error_ends = tuple(None if end is None else end - 1 for end in ends)
    total = float(users.sum())
    spread = float(paid**2 @ users) - observed**2 / total
    low, high = _around(observed, max(spread, 0.0) ** 0.5, few=few)
    return {
        "value_observed_low": low,
        "value_observed_high": high,
        "value_error": error,
        "value_error_low": error_ends[0],
        "value_error_high": error_ends[1],
        "value_top_share": share_of_best(expected, paid, users, total / BINS),
        "value_deciles": _deciles(expected, paid, users),
    }


def _around(value: float, error: float, *, few: bool) -> Ends:
    """Return the ends of a positive value's interval; its error is of the value."""
    if few or value <= 0:
        return None, None
    factor = float(np.exp(NORMAL * error / value))
    return float(value / factor), float(value * factor)


def _deciles(
    expected: Floats, paid: Floats, users: Floats
) -> list[dict[str, float | None]]:
    """Return ten equal parts of the users, highest first; ties are shared out."""
    distinct, group = np.unique(-expected, return_inverse=True)
    running = []
    for each in (np.ones_like(paid), expected, paid, paid**2, paid > 0):
        sums = summed(group, each * users, len(distinct))
        running.append(np.concatenate([[0.0], np.cumsum(sums)]))
    ends = np.linspace(0, running[0][-1], BINS + 1)
    count, promised, observed, squares, payers = (
        np.diff(np.interp(ends, running[0], each)) for each in running
    )
    spread = np.maximum(squares - observed**2 / count, 0.0) ** 0.5
    parts = []
    for n in range(BINS):
        low, high = _around(observed[n], spread[n], few=payers[n] < FEW)
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
