"""What of the export is there, and the moment, to how far to read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from propensity.ga4 import shards as export_days
from propensity.ga4.freshness import Freshness
from propensity.ga4.shards import Shards

DAY = timedelta(days=1)
AS_OF = date(2026, 3, 2)
FIRST = date(2025, 12, 1)
# The scheduler's hour, on the as-of date itself.
THEN = datetime(2026, 3, 2, 15, tzinfo=UTC)
LONG_AFTER = datetime(2026, 6, 1, tzinfo=UTC)


def days(*without: date, until: date = AS_OF) -> set[date]:
    """Every day from the first on, but for some."""
    every = {FIRST + n * DAY for n in range((until - FIRST).days)}
    return every - {*without}


def look(
    daily: set[date],
    *,
    intraday: set[date] | None = None,
    now: datetime = THEN,
    zone: int = 0,
) -> Freshness:
    shards = Shards(daily=frozenset(daily), intraday=frozenset(intraday or ()))
    return export_days.check_days(
        shards, AS_OF - 60 * DAY, AS_OF, now=now, utc_offset_hours=zone
    )


def test_tables_of_days_are_known_by_their_names():
    """Daily tables, and fresh and streamed ones of other days; copies, users and what
    is no day not. A day counts by its first kind, whether the view reads it or not."""
    days = ["events_20260301", "events_fresh_20260301", "events_intraday_20260301"]
    streamed = ["events_intraday_20260302", "events_fresh_intraday_20260303"]
    others = ["events_fresh_20260304", "events_20260305_backup", "events_20261341"]
    names = [*days, *streamed, *others, "pseudonymous_users_20260301"]
    shards = Shards.of(names)

    assert shards.daily == {date(2026, 3, 1)}
    assert shards.intraday == {date(2026, 3, day) for day in (2, 3, 4)}
    assert not Shards.of(names, kinds=["daily"]).intraday
    assert not Shards.of(names, kinds=["fresh_intraday", "intraday"]).daily
    assert Shards.of(names, kinds=["intraday"]).intraday == {date(2026, 3, 2)}


BEFORE = AS_OF - DAY
SATURDAY = AS_OF - 2 * DAY
MONTH = AS_OF - 20 * DAY
NIGHT = datetime(2026, 3, 2, 3, tzinfo=UTC)
TWO = datetime(2026, 3, 2, 2, tzinfo=UTC)
SUNDAYS = {day for day in days() if day.isoweekday() == 7}
WINDOW = tuple(AS_OF - n * DAY for n in range(60, 0, -1))
WHOLE = Freshness(data_until=AS_OF)
NOTHING = Freshness(data_until=WINDOW[0])
LOST = Freshness(data_until=BEFORE, late=(BEFORE,))
LATE = replace(LOST, is_awaited=True)
BOTH_STREAMED = {BEFORE, AS_OF}
# Days that have a daily table, what else there is, and what a run reads.
CASES = {
    "all": (days(), {}, WHOLE),
    # It may still come; the newest whole as-of date is a day before.
    "one may still come": (days(BEFORE), {}, LATE),
    # A daily table comes within three days, or never.
    "one never came": (days(BEFORE), {"now": LONG_AFTER}, LOST),
    # Older days are named, and nobody waits for them.
    "a gap": (days(MONTH, AS_OF - 90 * DAY), {}, replace(WHOLE, missing=(MONTH,))),
    # In a zone behind UTC the newest day goes on past midnight UTC.
    "a day that goes on": (days(BEFORE), {"now": NIGHT, "zone": -8}, LOST),
    "a day that is over": (days(BEFORE), {"now": NIGHT}, LATE),
    # A shop that is closed on Sundays has no table of them: of none is it missing.
    "closed on Sundays": (days(*SUNDAYS), {}, WHOLE),
    "Saturday may still come": (
        days(*SUNDAYS, SATURDAY),
        {},
        Freshness(data_until=SATURDAY, late=(SATURDAY,), is_awaited=True),
    ),
    # Of a window without any day nothing is read.
    "none in the window": ({AS_OF - 70 * DAY}, {}, NOTHING),
    # A streamed day is there three hours after its end.
    "streamed": (set(), {"intraday": days()}, replace(WHOLE, streamed=WINDOW)),
    "streamed until now": (
        set(),
        {"intraday": days(), "now": TWO},
        replace(LATE, streamed=WINDOW[:-1]),
    ),
    # It is read where the daily table, which has more, does not come.
    "streamed, may still come": (
        days(BEFORE),
        {"intraday": BOTH_STREAMED},
        replace(WHOLE, streamed=(BEFORE,), is_awaited=True),
    ),
    # Ahead of UTC the last hours before its midnight are of the next local day.
    "ahead of UTC": (
        days(),
        {"zone": 9, "now": LONG_AFTER},
        Freshness(data_until=BEFORE, late=(AS_OF,)),
    ),
    "ahead, a day more": (days(until=AS_OF + DAY), {"zone": 9}, WHOLE),
    # Behind UTC the window's first hours are of the local day before.
    "behind UTC": (
        days(AS_OF - 61 * DAY),
        {"zone": -8},
        replace(WHOLE, missing=(AS_OF - 61 * DAY,)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_reads_to_the_newest_day_with_all_days_before_it(name):
    daily, how, expected = CASES[name]

    assert look(daily, **how) == expected
