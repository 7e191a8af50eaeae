"""
How far intervals reach at each weekly look, so that one may act on the first verdict.

A team that looks each week stops at the first good news. So an interval reaches further
than a single look's, most of all at first, and the least at the end of the planned
length: until the last day on which the audience is sent, or for a year. In 5% of cases
at most, an audience without an effect ever seems to help or to harm in that time
(``python -m benchmarks.verdicts``).

Source:
    Wang and Tsiatis, "Approximately Optimal One-Parameter Boundaries for Group
    Sequential Trials", Biometrics 43, 1987, with 0.25; the limit of the early ones, as
    of Haybittle, British Journal of Radiology 44, 1971, lets large effects show early.
"""

from __future__ import annotations

from datetime import date, timedelta

# Standard errors that an interval reaches at the planned end, and at most.
LAST = 2.37
MOST = 3.5
WEEK = timedelta(days=7)
# An audience without a last day is planned for so many weekly looks.
LOOKS = 52


def errors_at(progress: float) -> float:
    """
    Return how many standard errors an interval reaches.

    Args:
        progress: Part of the planned length that is over, above 0. Beyond 1 intervals
            reach further again: those who go on looking would be misled otherwise.
    """
    distance = max(progress, 1 / progress)
    return min(LAST * float(distance**0.25), MOST)


def progress_at(week: date, *, first: date, until: date | None) -> float:
    """
    Return the part of the planned length that is over with a week of new members.

    Args:
        first: Prediction date of the first members.
        until: Last day on which the audience is sent; None for a year of looks.
    """
    if until is None:
        until = first + (LOOKS - 1) * WEEK
    return (week - first + WEEK) / max(until - first + WEEK, WEEK)
