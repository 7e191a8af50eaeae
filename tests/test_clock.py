"""The clock, specified."""

from __future__ import annotations

from datetime import timedelta

from propensity.clock import SYSTEM, Clock
from tests.clocks import ManualClock


class TestSystemClock:
    def test_tells_the_time_in_utc(self):
        """The time of day is aware, and its offset is that of UTC."""
        assert SYSTEM.now().utcoffset() == timedelta(0)

    def test_seconds_only_grow(self):
        """A later reading is never smaller."""
        earlier = SYSTEM.monotonic()

        assert SYSTEM.monotonic() >= earlier


class TestManualClock:
    def test_moves_day_and_seconds_together(self):
        """What a test lets pass, passes for both readings, and nothing else does."""
        clock: Clock = ManualClock()
        began, seconds = clock.now(), clock.monotonic()
        clock.advance(90)

        assert clock.now() - began == timedelta(seconds=90)
        assert clock.monotonic() - seconds == 90
