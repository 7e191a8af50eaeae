"""What of the export is there: days, their rows, and the moment, to how far to read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity import freshness
from propensity.freshness import Freshness, Shards, Window
from propensity.settings import Settings

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
    as_of: date = AS_OF,
    zone: int = 0,
    rows: dict[date, int] | None = None,
) -> Freshness:
    """Look at an export whose daily tables have a hundred rows each."""
    window = Window(since=as_of - 60 * DAY, until=as_of, now=now, utc_offset_hours=zone)
    shards = Shards(daily=frozenset(daily), intraday=frozenset(intraday or ()))
    return freshness.look(shards, window, rows=lambda day: (rows or {}).get(day, 100))


class TestShards:
    def test_are_known_by_their_names(self):
        """Daily and streamed tables of a day; copies, users and what is no day not."""
        shards = Shards.of(
            [
                "events_20260301",
                "events_intraday_20260302",
                "events_fresh_20260303",
                "events_20260304_backup",
                "events_20261341",
                "events_٢٠٢٦٠٣٠٥",
                "pseudonymous_users_20260301",
            ]
        )

        assert shards.daily == {date(2026, 3, 1)}
        assert shards.intraday == {date(2026, 3, 2)}


class TestLook:
    def test_goes_to_the_as_of_date_where_every_day_is_there(self):
        assert look(days()) == Freshness(data_until=AS_OF)

    def test_waits_for_the_newest_day(self):
        """It may still come; the newest whole as-of date is a day before."""
        state = look(days(AS_OF - DAY))

        assert state == Freshness(
            data_until=AS_OF - DAY, late=(AS_OF - DAY,), is_awaited=True
        )

    def test_waits_for_no_day_that_will_not_come(self):
        """A daily table comes within three days, or never."""
        state = look(days(AS_OF - DAY), now=LONG_AFTER)

        assert state == Freshness(data_until=AS_OF - DAY, late=(AS_OF - DAY,))

    def test_waits_for_no_day_that_is_not_over(self):
        """In a zone behind UTC the newest day goes on past midnight UTC."""
        night = datetime(2026, 3, 2, 3, tzinfo=UTC)

        assert not look(days(AS_OF - DAY), now=night, zone=-8).is_awaited
        assert look(days(AS_OF - DAY), now=night, zone=0).is_awaited

    def test_ends_before_the_first_of_several_days_that_are_late(self):
        """What comes after a missing day is no use to a window that has it."""
        state = look(days(AS_OF - DAY, AS_OF - 2 * DAY))

        assert state.data_until == AS_OF - 2 * DAY
        assert state.late == (AS_OF - 2 * DAY, AS_OF - DAY)

    def test_tells_of_older_days_and_does_not_wait_for_them(self):
        """A day that never came is a gap for as long as the lookback has it."""
        gap = AS_OF - 20 * DAY
        state = look(days(gap, AS_OF - 90 * DAY))

        assert state == Freshness(data_until=AS_OF, missing=(gap,))

    def test_expects_no_table_of_a_weekday_on_which_nothing_happens(self):
        """A shop that is closed on Sundays has none: of no Sunday is it missing."""
        sundays = {day for day in days() if day.isoweekday() == 7}
        closed = look(days(*sundays))
        saturday = AS_OF - 2 * DAY
        late = look(days(*sundays, saturday))

        assert (AS_OF - DAY).isoweekday() == 7
        assert closed == Freshness(data_until=AS_OF)
        assert late.data_until == saturday
        assert late.late == (saturday,)

    def test_of_an_export_that_has_just_begun_misses_nothing(self):
        """Days before the first table are no gap, and a habit takes a week to know."""
        new = {AS_OF - n * DAY for n in range(2, 9)}

        assert look(new) == Freshness(data_until=AS_OF)
        assert look({*new, AS_OF - 9 * DAY}).late == (AS_OF - DAY,)

    def test_of_nothing_in_the_window_says_nothing(self):
        """The statements that read it say what is wrong."""
        assert look(set()) == Freshness(data_until=AS_OF)
        assert look({AS_OF - 70 * DAY}) == Freshness(data_until=AS_OF)


class TestATableThatLiesAlone:
    @pytest.mark.parametrize("stray", [AS_OF + 400 * DAY, FIRST - 400 * DAY])
    def test_hides_no_late_day(self, stray):
        """A clock that was wrong, or a test of the link: habits are of the bulk."""
        lacking = days(AS_OF - DAY, AS_OF - 20 * DAY)
        state = look({*lacking, stray})

        assert state == look(lacking)
        assert state.late == (AS_OF - DAY,)
        assert state.missing == (AS_OF - 20 * DAY,)

    def test_is_not_where_the_window_begins(self):
        """Days between it and the export's first are no gap."""
        begun = {AS_OF - n * DAY for n in range(1, 31)}

        assert look({*begun, AS_OF - 50 * DAY}) == Freshness(data_until=AS_OF)


class TestAHalfLoadedDay:
    def test_is_late(self):
        """It has less than half of the rows that its weekday usually has."""
        half = look(days(), rows={AS_OF - DAY: 49})

        assert half.late == (AS_OF - DAY,)
        assert half.data_until == AS_OF - DAY
        assert half.is_awaited

    def test_is_there_once_it_was_loaded_anew(self):
        assert look(days(), rows={AS_OF - DAY: 51}) == Freshness(data_until=AS_OF)

    def test_is_taken_for_a_quiet_day_after_three(self):
        """What GA4 does not write any more is what happened."""
        state = look(days(), rows={AS_OF - DAY: 0}, now=LONG_AFTER)

        assert state == Freshness(data_until=AS_OF)

    def test_is_compared_with_its_own_weekday(self):
        """A Sunday has the tenth of a Monday, as Sundays have."""
        rows = {day: 10 if day.isoweekday() == 7 else 100 for day in days()}

        assert look(days(), rows=rows) == Freshness(data_until=AS_OF)

    def test_is_looked_at_among_the_newest_days_only(self):
        """Of a settled day nobody asks for the rows: each look is a request."""
        counted = []

        def rows(day: date) -> int:
            counted.append(day)
            return 100

        window = Window(
            since=AS_OF - 60 * DAY, until=AS_OF, now=THEN, utc_offset_hours=0
        )
        shards = Shards(daily=frozenset(days()), intraday=frozenset())
        freshness.look(shards, window, rows=rows)

        assert set(counted) == {AS_OF - DAY - 7 * n * DAY for n in range(5)}


class TestAStreamedDay:
    streaming = days()

    def test_is_there_once_it_is_over(self):
        """Of a property that only streams, three hours after its end."""
        state = look(set(), intraday=self.streaming)
        early = look(set(), intraday=self.streaming, now=THEN.replace(hour=2))

        assert state.data_until == AS_OF
        assert not state.late
        assert not state.is_awaited
        assert len(state.streamed) == 60
        assert early.data_until == AS_OF - DAY
        assert early.late == (AS_OF - DAY,)

    def test_is_waited_for_where_a_daily_table_usually_comes(self):
        """The daily one has more; where it does not come the streamed one is read."""
        daily, streamed = days(AS_OF - DAY), {AS_OF - DAY, AS_OF}
        now = look(daily, intraday=streamed)
        later = look(daily, intraday=streamed, now=LONG_AFTER)

        assert now.is_awaited
        assert now.data_until == AS_OF
        assert later == Freshness(data_until=AS_OF, streamed=(AS_OF - DAY,))

    def test_is_not_told_of_where_the_daily_table_is_there(self):
        """Both are there for a while; the daily one is read."""
        assert look(days(), intraday={AS_OF - DAY}).streamed == ()


class TestAPropertysZone:
    def test_ahead_of_utc_needs_the_local_day_of_the_as_of_date(self):
        """The last hours before midnight UTC are of the next local day."""
        state = look(days(), zone=9, now=LONG_AFTER)

        assert state.data_until == AS_OF - DAY
        assert state.late == (AS_OF,)
        assert look(days(until=AS_OF + DAY), zone=9, now=LONG_AFTER) == Freshness(
            data_until=AS_OF
        )

    def test_behind_utc_needs_the_local_day_before_the_window(self):
        """The window's first hours, in UTC, are of the local day before."""
        before = AS_OF - 61 * DAY

        assert look(days(before), zone=-8).missing == (before,)
        assert look(days(before), zone=0).missing == ()

    def test_ahead_of_utc_has_what_was_streamed_by_midnight_utc(self):
        """The local day goes on; what the window needs of it is over."""
        streaming = days(until=AS_OF + DAY)

        assert look(set(), intraday=streaming, zone=9).data_until == AS_OF


@given(
    missing=st.sets(st.integers(0, 70)),
    streamed=st.sets(st.integers(-1, 70)),
    half=st.sets(st.integers(0, 5)),
    hours=st.integers(0, 120),
    zone=st.integers(-12, 14),
)
def test_what_is_read_is_there(missing, streamed, half, hours, zone):
    """Whatever is missing, no day that the window then needs is among the late ones,
    and whoever reads on has every day that is expected but those it is told of."""
    daily = days(*(AS_OF - n * DAY for n in missing))
    intraday = {AS_OF - n * DAY for n in streamed}
    rows = {AS_OF - n * DAY: 1 for n in half}
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    arguments: dict[str, Any] = {"intraday": intraday, "zone": zone, "rows": rows}
    state = look(daily, now=midnight + timedelta(hours=hours), **arguments)

    assert state.data_until <= AS_OF
    last = state.data_until - (DAY if zone <= 0 else 0 * DAY)
    assert all(day > last for day in state.late) or state.data_until == AS_OF
    read = {day for day in daily | intraday if AS_OF - 61 * DAY <= day <= last}
    gaps = {
        min(read, default=last) + n * DAY
        for n in range((last - min(read, default=last)).days + 1)
    } - read
    known = set(state.missing)
    busy = {
        day for day in gaps if sum(day - 7 * n * DAY in daily for n in range(1, 9)) >= 7
    }
    assert busy <= known | set(state.late)


@pytest.mark.parametrize(
    ("waited", "again"), [(0, 600), (119, 60), (119.99, 1), (120, 0), (9_999, 0)]
)
def test_a_run_waits_as_long_as_is_set(waited, again):
    """Ten minutes from look to look, less at the end, and no more once it is over."""
    settings = Settings(project="p")

    wait_s = freshness.retry_after_s(timedelta(minutes=waited), settings)

    assert wait_s == again
