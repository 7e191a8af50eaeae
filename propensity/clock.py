"""
The clock: what day and time it is, and how much time has passed.

The one place that asks the system. An entry point opens ``SYSTEM`` and hands it down;
a test hands down a clock of its own, and never waits for time to pass.
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


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some start; setting the machine's time leaves them."""
        return time.monotonic()


SYSTEM: Clock = SystemClock()
