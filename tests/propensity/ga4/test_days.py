"""What of the export is there, and the moment, to how far to read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.ga4 import days as export_days
from propensity.ga4.days import Freshness, Shards

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
    return export_days.look(
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


class TestARun:
    @pytest.mark.parametrize(
        ("lacking", "now", "expected"),
        [
            ((), THEN, Freshness(data_until=AS_OF)),
            # It may still come; the newest whole as-of date is a day before.
            ((1,), THEN, Freshness(
                data_until=AS_OF - DAY, late=(AS_OF - DAY,), is_awaited=True)),
            # A daily table comes within three days, or never.
            ((1,), LONG_AFTER, Freshness(
                data_until=AS_OF - DAY, late=(AS_OF - DAY,))),
            ((1, 2), LONG_AFTER, Freshness(
                data_until=AS_OF - 2 * DAY, late=(AS_OF - 2 * DAY, AS_OF - DAY))),
            # Older days are named, and nobody waits for them.
            ((20, 90), THEN, Freshness(
                data_until=AS_OF, missing=(AS_OF - 20 * DAY,))),
        ],
        ids=["whole", "late", "lost", "two", "gap"],
    )  # fmt: skip
    def test_a_run_reads_to_the_newest_day_with_all_days_before_it(
        self, lacking, now, expected
    ):
        assert look(days(*(AS_OF - n * DAY for n in lacking)), now=now) == expected

    def test_a_run_waits_for_no_day_that_is_not_over(self):
        """In a zone behind UTC the newest day goes on past midnight UTC."""
        night = datetime(2026, 3, 2, 3, tzinfo=UTC)

        assert not look(days(AS_OF - DAY), now=night, zone=-8).is_awaited
        assert look(days(AS_OF - DAY), now=night, zone=0).is_awaited

    def test_a_run_expects_no_table_of_a_weekday_on_which_nothing_happens(self):
        """A shop that is closed on Sundays has none: of no Sunday is it missing."""
        sundays = {day for day in days() if day.isoweekday() == 7}
        saturday = AS_OF - 2 * DAY

        assert look(days(*sundays)) == Freshness(data_until=AS_OF)
        assert look(days(*sundays, saturday)).late == (saturday,)

    def test_a_run_leaves_an_empty_window_to_its_statements(self):
        """They say what is wrong."""
        assert look(set()) == Freshness(data_until=AS_OF)
        assert look({AS_OF - 70 * DAY}) == Freshness(data_until=AS_OF)


class TestAStreamedDay:
    streaming = days()

    def test_a_streamed_day_is_there_three_hours_after_its_end(self):
        """Of a property that only streams."""
        state = look(set(), intraday=self.streaming)
        early = look(set(), intraday=self.streaming, now=THEN.replace(hour=2))

        assert (state.data_until, state.late, state.is_awaited) == (AS_OF, (), False)
        assert len(state.streamed) == 60
        assert early.data_until == AS_OF - DAY
        assert early.late == (AS_OF - DAY,)

    def test_a_streamed_day_is_read_where_the_daily_table_does_not_come(self):
        """It is waited for before: the daily one has more."""
        daily, streamed = days(AS_OF - DAY), {AS_OF - DAY, AS_OF}
        now = look(daily, intraday=streamed)
        later = look(daily, intraday=streamed, now=LONG_AFTER)

        assert (now.is_awaited, now.data_until) == (True, AS_OF)
        assert later == Freshness(data_until=AS_OF, streamed=(AS_OF - DAY,))

    @pytest.mark.parametrize("zone", range(-11, 15))
    def test_a_streamed_day_that_is_over_is_waited_for_in_any_zone(self, zone):
        """Ahead of UTC the day of the as-of date is streamed as well, and goes on."""
        daily, streamed = days(AS_OF - DAY), {AS_OF - DAY, AS_OF}
        evening = THEN.replace(hour=20)

        assert look(daily, intraday=streamed, now=evening, zone=zone).is_awaited

    def test_a_streamed_day_is_not_named_where_the_daily_table_is_there(self):
        assert look(days(), intraday={AS_OF - DAY}).streamed == ()


class TestAPropertysZone:
    def test_a_property_ahead_of_utc_needs_the_local_day_of_the_as_of_date(self):
        """The last hours before midnight UTC are of the next local day."""
        state = look(days(), zone=9, now=LONG_AFTER)
        later = look(days(until=AS_OF + DAY), zone=9, now=LONG_AFTER)

        assert (state.data_until, state.late) == (AS_OF - DAY, (AS_OF,))
        assert later == Freshness(data_until=AS_OF)

    def test_a_property_behind_utc_needs_the_local_day_before_the_window(self):
        """The window's first hours, in UTC, are of the local day before."""
        before = AS_OF - 61 * DAY

        assert look(days(before), zone=-8).missing == (before,)
        assert look(days(before), zone=0).missing == ()

    def test_a_property_ahead_of_utc_has_what_was_streamed_by_midnight_utc(self):
        """The local day goes on; what the window needs of it is over."""
        streaming = days(until=AS_OF + DAY)

        assert look(set(), intraday=streaming, zone=9).data_until == AS_OF


@given(
    missing=st.sets(st.integers(0, 70)),
    streamed=st.sets(st.integers(-1, 70)),
    hours=st.integers(0, 120),
    zone=st.integers(-12, 14),
)
def test_what_is_read_is_there(missing, streamed, hours, zone):
    """Every expected day before ``data_until`` is there, or is named."""
    daily = days(*(AS_OF - n * DAY for n in missing))
    intraday = {AS_OF - n * DAY for n in streamed}
    now = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(hours=hours)
    state = look(daily, intraday=intraday, now=now, zone=zone)

    last = state.data_until - (DAY if zone <= 0 else 0 * DAY)
    assert state.data_until <= AS_OF
    assert all(day > last for day in state.late)
    shards = Shards(daily=frozenset(daily), intraday=frozenset(intraday))
    read = shards.expected(max(AS_OF - 60 * DAY, min(shards.days, default=last)), last)
    if any(day in shards.days for day in read):
        assert {*read} - shards.days <= {*state.missing}
