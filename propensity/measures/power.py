"""
What an audience can show before it is sent: which uplift, after how many weeks.
"""

from __future__ import annotations

from propensity.measures.looks import LAST, LOOKS, errors_at, members_needed
from propensity.measures.statistic import Statistic
from propensity.tables.audiences import Power

# Weeks of new members that a plan looks ahead, if it is not over before.
WEEKS = (1, 4, 13, LOOKS)


def smallest_uplift(
    rate: float,
    members: float,
    *,
    share: float,
    errors: float = LAST,
    explained: float = 0.0,
) -> float | None:
    """Return the smallest uplift that so many members show in 80% of cases, if any."""

    def is_shown(uplift: float) -> bool:
        needed = members_needed(
            rate, uplift, share=share, errors=errors, explained=explained
        )
        return needed <= members

    low = 0.0
    high = 1 / rate - 1 if rate else 0.0
    if not is_shown(high):
        return None
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if is_shown(middle):
            high = middle
        else:
            low = middle
    return high


def power(
    rate: float,
    members: int,
    *,
    new_a_week: float | None,
    share: float,
    planned_weeks: int = LOOKS,
    explained: float = 0.0,
) -> list[Power]:
    """
    Return what an audience that begins today can show after 1, 4, 13 and 52 weeks.

    Where it is not known how many users a week become members for the first time, only
    the first week is known.
    """
    rows = []
    for weeks in sorted({min(weeks, planned_weeks) for weeks in WEEKS}):
        count = float(members)
        if weeks > 1:
            if new_a_week is None:
                break
            count += (weeks - 1) * new_a_week
        smallest = smallest_uplift(
            rate,
            count,
            share=share,
            errors=errors_at(weeks / planned_weeks),
            explained=explained,
        )
        row = Power(weeks=weeks, members=round(count), smallest_lift=smallest)
        rows.append(row)
    return rows


def explained_by(chances: Statistic) -> float:
    """Return the share of the variance of conversions that probabilities explain."""
    if not chances.users:
        return 0.0
    chance = chances.mean * (1 - chances.mean)
    return chances.variance / chance if chance > 0 else 0.0
