"""
What an audience can show before it is sent: how many members, after how many weeks.

The power is the textbook's, of two proportions, with the boundary of the verdict in the
place of a single look's (``uplift``), and less what the probabilities explain, as the
verdict is adjusted for them.

Source:
    Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions", 3rd ed.,
    2003, section 4.3: unequal groups, without the correction for continuity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, sqrt
from typing import Any

from propensity.measures.intervals import POWER
from propensity.measures.statistic import Statistic
from propensity.measures.uplift import LAST, LOOKS, WEEK, errors_at, progress_at
from propensity.tables.audiences import Power

# Weeks of new members that a plan looks ahead, if it is not over before.
WEEKS = (1, 4, 13, LOOKS)
# How many a week become members is known by the recent weeks.
RECENT_WEEKS = 4


def members_needed(
    rate: float,
    uplift: float,
    *,
    share: float,
    errors: float = LAST,
    explained: float = 0.0,
) -> float:
    """
    Return how many members show an effect in 80% of cases; infinity for none.

    Args:
        rate: Share of the control group that converts.
        uplift: The effect, relative to the rate; below 0 for one that harms.
        share: Of the members, in the control group.
        errors: How many standard errors the interval reaches; as at the planned end.
        explained: Share of the variance that the probabilities explain.
    """
    treated = rate * (1 + uplift)
    if not (0 < rate < 1 and 0 <= treated <= 1 and uplift and 0 < share < 1):
        return inf
    pooled = treated * (1 - share) + rate * share
    without_effect = sqrt(pooled * (1 - pooled) * (1 / (1 - share) + 1 / share))
    with_effect = sqrt(
        treated * (1 - treated) / (1 - share) + rate * (1 - rate) / share
    )
    reached = errors * without_effect + POWER * with_effect
    return (1 - explained) * (reached / (treated - rate)) ** 2


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


def weeks_left(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """
    Return how many more weeks an open verdict takes, if the effect is as it looks.

    Rows are of one audience, oldest first. It is 0 if users suffice and only their
    outcomes are not final; None if it takes more than the planned length.
    """
    newest = rows[-1]
    before = rows[-1 - RECENT_WEEKS :][0]
    users = _users(newest)
    control = newest["control_users"]
    uplift = newest["conversion_lift"]
    converted = newest["control_conversions"]
    if uplift is None or not users > control > 0:
        return None
    explained = newest["variance_explained"]
    days = (newest["week"] - before["week"]).days
    new_a_week = 7 * (users - _users(before)) / days if days else 0.0
    for weeks in range(LOOKS):
        progress = progress_at(
            newest["week"] + weeks * WEEK,
            first=rows[0]["week"],
            until=newest["planned_until"],
        )
        needed = members_needed(
            converted / control,
            uplift,
            share=control / users,
            errors=errors_at(progress),
            explained=0.0 if explained is None else explained,
        )
        if needed <= users + weeks * new_a_week:
            return weeks
        if progress >= 1:
            break
    return None


def _users(row: Mapping[str, Any]) -> int:
    return int(row["treated_users"]) + int(row["control_users"])
