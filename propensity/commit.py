"""
Group commit: what arrives while the last write is under way is written together.

Whoever submits waits until its group is durable, and learns it if that failed. What
may wait is bounded: beyond that a caller is refused at once, so that a slow table means
fewer events taken and not more memory held. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from propensity.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """
    Gathers items into groups, and hands each group to ``write``.

    A group begins when fewer than ``writers`` groups are under way and, with
    ``linger_s``, when its first item has waited that long or the group is full.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        writers: int,
        items: int,
        size: int,
        waiting: int,
        waiting_size: int,
        linger_s: float = 0.0,
    ) -> None:
        """
        Args:
            write: Makes a group durable; returns one result an item, in order.
            writers: Groups under way at once.
            items: Most items of a group.
            size: Most bytes of a group; a larger item is a group of its own.
            waiting: Most items that wait for a group.
            waiting_size: Most bytes that wait for a group.
            linger_s: How long a group that is not full waits for more.
        """
        self._write = write
        self._writers = writers
        self._items = items
        self._size = size
        self._most_waiting = waiting
        self._most_size = waiting_size
        self._linger_s = linger_s
        self._queue: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self._queued_size = 0
        self._running: set[asyncio.Future[Sequence[Result]]] = set()
        self._is_woken = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Items that wait for a group."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Groups under way."""
        return len(self._running)

    async def submit(self, item: Item, *, size: int) -> Result:
        """
        Return what came of an item, once its group is durable.

        Args:
            item: To be written.
            size: Its bytes.

        Raises:
            Unavailable: Too much waits already; nothing was taken.
            PropensityError: The group was not written.
        """
        too_large = self._queued_size + size > self._most_size and self._queue
        if len(self._queue) >= self._most_waiting or too_large:
            raise Unavailable("too much waits to be written; try again")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        self._queue.append((item, size, done))
        self._queued_size += size
        if not self._is_woken:
            # Not at once: requests that arrived together go together.
            self._is_woken = True
            loop.call_soon(self._wake)
        return await done

    def _wake(self) -> None:
        self._is_woken = False
        if self._linger_s and len(self._queue) < self._items:
            if self._timer is None and self._queue:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._linger_s, self._ring)
            return
        self._begin()

    def _ring(self) -> None:
        self._timer = None
        self._begin()

    def _begin(self) -> None:
        while self._queue and len(self._running) < self._writers:
            group = self._next()
            if not group:
                continue
            task = asyncio.ensure_future(self._write([item for item, _ in group]))
            self._running.add(task)
            task.add_done_callback(functools.partial(self._ended, group))

    def _next(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """Take the oldest items that fit in a group, one at least."""
        group: list[tuple[Item, asyncio.Future[Result]]] = []
        room = self._size
        while self._queue and len(group) < self._items:
            item, size, done = self._queue[0]
            if group and size > room:
                break
            self._queue.popleft()
            self._queued_size -= size
            room -= size
            # Nobody waits for one whose request has gone; Pub/Sub sends it again.
            if not done.cancelled():
                group.append((item, done))
        return group

    def _ended(
        self,
        group: Sequence[tuple[Item, asyncio.Future[Result]]],
        task: asyncio.Future[Sequence[Result]],
    ) -> None:
        """Tell those who wait what came of their group, and let the next begin."""
        self._running.discard(task)
        error = Unavailable("stopped") if task.cancelled() else task.exception()
        if error is not None:
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
        else:
            for (_, done), result in zip(group, task.result(), strict=True):
                if not done.done():
                    done.set_result(result)
        self._wake()
