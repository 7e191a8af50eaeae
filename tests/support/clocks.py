"""A clock that stands until a test moves it, or a program waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from propensity.clock import SYSTEM

START = datetime(2026, 3, 1, tzinfo=UTC)


class ManualClock:
    """
    A ``propensity.clock.Clock`` that ``advance``, ``until`` and waiting move.

    Attributes:
        time: The time of day, in UTC.
        awake: Called with the time before, when a program has waited: what its machine
            did beside that. A machine that sleeps does nothing: ``advance``.
    """

    def __init__(self, now: datetime = START) -> None:
        self.time = now
        self.awake: Callable[[datetime], None] = lambda before: None
        self._began = now

    def now(self) -> datetime:
        """Return the time of day, in UTC."""
        return self.time

    def monotonic(self) -> float:
        """Return the seconds that have passed since the start."""
        return (self.time - self._began).total_seconds()

    def sleep(self, seconds: float) -> None:
        """Let a program wait."""
        before = self.time
        self.advance(seconds)
        self.awake(before)

    def advance(self, seconds: float) -> None:
        """Let seconds pass."""
        self.time += timedelta(seconds=seconds)

    def until(self, moment: datetime) -> None:
        """Let time pass up to a moment, unless it is over."""
        self.time = max(self.time, moment)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let every module read this clock in the place of the machine's."""
        for name in ("now", "monotonic", "sleep"):
            patch.setattr(SYSTEM, name, getattr(self, name), raising=False)
