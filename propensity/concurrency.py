"""
Groups, and values kept fresh: how an instance answers many callers at once.

- ``GroupCommit``: what arrives during a write is written together by the next
- ``Refreshed``: a value in memory that is read again once it is old
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, TypeVar

from propensity.errors import Unavailable, without_frames

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")

# Pause after a failed read of a ``Refreshed`` value.
PAUSE_S = 1.0


@dataclass(eq=False)
class GroupCommit(Generic[Item, Result]):
    """
    Gathers items into groups, and hands each group to ``write``.

    A caller waits until its group is written, and gets the error if that fails. The
    queue is bounded: a caller beyond it is refused at once, so that a slow table means
    fewer events, and not more memory. Belongs to one event loop.

    Attributes:
        write: Returns a result for each item of a group, in order.
        writers: Groups under way at once.
        size: Most bytes of a group, or of what else ``submit`` counts as size; a
            larger item is a group of its own.
        waiting: Most bytes in the queue.
        pause_s: Time from the end of a group to the next, in which answers go out and
            more items come.
    """

    write: Callable[[Sequence[Item]], Coroutine[Any, Any, Sequence[Result]]]
    _: KW_ONLY
    writers: int
    size: int
    waiting: int
    pause_s: float = 0.0

    def __post_init__(self) -> None:
        self._queue: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self._queued = 0
        self._running: set[asyncio.Task[Any] | None] = set()

    def submit(self, item: Item, *, size: int) -> asyncio.Future[Result]:
        """Queue an item, and return the future of its result."""
        if self._queue and self._queued + size > self.waiting:
            raise Unavailable("too much waits in this instance; try again")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((item, size, future))
        self._queued += size
        if len(self._running) < self.writers:
            # It begins after this turn of the loop: requests of one turn share a group.
            self._running.add(asyncio.create_task(self._work()))
        return future

    async def _work(self) -> None:
        while self._queue:
            items, futures = self._next()
            try:
                results = await self.write(items)
                for future, result in zip(futures, results, strict=True):
                    if not future.done():
                        future.set_result(result)
            except asyncio.CancelledError:
                _fail(futures, Unavailable("the write was given up; try again"))
            except Exception as error:  # no caller may wait for ever
                _fail(futures, error)
            finally:
                # The log needs the error with its frames, of which this is one.
                del items, futures
            await asyncio.sleep(self.pause_s if self._queue else 0)
        self._running.remove(asyncio.current_task())

    def _next(self) -> tuple[list[Item], list[asyncio.Future[Result]]]:
        """Take the oldest items that fit in a group, one at least."""
        items: list[Item] = []
        futures: list[asyncio.Future[Result]] = []
        room = self.size
        while self._queue and (not items or self._queue[0][1] <= room):
            item, size, future = self._queue.popleft()
            items.append(item)
            futures.append(future)
            room -= size
            self._queued -= size
        return items, futures


def _fail(futures: Sequence[asyncio.Future[Any]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)


@dataclass(eq=False)
class Refreshed(Generic[Value]):
    """
    A value that a thread reads, and reads again once it is old.

    Callers get the old value meanwhile, unless it is too old to use. Belongs to one
    event loop.

    Attributes:
        read: Reads the value, in a thread.
        ttl_s: Age from which the value is read again.
        grace_s: How much longer the old value is used until the new one is there.
        clock: Monotonic, in seconds.
        on_error: Called with the error of each failed read.
        keeps: Whether the last value stays in use, however old, if a read fails.
        last: What was read last; None before.
    """

    read: Callable[[], Value]
    _: KW_ONLY
    ttl_s: float
    grace_s: float
    clock: Callable[[], float]
    on_error: Callable[[Exception], None]
    keeps: bool = False
    last: Value | None = None

    def __post_init__(self) -> None:
        self._error: Exception | None = None
        self._reading: asyncio.Task[None] | None = None
        # When the newest read began, when to read again, and how long to use its value.
        self._began = self._expires = self._useful_until = self.clock()

    async def current(self) -> Value:
        """Return the value."""
        arrived = now = self.clock()
        while True:
            if self._reading is None and now >= self._expires:
                self._began = now
                self._reading = asyncio.create_task(self._refresh())
            if now < self._useful_until:
                return self.last  # type: ignore[return-value]
            if self._reading is None:
                assert self._error is not None
                raise without_frames(self._error)
            began = self._began
            await asyncio.wait([self._reading])
            now = self.clock()
            # Callers from before a read take its value, however long it took.
            if began >= arrived and self._error is None:
                return self.last  # type: ignore[return-value]

    async def _refresh(self) -> None:
        try:
            self.last = await asyncio.to_thread(self.read)
            self._error = None
        except Exception as error:  # each caller gets it
            self._error = error
            if self.keeps and self.last is not None:
                self._error = None
            self._expires = self.clock() + PAUSE_S
            self.on_error(error)
        if self._error is None:
            # The value is of when the read began.
            self._expires = self._began + self.ttl_s
            self._useful_until = self._expires + self.grace_s
        self._reading = None
