"""
The clock: time of day, and time passed.

The only module that reads the system's clock. An entry point hands ``SYSTEM`` down; a
test hands down its own clock, and never waits.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the time of day, aware and in UTC; it may be set back."""

    def monotonic(self) -> float:
        """Return seconds that only grow, from an arbitrary start."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some start; setting the machine's time has no effect."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


SYSTEM: Clock = SystemClock()
