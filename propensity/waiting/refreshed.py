"""
A value that is read from elsewhere, kept in memory, and read again once it is old.

Whoever asks gets the old value while the new one is read, unless that one is too old
to be used. Belongs to one event loop; what reads runs in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")

# After it could not be read, a value is left alone for so long.
PAUSE_S = 1.0


class Refreshed(Generic[Value]):
    """One value, or the reason why there is none."""

    def __init__(
        self,
        read: Callable[[], Value],
        *,
        ttl_s: float,
        grace_s: float,
        clock: Callable[[], float],
        tell: Callable[[BaseException], None],
    ) -> None:
        """
        Args:
            read: Reads the value, in a thread.
            ttl_s: It is read again once it is as old.
            grace_s: For so long after that it is used while a new one is not there.
            clock: Monotonic, in seconds.
            tell: Is told why it could not be read.
        """
        self._read = read
        self._ttl_s = ttl_s
        self._grace_s = grace_s
        self._clock = clock
        self._tell = tell
        self._found: list[Value] = []
        self._error: BaseException | None = None
        self._expires = self._useful_until = clock()
        self._reading: asyncio.Task[Value] | None = None

    async def current(self) -> Value:
        """
        Return the value.

        Raises:
            PropensityError: It could not be read, and there is no old one to be used.
        """
        now = self._clock()
        if now >= self._expires and self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(self._read))
            self._reading.add_done_callback(lambda done: self._finished(done, now))
        if self._found and now < self._useful_until:
            return self._found[0]
        if self._reading is None:
            assert self._error is not None
            raise self._error
        return await asyncio.shield(self._reading)

    def _finished(self, reading: asyncio.Task[Value], began: float) -> None:
        self._reading = None
        if reading.cancelled():
            return
        self._error = reading.exception()
        if self._error is None:
            self._found = [reading.result()]
            # It was true when the reading began, which is what its age counts from.
            self._expires = began + self._ttl_s
            self._useful_until = self._expires + self._grace_s
        else:
            # Without an old one everybody gets the error, until it is tried again.
            self._expires = self._clock() + PAUSE_S
            self._tell(self._error)
