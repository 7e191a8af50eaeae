"""
The tables of the export, by the names of their days, and how far a run reads them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from propensity.ga4.freshness import Freshness
from propensity.timeframe import DAY, midnight, open_weekdays

# How names of the export's tables begin, by kind. Of a day the first kind counts.
DAILY = "daily"
PREFIXES = {
    DAILY: "events_",
    "fresh": "events_fresh_",
    "intraday": "events_intraday_",
    "fresh_intraday": "events_fresh_intraday_",
}
KINDS = tuple(PREFIXES)

# The table of a day.
SHARD = re.compile(r"(events_(?:fresh_)?(?:intraday_)?)([0-9]{8})")

# A daily table may come for so long after its day.
DAILY_TABLE_DEADLINE = timedelta(hours=72)

# A streamed table is complete so long after its day.
INTRADAY_COMPLETE_AFTER = timedelta(hours=3)

# After so many days without a daily table a property only streams.
STREAMING_ONLY_AFTER_DAYS = 3


def kinds_of(names: Iterable[str]) -> list[str]:
    """Return the kinds of tables that are there, in the order in which they count."""
    prefixes = {match[1] for match in map(SHARD.fullmatch, names) if match}
    return [kind for kind in KINDS if PREFIXES[kind] in prefixes]


def kinds_read(view: str) -> list[str]:
    return [kind for kind, name in PREFIXES.items() if f".{name}2*`" in view]


def tables_of_days(
    names: Iterable[str], *, kinds: Collection[str] = KINDS
) -> dict[date, str]:
    """
    Return the name of the table that counts of each day; names of no day are left out.

    It is the one of the first kind: a view that does not read this ``kind`` shows
    nothing of the day.
    """
    ranks: dict[date, int] = {}
    order = list(PREFIXES.values())
    for match in filter(None, map(SHARD.fullmatch, names)):
        with contextlib.suppress(ValueError):
            day = date.fromisoformat(match[2])
            rank = order.index(match[1])
            ranks[day] = min(rank, ranks.get(day, rank))
    return {
        day: f"{order[rank]}{day:%Y%m%d}"
        for day, rank in sorted(ranks.items())
        if KINDS[rank] in kinds
    }


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The days with a daily table, and those with a fresh or streamed one."""

    daily: frozenset[date] = frozenset()
    intraday: frozenset[date] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str], *, kinds: Collection[str] = KINDS) -> Shards:
        """Sort table names, as ``tables_of_days``."""
        daily = set[date]()
        intraday = set[date]()
        for day, name in tables_of_days(names, kinds=kinds).items():
            is_daily = name == f"{PREFIXES[DAILY]}{day:%Y%m%d}"
            (daily if is_daily else intraday).add(day)
        return cls(daily=frozenset(daily), intraday=frozenset(intraday))

    @property
    def days(self) -> frozenset[date]:
        """The days with a table of either kind."""
        return self.daily | self.intraday

    def expected(self, first: date, last: date) -> list[date]:
        """
        Return the days of a span that have a table or should have one.

        Nothing is usual yet in an export of less than a week.
        """
        is_new = max(self.days) - min(self.days) < 7 * DAY
        weekdays = set() if is_new else open_weekdays(self.days)
        span = (first + n * DAY for n in range((last - first).days + 1))
        return [day for day in span if day in self.days or day.weekday() in weekdays]


def local_days(since: date, until: date, *, utc_offset_hours: int) -> tuple[date, date]:
    """Return the first and the last local day with events of ``[since, until)``."""
    first = since - DAY if utc_offset_hours < 0 else since
    return first, until if utc_offset_hours > 0 else until - DAY


def end_of(day: date, *, utc_offset_hours: int) -> datetime:
    """Return the moment at which a local day ends."""
    return midnight(day + DAY) - timedelta(hours=utc_offset_hours)


def age_days(shards: Shards, as_of: date, *, now: datetime) -> int:
    """
    Return how many days before a date the export ends; 0 if it has the day before it.

    A gap before the newest day is no end, nor are weekdays on which nothing happens.
    """
    begun = min(shards.days, default=as_of)
    state = check_days(shards, begun, as_of, now=now, utc_offset_hours=0)
    return max((as_of - state.data_until).days, 0)


def check_days(
    shards: Shards, since: date, until: date, *, now: datetime, utc_offset_hours: int
) -> Freshness:
    """
    Return how far the export can be read for events of ``[since, until)`` in UTC.

    A window without any day can be read up to its beginning.
    """

    def ends(day: date) -> datetime:
        return end_of(day, utc_offset_hours=utc_offset_hours)

    def is_there(day: date) -> bool:
        # The window needs the last local day only up to its own end.
        is_over = now >= min(ends(day), midnight(until)) + INTRADAY_COMPLETE_AFTER
        return day in shards.daily or (day in shards.intraday and is_over)

    first, last = local_days(since, until, utc_offset_hours=utc_offset_hours)
    if not any(first <= day <= last for day in shards.days):
        return Freshness(data_until=since)
    read = shards.expected(max(first, min(shards.days)), last)
    late: list[date] = []
    while read and not is_there(read[-1]):
        late.insert(0, read.pop())
    streamed = [day for day in read if day in shards.intraday - shards.daily]
    # A daily table that is still to come has more than the streamed one.
    awaited = list(late)
    for day in streamed:
        if any(
            day - n * DAY in shards.daily
            for n in range(1, STREAMING_ONLY_AFTER_DAYS + 1)
        ):
            awaited.append(day)
    return Freshness(
        data_until=until - (last - late[0] + DAY if late else 0 * DAY),
        late=tuple(late),
        missing=tuple(day for day in read if day not in shards.days),
        streamed=tuple(streamed),
        is_awaited=any(
            ends(day) <= now < ends(day) + DAILY_TABLE_DEADLINE for day in awaited
        ),
    )
