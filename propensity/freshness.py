"""
The days of the GA4 export that are there, and the day up to which a run may read.

A day's table usually comes by the afternoon of the next day in the property's time
zone, and GA4 rewrites it for up to three days. A run that reads without the newest day
would see every user a day less recent, with six days of events in the last seven. So a
run first looks at the names of the tables, and at the row counts of the newest days,
which bills nothing.

Nothing here talks to BigQuery or reads a clock.

Source:
    https://support.google.com/analytics/answer/9358801 and 9823238: daily and streaming
    export, their limits, late events.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING

from propensity.timeframe import DAY, first_and_last, midnight
from propensity.usecases.export import DAILY, INTRADAY, SHARD

if TYPE_CHECKING:
    from propensity.settings import Settings

# A daily table may come, or be rewritten, for so long after its day.
SETTLES = timedelta(hours=72)

# A streamed table is complete so long after its day.
STREAMED = timedelta(hours=3)

# A daily table with less than this share of its weekday's usual rows is still loading.
WHOLE = 0.5

# The usual rows are the median of at most so many tables of the last so many weeks.
COMPARED = 4
COMPARED_WEEKS = 8

# If less than this share of a weekday has tables, within half a year before and after,
# nothing happens on that weekday, and no run waits for its table.
BUSY = 0.5
HABIT_WEEKS = 26

# How often to look while a day is awaited.
LOOK_AGAIN_S = 600

# After so many days without a daily table a property only streams.
STREAMS = 3

WEEK = 7 * DAY

# Of the tables of a day.
KINDS = (DAILY, INTRADAY)


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The days with a daily table, and the days with a streamed table."""

    daily: frozenset[date] = frozenset()
    intraday: frozenset[date] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> Shards:
        """Sort table names; others than those of days are left out."""
        days: dict[bool, set[date]] = {True: set(), False: set()}
        for name in names:
            match = SHARD.fullmatch(name)
            if match is None:
                continue
            try:
                day = date.fromisoformat(match[2])
            except ValueError:
                continue
            days[bool(match[1])].add(day)
        return cls(daily=frozenset(days[False]), intraday=frozenset(days[True]))

    @property
    def days(self) -> frozenset[date]:
        """The days with a table of either kind."""
        return self.daily | self.intraday

    @cached_property
    def first_and_last(self) -> tuple[date, date]:
        """Between which days its tables lie, but for one that lies alone."""
        return first_and_last(dict.fromkeys(self.days, 1))

    @property
    def kinds(self) -> list[str]:
        """The kinds of tables that are there: ``daily``, ``intraday``."""
        return [kind for kind in KINDS if getattr(self, kind)]

    def of_kinds(self, kinds: Collection[str]) -> Shards:
        """Return those of some kinds alone."""
        return Shards(**{kind: getattr(self, kind) for kind in KINDS if kind in kinds})

    def only_streams(self, day: date) -> bool:
        """Tell whether the days before have no daily table, so that this gets none."""
        return not any(day - n * DAY in self.daily for n in range(1, STREAMS + 1))


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """
    How far the export can be read.

    ``data_until`` is the newest as-of date, at most the requested, with all days before
    it. ``late`` are days from it on without a table, or with a partial one; ``missing``
    are earlier days of the window without a table; ``streamed`` are days with only a
    streamed table. ``is_awaited`` says that a late day may still come.
    """

    data_until: date
    late: tuple[date, ...] = ()
    missing: tuple[date, ...] = ()
    streamed: tuple[date, ...] = ()
    is_awaited: bool = False


@dataclass(frozen=True, kw_only=True)
class Window:
    """Events of ``[since, until)`` in UTC, read at a moment of a property's export."""

    since: date
    until: date
    now: datetime
    utc_offset_hours: int

    @property
    def first(self) -> date:
        """The first local day that has events of the window."""
        return self.since - DAY if self.utc_offset_hours < 0 else self.since

    @property
    def last(self) -> date:
        """The last local day that has events of the window."""
        return self.until if self.utc_offset_hours > 0 else self.until - DAY

    def until_without(self, day: date) -> date:
        """Return the newest as-of date that needs no event from a local day on."""
        return min(self.until, day - DAY if self.utc_offset_hours > 0 else day)

    def ends(self, day: date) -> datetime:
        """Return when a local day is over."""
        return midnight(day + DAY) - timedelta(hours=self.utc_offset_hours)

    def is_over(self, day: date) -> bool:
        """Tell whether a local day is over."""
        return self.now >= self.ends(day)

    def may_change(self, day: date) -> bool:
        """Tell whether the table of a day may still come or be written again."""
        return self.now < self.ends(day) + SETTLES


def look(shards: Shards, window: Window, *, rows: Callable[[date], int]) -> Freshness:
    """
    Return how far the export can be read for a window.

    A window without any day is left to the statements that read it.

    Args:
        shards: The days with tables.
        window: The events to read.
        rows: Returns the row count of a day's daily table; called for days whose table
            may still change, and for the days that they are compared with.
    """
    there = sorted(day for day in shards.days if window.first <= day <= window.last)
    if not there:
        return Freshness(data_until=window.until)
    begin = max(window.first, shards.first_and_last[0])
    newest, late = window.last, []
    while newest >= begin and not _is_there(newest, shards, window, rows=rows):
        if newest in shards.days or is_expected(newest, shards):
            late.append(newest)
        newest -= DAY
    read = [begin + n * DAY for n in range((newest - begin).days + 1)]
    streamed = [day for day in read if day in shards.days - shards.daily]
    # Where daily tables usually come, the one to come has more than the streamed one.
    better = [day for day in streamed[-1:] if not shards.only_streams(day)]
    return Freshness(
        data_until=window.until_without(min(late)) if late else window.until,
        late=tuple(sorted(late)),
        missing=tuple(
            day for day in read if day not in shards.days and is_expected(day, shards)
        ),
        streamed=tuple(streamed),
        is_awaited=any(
            window.is_over(day) and window.may_change(day) for day in (*late, *better)
        ),
    )


def _is_there(
    day: date, shards: Shards, window: Window, *, rows: Callable[[date], int]
) -> bool:
    """Tell whether a day is complete, as far as names and row counts show."""
    if day in shards.daily:
        return not window.may_change(day) or _is_whole(day, shards, rows=rows)
    if day in shards.intraday:
        # The window needs the last local day only up to its own end.
        return window.now >= min(window.ends(day), midnight(window.until)) + STREAMED
    return False


def _is_whole(day: date, shards: Shards, *, rows: Callable[[date], int]) -> bool:
    """Tell whether a daily table has about the rows that are usual on its weekday."""
    weeks = (day - n * WEEK for n in range(1, COMPARED_WEEKS + 1))
    compared = [week_day for week_day in weeks if week_day in shards.daily][:COMPARED]
    if not compared:
        return rows(day) > 0
    return rows(day) >= WHOLE * median(rows(week_day) for week_day in compared)


def is_expected(day: date, shards: Shards) -> bool:
    """
    Tell whether a day should have a table: whether its weekday usually has one.

    False for an export of less than a week: nothing is usual yet.
    """
    first, last = shards.first_and_last
    if last - first < WEEK:
        return False
    weeks = [day + n * WEEK for n in range(-HABIT_WEEKS, HABIT_WEEKS + 1) if n]
    known = [week_day for week_day in weeks if first <= week_day <= last]
    return sum(week_day in shards.days for week_day in known) >= BUSY * len(known)


def retry_after_s(waited: timedelta, settings: Settings) -> int:
    """Return the seconds after which to look again; 0 after the longest wait."""
    left = timedelta(minutes=settings.export_wait_minutes) - waited
    return max(0, min(math.ceil(left.total_seconds()), LOOK_AGAIN_S))
