"""
Group commit: items that arrive during a write are written together by the next.

A caller waits until its group is durable, and gets the error if the write fails. The
queue can be bounded: a caller beyond it is refused at once, so that a slow table means
fewer events, and not more memory. What is "written" may also be scored or read: what
counts is that one call serves all who wait. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from propensity.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Waiting(NamedTuple, Generic[Item, Result]):
    """An item in the queue, since when, and the future of its caller."""

    item: Item
    size: int
    since: float
    future: asyncio.Future[Result]


class GroupCommit(Generic[Item, Result]):
    """
    Gathers items into groups, and hands each group to ``write``.

    A group starts when fewer than ``writers`` groups are under way and, with
    ``linger_s``, when its first item has waited that long or the group is full.
    """

    def __init__(
        self,
        write: Callable[
            [Sequence[Item]],
            Coroutine[Any, Any, Sequence[Result]] | list[Result],
        ],
        *,
        writers: int,
        size: int,
        items: int = sys.maxsize,
        waiting: int = sys.maxsize,
        waiting_size: int = sys.maxsize,
        linger_s: float = 0.0,
        is_steady: bool = False,
    ) -> None:
        """
        Args:
            write: Makes a group durable; returns a result for each item, in order. If
                it is not a coroutine it returns a list at once, and must not raise.
            writers: Groups under way at once.
            size: Most bytes of a group, or of what else ``submit`` counts as size; a
                larger item is a group of its own.
            items: Most items of a group.
            waiting: Most items in the queue.
            waiting_size: Most bytes in the queue.
            linger_s: How long a group that is not full waits for more.
            is_steady: Whether a group is full once it has as many items as the last
                one, so that a lone caller waits for nobody.
        """
        self._write = write
        self._writers = writers
        self._items = items
        self._size = size
        self._most_waiting = waiting
        self._most_size = waiting_size
        self._linger_s = linger_s
        self._is_steady = is_steady
        self._full = 1 if is_steady else items
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

    def submit(self, item: Item, *, size: int) -> asyncio.Future[Result]:
        """
        Queue an item, and return the future of its result.

        It is done once the item's group is durable, or has the error of its write.

        Args:
            item: To be written.
            size: Its bytes.

        Raises:
            Unavailable: The queue is full; the item is not in it.
        """
        too_large = self._queued_size + size > self._most_size and self._queue
        if len(self._queue) >= self._most_waiting or too_large:
            raise Unavailable(
                "too much waits to be written in this instance; try again"
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._queue.append(_Waiting(item, size, loop.time(), future))
        self._queued_size += size
        if not self._is_woken:
            # After this turn of the loop, so that requests of one turn share a group.
            self._is_woken = True
            loop.call_soon(self._wake)
        return future

    def _wake(self) -> None:
        """Begin the groups that may begin now."""
        self._is_woken = False
        while self._queue and len(self._running) < self._writers:
            is_full = len(self._queue) >= self._full or self._queued_size >= self._size
            if not is_full and self._linger_s:
                loop = asyncio.get_running_loop()
                rest = self._queue[0].since + self._linger_s - loop.time()
                if rest > 0:
                    if self._timer is None:
                        self._timer = loop.call_later(rest, self._ring)
                    return
            if group := self._next():
                if self._is_steady:
                    self._full = len(group)
                self._begin(group)

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
            if not oldest.future.cancelled():
                if group and oldest.size > room:
                    break
                group.append(oldest)
                room -= oldest.size
            self._queue.popleft()
            self._queued_size -= oldest.size
        return group

    def _begin(self, group: Sequence[_Waiting[Item, Result]]) -> None:
        results = self._write([waiting.item for waiting in group])
        if isinstance(results, list):
            _answer(group, results)
            return
        task = asyncio.get_running_loop().create_task(results)
        self._running.add(task)
        task.add_done_callback(partial(self._ended, group))

    def _ended(
        self,
        group: Sequence[_Waiting[Item, Result]],
        task: asyncio.Task[Sequence[Result]],
    ) -> None:
        self._running.discard(task)
        if task.cancelled():
            _fail(group, Unavailable("the write was given up; try again"))
        elif error := task.exception():
            _fail(group, error)
        else:
            _answer(group, task.result())
        self._wake()


def _answer(group: Sequence[_Waiting[Item, Result]], results: Sequence[Result]) -> None:
    """Give each caller of a group its result."""
    if len(results) != len(group):
        _fail(group, ValueError(f"{len(results)} results of {len(group)} items"))
        return
    for waiting, result in zip(group, results, strict=True):
        if not waiting.future.done():
            waiting.future.set_result(result)


def _fail(group: Sequence[_Waiting[Item, Result]], error: BaseException) -> None:
    """Give all callers of a group its error."""
    for waiting in group:
        if not waiting.future.done():
            waiting.future.set_exception(error)
