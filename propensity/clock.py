"""
The clock: time of day, and time passed.

The only module that reads the system's clock. An entry point hands ``SYSTEM`` down; a
test hands down its own clock, and never waits.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Return the time of day, aware and in UTC; it may be set back."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """
        Return seconds that only grow; setting the machine's time has no effect.

        A machine that sleeps gets older. On Linux this clock alone says so.
        """
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM = Clock()
