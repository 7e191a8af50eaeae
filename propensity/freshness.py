"""
Which days of the GA4 export are there, and up to when a run may read them.

A day's table comes by the afternoon of the next day in the property's time zone, with
no promise, and is written again for up to three days. A run that reads while the newest
day is missing would find every user a day less recent, and seven days short of one. So
the tables are looked at before they are read: their names, and of the newest days how
many rows they have, which bills nothing.

Nothing here talks to BigQuery or asks what time it is.

Source:
    https://support.google.com/analytics/answer/9358801 and 9823238: daily and streaming
    export, their limits, late events.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

from propensity.timeframe import DAY

if TYPE_CHECKING:
    from propensity.settings import Settings

# A daily table may come, and is written again, for so long after its day.
SETTLES = timedelta(hours=72)

# A streamed table has what happened on its day so long after the day's end.
STREAMED = timedelta(hours=3)

# A daily table with less than this share of the rows that the same weekday has is one
# that is still being loaded.
WHOLE = 0.5

# Of the same weekday so many tables are compared with, at most, and from so many weeks.
COMPARED = 4
COMPARED_WEEKS = 8

# A weekday of which fewer than this share of the days have a table, in half a year
# before and after, is one on which nothing happens: nobody waits for its table.
BUSY = 0.5
HABIT_WEEKS = 26

# While a day is awaited, how often to look.
LOOK_AGAIN_S = 600

# Days without a daily table after which a property is one that only streams.
STREAMS = 3

WEEK = 7 * DAY

_SHARD = re.compile(r"events_(intraday_)?([0-9]{8})")


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The days that have a daily table, and those that have a streamed one."""

    daily: frozenset[date]
    intraday: frozenset[date]

    @classmethod
    def of(cls, names: Iterable[str]) -> Shards:
        """Sort table names; those that are no day's are left out."""
        found: dict[bool, set[date]] = {True: set(), False: set()}
        for name in names:
            match = _SHARD.fullmatch(name)
            if match is None:
                continue
            try:
                day = datetime.strptime(match[2], "%Y%m%d").replace(tzinfo=UTC).date()
            except ValueError:
                continue
            found[bool(match[1])].add(day)
        return cls(daily=frozenset(found[False]), intraday=frozenset(found[True]))

    @property
    def days(self) -> frozenset[date]:
        """The days that have either."""
        return self.daily | self.intraday

    def only_streams(self, day: date) -> bool:
        """Tell whether the days before one have no daily table, so it gets none."""
        return not any(day - n * DAY in self.daily for n in range(1, STREAMS + 1))


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """
    How far the export can be read.

    ``data_until`` is the newest as-of date, no later than the one asked for, whose days
    are all there. ``late`` are the days from it on that are not, or not whole;
    ``missing`` earlier ones within the window that never came; ``streamed`` those that
    have a streamed table alone. ``is_awaited`` says that a late one may still come.
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
        """Return the newest as-of date that needs no event of a local day or after."""
        return min(self.until, day - DAY if self.utc_offset_hours > 0 else day)

    def ends(self, day: date) -> datetime:
        """Return when a local day is over."""
        midnight = datetime.combine(day + DAY, datetime.min.time(), tzinfo=UTC)
        return midnight - timedelta(hours=self.utc_offset_hours)

    def is_over(self, day: date) -> bool:
        return self.now >= self.ends(day)

    def may_change(self, day: date) -> bool:
        """Tell whether the table of a day may still come or be written again."""
        return self.now < self.ends(day) + SETTLES


def look(shards: Shards, window: Window, *, rows: Callable[[date], int]) -> Freshness:
    """
    Return how far the export can be read for a window.

    A window of which no day is there at all is left to the statements that read it.

    Args:
        shards: What is there.
        window: What is to be read.
        rows: How many rows the daily table of a day has; is asked about days whose
            table may still be written, and about those they are compared with.
    """
    there = sorted(day for day in shards.days if window.first <= day <= window.last)
    if not there:
        return Freshness(data_until=window.until)
    begin = max(window.first, min(shards.days))
    newest, late = window.last, []
    while newest >= begin and not _is_there(newest, shards, window, rows=rows):
        if newest in shards.days or is_expected(newest, shards):
            late.append(newest)
        newest -= DAY
    read = [begin + n * DAY for n in range((newest - begin).days + 1)]
    streamed = [one for one in read if one in shards.days - shards.daily]
    # Where there usually is a daily table, it has more than the streamed one.
    better = [one for one in streamed[-1:] if not shards.only_streams(one)]
    return Freshness(
        data_until=window.until_without(min(late)) if late else window.until,
        late=tuple(sorted(late)),
        missing=tuple(
            one for one in read if one not in shards.days and is_expected(one, shards)
        ),
        streamed=tuple(streamed),
        is_awaited=any(
            window.is_over(one) and window.may_change(one) for one in (*late, *better)
        ),
    )


def _is_there(
    day: date, shards: Shards, window: Window, *, rows: Callable[[date], int]
) -> bool:
    """Tell whether all of a day is there, as far as can be known without reading it."""
    if day in shards.daily:
        return not window.may_change(day) or _is_whole(day, shards, rows=rows)
    if day in shards.intraday:
        # Of the last local day the window needs what is before its own end.
        midnight = datetime.combine(window.until, datetime.min.time(), tzinfo=UTC)
        return window.now >= min(window.ends(day), midnight) + STREAMED
    return False


def _is_whole(day: date, shards: Shards, *, rows: Callable[[date], int]) -> bool:
    weeks = (day - n * WEEK for n in range(1, COMPARED_WEEKS + 1))
    compared = [one for one in weeks if one in shards.daily][:COMPARED]
    if not compared:
        return rows(day) > 0
    return rows(day) >= WHOLE * median(rows(one) for one in compared)


def is_expected(day: date, shards: Shards) -> bool:
    """
    Tell whether a day should have a table: whether its weekday usually has one.

    Of an export of less than a week nobody knows what is usual.
    """
    first, last = min(shards.days), max(shards.days)
    if last - first < WEEK:
        return False
    weeks = [day + n * WEEK for n in range(-HABIT_WEEKS, HABIT_WEEKS + 1) if n]
    known = [one for one in weeks if first <= one <= last]
    return sum(one in shards.days for one in known) >= BUSY * len(known)


def retry_after_s(waited: timedelta, settings: Settings) -> int:
    """Return the seconds after which to look again; 0 once it was waited enough."""
    left = timedelta(minutes=settings.export_wait_minutes) - waited
    return max(0, min(math.ceil(left.total_seconds()), LOOK_AGAIN_S))
