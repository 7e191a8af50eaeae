"""The pace of a delivery: a rate, pauses, and Ctrl-C."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

# The burst after a pause, in seconds of the rate.
SAVED_S = 0.1

# Longest sleep, so that Ctrl-C is heard.
SLICE_S = 0.2


class Stop:
    """Ctrl-C, heard once: ``is_asked`` from then on. Pressed again, it interrupts."""

    def __init__(self) -> None:
        self.is_asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True
        signal.signal(number, self._before[number])


class TokenBucket:
    """
    Lets messages through at a rate, exactly on average.

    The n-th is due n times the gap after the first, however long a sleep took. Time in
    which none came is made up for by ``SAVED_S`` of the rate at most.
    """

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            rate: Messages a second; 0 for no limit.
            clock: Seconds.
            sleep: For seconds.
        """
        self._gap = 1.0 / rate if rate else 0.0
        self._clock = clock
        self._sleep = sleep
        self._due = clock()

    def take(self, stop: Stop) -> bool:
        """Wait until the next may go; return False if it is to stop instead."""
        self._due = max(self._due, self._clock() - SAVED_S)
        while (left := self._due - self._clock()) > 0 and not stop.is_asked:
            self._sleep(min(left, SLICE_S))
        self._due += self._gap
        return not stop.is_asked


def pause(seconds: float, stop: Stop) -> None:
    """Sleep for some seconds, or until it is to stop."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not stop.is_asked:
        time.sleep(min(left, SLICE_S))
