"""A clock that stands until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 1, tzinfo=UTC)


class ManualClock:
    """A ``propensity.clock.Clock`` that only ``advance`` moves."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._seconds = 0.0

    def now(self) -> datetime:
        """Return the time of day, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that have passed since the start."""
        return self._seconds

    def sleep(self, seconds: float) -> None:
        """Let seconds pass."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let seconds pass."""
        self._seconds += seconds
        self._now += timedelta(seconds=seconds)
