"""
Group commit: what arrives while the last write is under way is written together.

Whoever submits waits until its group is durable, and learns it if that failed. What
may wait is bounded: beyond that a caller is refused at once, so that a slow table means
fewer events taken and not more memory held. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from propensity.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Waiting(NamedTuple, Generic[Item, Result]):
    """An item that waits, since when, and the future of whoever submitted it."""

    item: Item
    size: int
    since: float
    done: asyncio.Future[Result]


class GroupCommit(Generic[Item, Result]):
    """
    Gathers items into groups, and hands each group to ``write``.

    A group begins when fewer than ``writers`` groups are under way and, with
    ``linger_s``, when its first item has waited that long or as much waits as a group
    may hold.
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
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._queued_size = 0
        self._running: set[asyncio.Task[Sequence[Result]]] = set()
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
        self._queue.append(_Waiting(item, size, loop.time(), done))
        self._queued_size += size
        if not self._is_woken:
            # Not at once: requests that arrived together go together.
            self._is_woken = True
            loop.call_soon(self._wake)
        return await done

    def _wake(self) -> None:
        """Begin the groups that may begin now."""
        self._is_woken = False
        loop = asyncio.get_running_loop()
        while self._queue and len(self._running) < self._writers:
            if (rest := self._queue[0].since + self._linger_s - loop.time()) > 0:
                is_full = len(self._queue) >= self._items
                if not is_full and self._queued_size < self._size:
                    if self._timer is None:
                        self._timer = loop.call_later(rest, self._ring)
                    return
            if group := self._next():
                task = loop.create_task(self._commit(group))
                self._running.add(task)
                task.add_done_callback(partial(self._ended, group))

    def _ring(self) -> None:
        self._timer = None
        self._wake()

    def _next(self) -> list[_Waiting[Item, Result]]:
        """Take the oldest items that fit in a group; none if nobody waits for them."""
        group: list[_Waiting[Item, Result]] = []
        room = self._size
        while self._queue and len(group) < self._items:
            oldest = self._queue[0]
            # Nobody waits for one whose request has gone; Pub/Sub sends it again.
            if not oldest.done.cancelled():
                if group and oldest.size > room:
                    break
                group.append(oldest)
                room -= oldest.size
            self._queue.popleft()
            self._queued_size -= oldest.size
        return group

    async def _commit(
        self, group: Sequence[_Waiting[Item, Result]]
    ) -> Sequence[Result]:
        results = await self._write([one.item for one in group])
        if len(results) != len(group):
            raise ValueError(f"{len(results)} results of {len(group)} items")
        return results

    def _ended(
        self,
        group: Sequence[_Waiting[Item, Result]],
        task: asyncio.Task[Sequence[Result]],
    ) -> None:
        """Tell all who wait for a group, however it ended."""
        self._running.discard(task)
        error = (
            Unavailable("the write was given up; try again")
            if task.cancelled()
            else task.exception()
        )
        for row, one in enumerate(group):
            if one.done.done():
                continue
            if error is None:
                one.done.set_result(task.result()[row])
            else:
                one.done.set_exception(error)
        self._wake()
