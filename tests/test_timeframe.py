"""
Time, specified: half-open windows, mature labels, and an order that nothing breaks.
"""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.timeframe import (
    DAY,
    Timeframe,
    days_of_data,
    first_suffix,
    rolling_blocks,
)

WEEK = Timeframe(lookback_days=60, horizon_days=7, settle_days=3)
TODAY = date(2026, 3, 1)


spans = st.builds(
    Timeframe,
    lookback_days=st.integers(1, 120),
    horizon_days=st.integers(1, 30),
    settle_days=st.integers(0, 10),
    stride_days=st.integers(0, 40),
)
days = st.dates(date(2015, 1, 1), date(2035, 1, 1))


def until(today: date, length: int) -> list[date]:
    """Return so many days before a day."""
    return [today - (1 + n) * DAY for n in range(length)]


LONG = until(TODAY + 7 * DAY, 400)


def test_a_label_is_final_when_the_export_has_settled():
    """GA4 rewrites three more days: it is so on the tenth, not before."""
    assert not WEEK.is_matured(TODAY, today=TODAY + 9 * DAY)
    assert WEEK.is_matured(TODAY, today=TODAY + 10 * DAY)


class TestDaysOfData:
    def test_days_of_data_have_a_tenth_of_a_usual_days_rows(self):
        """One stray row makes no day of data, wherever it lies: a lookback with such
        days is not covered."""
        newest = WEEK.newest_matured(today=TODAY)
        rows = dict.fromkeys(until(TODAY, 75), 100)
        paused = {newest - n * DAY for n in range(20, 27)}
        rows |= dict.fromkeys(paused, 1) | {newest - 30 * DAY: 10}

        assert days_of_data(rows) == rows.keys() - paused
        assert WEEK.snapshots(today=TODAY, days=days_of_data(rows), at_most=1) == ()
        assert days_of_data({}) == set()

    def test_quiet_days_are_data(self):
        """A ski shop has a twelfth of its winter's events in summer."""
        rows = dict.fromkeys(until(date(2026, 9, 7), 900), 60_000)
        rows |= {day: 5_000 for day in rows if 5 <= day.month <= 9}

        assert days_of_data(rows) == rows.keys()

    @pytest.mark.parametrize("years", [-50, 10])
    def test_one_device_decides_no_day_however_long_it_is_used(self, years):
        """Its clock is years ahead, or at 1970. Eight of its days in a row are not each
        other's neighbours."""
        rows = dict.fromkeys(until(TODAY, 28), 24)
        wrong = until(TODAY + 365 * years * DAY, 8)

        assert days_of_data(rows | dict.fromkeys(wrong, 1)) == rows.keys()


class TestSnapshots:
    @given(spans, days, st.integers(14, 400), st.integers(1, 60))
    def test_snapshots_have_final_labels(self, timeframe, today, length, at_most):
        """They are a stride apart, no label may still change, and
        nine tenths of a lookback have data: users would look inactive. In two weeks
        every weekday comes twice."""
        there = until(today, length)
        snapshots = timeframe.snapshots(today=today, days=there, at_most=at_most)

        assert {b - a for a, b in pairwise(snapshots)} <= {timeframe.stride}
        assert len(snapshots) <= at_most
        assert all(timeframe.is_matured(as_of, today=today) for as_of in snapshots)
        if snapshots:
            lookback = {
                snapshots[0] - n * DAY for n in range(1, timeframe.lookback_days + 1)
            }
            assert 10 * len(lookback - {*there}) <= timeframe.lookback_days


class TestRollingBlocks:
    """Candidates are judged as a model is used: on the weeks after it was trained."""

    @given(spans, st.integers(0, 120))
    def test_rolling_blocks_never_fit_on_a_label_that_was_not_final(self, frame, count):
        """Nor do two blocks judge the same week; together they end with the newest.
        Outcomes may be longer than the stride: then they overlap."""
        snapshots = tuple(TODAY + n * frame.stride for n in range(count))
        blocks = rolling_blocks(snapshots, frame)
        judged = [as_of for block in blocks for as_of in block.judged]

        assert judged == list(snapshots[len(snapshots) - len(judged) :])
        for block in blocks:
            assert block.fitting == snapshots[: len(block.fitting)]
            assert all(
                frame.is_matured(as_of, today=block.judged[0])
                for as_of in block.fitting
            )
            assert len(block.fitting) >= max(len(block.judged), count // 3)


@given(st.dates(date(2, 1, 1), date(9999, 12, 31)), st.integers(0, 120))
def test_a_window_reads_from_one_day_before_it(as_of, days_before):
    """A shop west of UTC files the first hours under the day before. Bounds are digits
    only, so that intraday shards fall outside them."""
    suffix = first_suffix(as_of, days=days_before)

    assert date.fromisoformat(suffix) == as_of - (days_before + 1) * DAY
    assert len(suffix) == 8
    assert all(suffix < other for other in ("intraday_20260301", "fresh_20260301"))
