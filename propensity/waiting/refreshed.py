"""
A value in memory that is read from elsewhere, and read again once it is old.

Callers get the old value while the new one is read, unless the old one is too old to
use. Belongs to one event loop; the read runs in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")

# Pause after a failed read.
PAUSE_S = 1.0


class Refreshed(Generic[Value]):
    """A value, or the error of its last read."""

    def __init__(
        self,
        read: Callable[[], Value],
        *,
        ttl_s: float,
        grace_s: float,
        clock: Callable[[], float],
        tell: Callable[[BaseException], None],
        since: Callable[[], float] | None = None,
    ) -> None:
        """
        Args:
            read: Reads the value, in a thread.
            ttl_s: Age from which the value is read again.
            grace_s: How much longer the old value is used until the new one is there.
            clock: Monotonic, in seconds.
            tell: Called with the error of each failed read.
            since: Returns, after a read, when its value was last known to be right;
                None for the start of the read.
        """
        self._read = read
        self._ttl_s = ttl_s
        self._grace_s = grace_s
        self._clock = clock
        self._tell = tell
        self._since = since
        self._values: list[Value] = []
        self._error: BaseException | None = None
        self._expires = self._useful_until = clock()
        self._reading: asyncio.Task[Value] | None = None
        # When the newest read began.
        self._began = self._expires

    def fresh(self) -> Value | None:
        """Return the value, without waiting, if it is younger than ``ttl_s``."""
        # After a failed read ``_expires`` is the end of a pause, whatever the age.
        if self._values and self._error is None and self._clock() < self._expires:
            return self._values[0]
        return None

    def expire(self) -> None:
        """
        Have the value read again at the next call, which does not wait for it.

        After a failed read the pause goes first.
        """
        if self._error is None:
            self._expires = self._clock()

    async def current(self) -> Value:
        """
        Return the value.

        Raises:
            PropensityError: The read failed, and there is no old value to use.
        """
        arrived = self._clock()
        while True:
            now = self._clock()
            if now >= self._expires and self._reading is None:
                self._began = now
                self._reading = asyncio.create_task(asyncio.to_thread(self._read))
                self._reading.add_done_callback(self._finish)
            if self._values and now < self._useful_until:
                return self._values[0]
            if self._reading is None:
                assert self._error is not None
                # Anew, or each caller would stay in the traceback of the one error.
                raise self._error.with_traceback(None)
            began, reading = self._began, self._reading
            value = await asyncio.shield(reading)
            # One that began before the process paused tells what was right then.
            if began >= arrived or self._clock() < self._useful_until:
                return value
            if self._reading is reading:
                # It had ended before, so nobody was let in who calls ``_finish``.
                await asyncio.sleep(0)

    def _finish(self, reading: asyncio.Task[Value]) -> None:
        self._reading = None
        if reading.cancelled():
            return
        self._error = reading.exception()
        if self._error is None:
            self._values = [reading.result()]
            # The value dates from the start of the read, and so does its age.
            since = self._began if self._since is None else self._since()
            self._useful_until = since + self._ttl_s + self._grace_s
            self._expires = min(self._began + self._ttl_s, self._useful_until)
        else:
            # Without an old value every caller gets the error, until the next read.
            self._expires = self._clock() + PAUSE_S
            self._tell(self._error)
