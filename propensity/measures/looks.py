"""
Weekly looks at an audience: how far intervals reach, and how many weeks are left.

Intervals hold at each look, because a team that looks each week stops at the first good
news. So one reaches further than a single look's, most of all at first, and the least
at the end of the planned length: until the last day on which the audience is sent, or
for a year. In 5% of cases at most, an audience without an effect ever seems to help or
to harm in that time (``make test-long`` plays it).

The power is the textbook's, of two proportions, with this boundary in the place of a
single look's, and less what the probabilities explain, as the verdict is adjusted for
them.

Sources:
    Wang and Tsiatis, "Approximately Optimal One-Parameter Boundaries for Group
    Sequential Trials", Biometrics 43, 1987, with 0.25; the limit of the early ones, as
    of Haybittle, British Journal of Radiology 44, 1971, lets large effects show early.
    Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions", 3rd ed.,
    2003, section 4.3: unequal groups, without the correction for continuity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from math import inf, sqrt
from typing import Any

from propensity.measures.intervals import POWER

# Standard errors that an interval reaches at the planned end, and at most.
LAST = 2.37
MOST = 3.5
WEEK = timedelta(days=7)
# An audience without a last day is planned for so many weekly looks.
LOOKS = 52
# How many a week become members is known by the recent weeks.
RECENT_WEEKS = 4


def errors_at(progress: float) -> float:
    """
    Return how many standard errors an interval reaches, by the planned length's part.

    Beyond 1 they are more again: those who go on looking would be misled otherwise.
    """
    distance = max(progress, 1 / progress)
    return min(LAST * float(distance**0.25), MOST)


def progress_at(week: date, *, first: date, until: date | None) -> float:
    """Return the part of the planned length that is over with a week of new members."""
    if until is None:
        until = first + (LOOKS - 1) * WEEK
    return (week - first + WEEK) / max(until - first + WEEK, WEEK)


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
