"""A clock in the place of the machine's, which all of the product reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from propensity.clock import SYSTEM

# A Monday.
START = datetime(2026, 3, 2, 6, tzinfo=UTC)


class MachineClock:
    """
    Time that passes only when a program waits, or when the world lets it pass.

    Attributes:
        awake: Called while a program waits: what a machine does beside that.
    """

    def __init__(self) -> None:
        self.time = START
        self.awake: Callable[[datetime], None] = lambda before: None

    def now(self) -> datetime:
        """Return the time of day."""
        return self.time

    def monotonic(self) -> float:
        """Return seconds since the start, those of a sleeping machine included."""
        return (self.time - START).total_seconds()

    def sleep(self, seconds: float) -> None:
        """Let a program wait; its machine is awake."""
        before = self.time
        self.pass_by(seconds)
        self.awake(before)

    def pass_by(self, seconds: float) -> None:
        """Let time pass of which no program knows, as while a machine sleeps."""
        self.time += timedelta(seconds=seconds)

    def until(self, moment: datetime) -> None:
        """Let time pass up to a moment, unless it is over."""
        self.time = max(self.time, moment)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let every module read this clock."""
        for name in ("now", "monotonic", "sleep"):
            patch.setattr(SYSTEM, name, getattr(self, name), raising=False)
