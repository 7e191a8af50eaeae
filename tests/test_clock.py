"""The clock, specified."""

from __future__ import annotations

from datetime import timedelta

from propensity.clock import SYSTEM


class TestSystemClock:
    def test_tells_the_time_in_utc(self):
        """The time of day is aware, and its offset is that of UTC."""
        assert SYSTEM.now().utcoffset() == timedelta(0)

    def test_seconds_only_grow(self):
        """A later reading is never smaller."""
        earlier = SYSTEM.monotonic()

        assert SYSTEM.monotonic() >= earlier
