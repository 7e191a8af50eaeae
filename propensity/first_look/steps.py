"""
Steps of time: a table's rows as snapshots, which every training splits by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from propensity.errors import SchemaError
from propensity.first_look.columns import is_moments
from propensity.timeframe import FEWEST_SNAPSHOTS

# With more times than that a table has no list of them.
_MOST_TIMES = 60
# Steps in time that have no date count from this day on, which no page shows.
_FIRST_DAY = date(2001, 1, 1)
# Fewer outcomes are too few to train, to choose or to test by.
FEWEST = 5


@dataclass(frozen=True, kw_only=True)
class Steps:
    """
    Rows in steps of time.

    Attributes:
        of: The step of each row, from 0 on, (rows,).
        days: A date for each step.
        names: What each is called.
        horizon_days: After so many of these days a label is known.
    """

    of: NDArray[np.int64]
    days: list[date]
    names: list[str]
    horizon_days: int = 1


def steps_of(
    times: pd.Series, shown: pd.Series, label: pd.Series, horizon: int | None
) -> Iterator[Steps]:
    """
    Yield ways to put rows into steps, the most natural first.

    Months, weeks or days; else the table's own times where they are few; else blocks of
    equal size and, for a rare outcome, three: the newest tenth of the rows, or more,
    with a quarter of it, a third of the rest, and all that remains.

    Args:
        times: As ``columns.times_of`` returns them.
        shown: The same as the table has them.
        label: 1 or 0.
        horizon: Days until a label is known; None for until the next step.
    """
    is_dated = is_moments(times)
    if is_dated and (periods := _periods(times, horizon=horizon)):
        yield periods
    if horizon is not None:
        if not is_dated:
            raise SchemaError(
                f"--horizon-days needs dates, and row 1 has {str(shown.iloc[0])!r}",
                hint="Write the times as 2026-03-01, or leave --horizon-days out",
            )
        return
    values = times.astype("int64" if is_dated else "float64").to_numpy(np.float64)
    distinct = np.unique(values)
    if len(distinct) <= _MOST_TIMES:
        yield _blocks(values, shown, distinct)
        return
    yield _blocks(values, shown, np.quantile(values, np.arange(10) / 10))
    found = np.sort(values[label == 1])
    if len(found) < 3 * FEWEST:
        return
    newest = min(found[-len(found) // 4], np.quantile(values, 0.9))
    left = found[found < newest]
    if len(left):
        later = left[-max(FEWEST, len(left) // 3) :]
        yield _blocks(values, shown, np.array([distinct[0], later[0], newest]))


def _periods(times: pd.Series, *, horizon: int | None) -> Steps | None:
    """Return months, weeks or days, whichever are enough first; None if none are."""
    days = times.dt.tz_localize(None)
    # With a horizon there is nothing else: days are taken, and refused if too few.
    fewest_days = FEWEST_SNAPSHOTS if horizon is None else 1
    for unit, fewest in (("M", 4), ("W", 4), ("D", fewest_days)):
        starts = days.dt.to_period(unit).dt.start_time
        if starts.nunique() >= fewest:
            found, of = np.unique(starts.dt.date, return_inverse=True)
            if horizon is None:
                gap = min(np.diff(found)).days
            else:
                gap = horizon + int((days - starts).dt.days.max())
            names = [f"{day:%Y-%m}" if unit == "M" else str(day) for day in found]
            return Steps(of=of, days=[*found], names=names, horizon_days=gap)
    return None


def _blocks(
    values: NDArray[np.float64], shown: pd.Series, starts: NDArray[np.float64]
) -> Steps:
    """Return steps that begin at these values, each named by its first and last."""
    at = np.searchsorted(np.unique(starts), values, "right")
    _, of = np.unique(at, return_inverse=True)
    days, names = [], []
    for step in range(of.max() + 1):
        inside = np.flatnonzero(of == step)
        ends = inside[[values[inside].argmin(), values[inside].argmax()]]
        names.append(" to ".join(dict.fromkeys(str(shown.iloc[end]) for end in ends)))
        days.append(_FIRST_DAY + timedelta(days=step))
    return Steps(of=of, days=days, names=names)
