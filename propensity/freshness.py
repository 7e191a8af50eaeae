"""
The days of the GA4 export that are there, and the day up to which a run may read.

A day's table usually comes by the afternoon of the next day in the property's time
zone. A run that reads without the newest day would see every user a day less recent.
So a run first looks at the names of the tables, which bills nothing, waits for the
newest day, and after the longest wait goes on as of a day earlier.

Nothing here talks to BigQuery or reads a clock.

Source:
    https://support.google.com/analytics/answer/9358801 and 9823238: daily and streaming
    export, their limits, late events.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from propensity.timeframe import DAY, midnight, open_weekdays
from propensity.usecases.export import DAILY, INTRADAY, SHARD

if TYPE_CHECKING:
    from propensity.settings import Settings

# A daily table may come for so long after its day.
SETTLES = timedelta(hours=72)

# A streamed table is complete so long after its day.
STREAMED = timedelta(hours=3)

# After so many days without a daily table a property only streams.
STREAMS = 3

# How often to look while a day is awaited.
LOOK_AGAIN_S = 600

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
        for match in filter(None, map(SHARD.fullmatch, names)):
            try:
                days[bool(match[1])].add(date.fromisoformat(match[2]))
            except ValueError:
                continue
        return cls(daily=frozenset(days[False]), intraday=frozenset(days[True]))

    @property
    def days(self) -> frozenset[date]:
        """The days with a table of either kind."""
        return self.daily | self.intraday

    @property
    def kinds(self) -> list[str]:
        """The kinds of tables that are there: ``daily``, ``intraday``."""
        return [kind for kind in KINDS if getattr(self, kind)]

    def of_kinds(self, kinds: Collection[str]) -> Shards:
        """Return those of some kinds alone."""
        return Shards(**{kind: getattr(self, kind) for kind in KINDS if kind in kinds})

    def expected(self, first: date, last: date) -> list[date]:
        """
        Return the days of a span that have a table or should have one.

        Nothing is usual yet in an export of less than a week.
        """
        is_new = max(self.days) - min(self.days) < 7 * DAY
        weekdays = set() if is_new else open_weekdays(self.days)
        span = (first + n * DAY for n in range((last - first).days + 1))
        return [day for day in span if day in self.days or day.weekday() in weekdays]


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """
    How far the export can be read.

    ``data_until`` is the newest as-of date, at most the requested, with all days before
    it. ``late`` are days from it on without a complete table; ``missing`` are earlier
    days of the window without a table; ``streamed`` are days with only a streamed
    table. ``is_awaited`` says that a late day may still come.
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

    def ends(self, day: date) -> datetime:
        """Return when a local day is over."""
        return midnight(day + DAY) - timedelta(hours=self.utc_offset_hours)


def look(shards: Shards, window: Window) -> Freshness:
    """
    Return how far the export can be read for a window.

    A window without any day is left to the statements that read it.
    """
    if not any(window.first <= day <= window.last for day in shards.days):
        return Freshness(data_until=window.until)
    read = shards.expected(max(window.first, min(shards.days)), window.last)
    late: list[date] = []
    while read and not _is_there(read[-1], shards, window):
        late.insert(0, read.pop())
    streamed = [day for day in read if day in shards.intraday - shards.daily]
    # Where daily tables usually come, the one to come has more than the streamed one.
    better = [
        day
        for day in streamed[-1:]
        if any(day - n * DAY in shards.daily for n in range(1, STREAMS + 1))
    ]
    return Freshness(
        data_until=window.until - (window.last - late[0] + DAY if late else 0 * DAY),
        late=tuple(late),
        missing=tuple(day for day in read if day not in shards.days),
        streamed=tuple(streamed),
        is_awaited=any(
            window.ends(day) <= window.now < window.ends(day) + SETTLES
            for day in (*late, *better)
        ),
    )


def _is_there(day: date, shards: Shards, window: Window) -> bool:
    # The window needs the last local day only up to its own end.
    end = min(window.ends(day), midnight(window.until))
    is_streamed = day in shards.intraday and window.now >= end + STREAMED
    return day in shards.daily or is_streamed


def retry_after_s(waited: timedelta, settings: Settings) -> int:
    """Return the seconds after which to look again; 0 after the longest wait."""
    left = timedelta(minutes=settings.export_wait_minutes) - waited
    return max(0, min(math.ceil(left.total_seconds()), LOOK_AGAIN_S))
