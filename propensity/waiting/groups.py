"""
Group commit: items that arrive during a write are written together by the next.

A caller waits until its group is durable, and gets the error if the write fails. The
queue is bounded: a caller beyond it is refused at once, so that a slow table means
fewer events, and not more memory. Belongs to one event loop.
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
    """An item in the queue, since when, and the future of its caller."""

    item: Item
    size: int
    since: float
    done: asyncio.Future[Result]


class GroupCommit(Generic[Item, Result]):
    """
    Gathers items into groups, and hands each group to ``write``.

    A group starts when fewer than ``writers`` groups are under way and, with
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
            write: Makes a group durable; returns a result for each item, in order.
            writers: Groups under way at once.
            items: Most items of a group.
            size: Most bytes of a group; a larger item is a group of its own.
            waiting: Most items in the queue.
            waiting_size: Most bytes in the queue.
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
        Return the result of an item, once its group is durable.

        Args:
            item: To be written.
            size: Its bytes.

        Raises:
            Unavailable: The queue is full; the item is not in it.
            PropensityError: The write of the group failed.
        """
        too_large = self._queued_size + size > self._most_size and self._queue
        if len(self._queue) >= self._most_waiting or too_large:
            raise Unavailable("too much waits to be written; try again")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        self._queue.append(_Waiting(item, size, loop.time(), done))
        self._queued_size += size
        if not self._is_woken:
            # After this turn of the loop, so that requests of one turn share a group.
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
        """Take the oldest items that fit in a group, without cancelled ones."""
        group: list[_Waiting[Item, Result]] = []
        room = self._size
        while self._queue and len(group) < self._items:
            oldest = self._queue[0]
            # The request of a cancelled item has gone; Pub/Sub sends it again.
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
        results = await self._write([waiting.item for waiting in group])
        if len(results) != len(group):
            raise ValueError(f"{len(results)} results of {len(group)} items")
        return results

    def _ended(
        self,
        group: Sequence[_Waiting[Item, Result]],
        task: asyncio.Task[Sequence[Result]],
    ) -> None:
        """Give all callers of a group its results or its error."""
        self._running.discard(task)
        error = (
            Unavailable("the write was given up; try again")
            if task.cancelled()
            else task.exception()
        )
        results = task.result() if error is None else ()
        for row, waiting in enumerate(group):
            if waiting.done.done():
                continue
            if error is None:
                waiting.done.set_result(results[row])
            else:
                waiting.done.set_exception(error)
        self._wake()
