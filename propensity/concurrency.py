"""
Groups, values kept fresh, and threads: how an instance serves many callers at once.

- ``GroupCommit``: what arrives during a write is written together by the next
- ``Refreshed``: a value in memory that is read again once it is old
- ``THREADS``: threads behind the answers, or beside a run

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from propensity.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")
Parameters = ParamSpec("Parameters")

# Pause after a failed read of a ``Refreshed`` value.
PAUSE_S = 1.0


class GroupCommit(Generic[Item, Result]):
    """
    Gathers items into groups, and hands each group to ``write``.

    A caller waits until its group is written, and gets the error if that fails. The
    queue is bounded: a caller beyond it is refused at once, so that a slow table means
    fewer events, and not more memory. Belongs to one event loop.
    """

    def __init__(
        self,
        write: Callable[
            [Sequence[Item]], Coroutine[Any, Any, Sequence[Result]] | list[Result]
        ],
        *,
        writers: int,
        size: int,
        items: int = sys.maxsize,
        waiting: int = sys.maxsize,
        waiting_size: int = sys.maxsize,
        pause_s: float = 0.0,
        linger_s: float = 0.0,
    ) -> None:
        """
        Args:
            write: Returns a result for each item of a group, in order. If it is not a
                coroutine it returns a list at once, and must not raise.
            writers: Groups under way at once.
            size: Most bytes of a group, or of what else ``submit`` counts as size; a
                larger item is a group of its own.
            items: Most items of a group.
            waiting: Most items in the queue.
            waiting_size: Most bytes in the queue.
            pause_s: Time from the end of a group to the next, in which answers go out
                and more items come.
            linger_s: How long a group that is smaller than the last one waits for
                more. So a lone caller waits for nobody.
        """
        self._write = write
        self._writers = writers
        self._items = items
        self._size = size
        self._most_waiting = waiting
        self._most_size = waiting_size
        self._pause_s = pause_s
        self._linger_s = linger_s
        self._queue: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self._queued_size = 0
        self._running: set[asyncio.Task[Sequence[Result]]] = set()
        self._last_count = 1
        self._timer: asyncio.Handle | None = None
        self._lingers_until = 0.0

    def submit(self, item: Item, *, size: int) -> asyncio.Future[Result]:
        """
        Queue an item, and return the future of its result.

        Raises:
            Unavailable: The queue is full; the item is not in it.
        """
        queue = self._queue
        is_full = len(queue) >= self._most_waiting or (
            queue and self._queued_size + size > self._most_size
        )
        if is_full:
            raise Unavailable("too much waits in this instance; try again")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        if self._linger_s and not queue:
            self._lingers_until = loop.time() + self._linger_s
        queue.append((item, size, future))
        self._queued_size += size
        is_lingering = self._linger_s and len(queue) >= self._last_count
        if self._timer is not None and is_lingering:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and len(self._running) < self._writers:
            # After this turn of the loop, so that requests of one turn share a group.
            self._timer = loop.call_soon(self._wake)
        return future

    def _wake(self) -> None:
        """Begin the groups that may begin now."""
        self._timer = None
        while self._queue and len(self._running) < self._writers:
            if self._linger_s and len(self._queue) < self._last_count:
                loop = asyncio.get_running_loop()
                if self._queued_size < self._size and loop.time() < self._lingers_until:
                    self._timer = loop.call_at(self._lingers_until, self._wake)
                    return
            if group := self._next():
                self._last_count = len(group)
                self._begin(group)

    def _next(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """Take the oldest items that fit in a group, without cancelled ones."""
        group: list[tuple[Item, asyncio.Future[Result]]] = []
        room = self._size
        while self._queue and len(group) < self._items:
            item, size, future = self._queue[0]
            if not future.cancelled():
                if group and size > room:
                    break
                group.append((item, future))
                room -= size
            self._queue.popleft()
            self._queued_size -= size
        return group

    def _begin(self, group: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        futures = [future for _, future in group]
        results = self._write([item for item, _ in group])
        if isinstance(results, list):
            _answer(futures, results)
            return
        task = asyncio.get_running_loop().create_task(results)
        self._running.add(task)
        task.add_done_callback(partial(self._ended, futures))

    def _ended(
        self,
        futures: Sequence[asyncio.Future[Result]],
        task: asyncio.Task[Sequence[Result]],
    ) -> None:
        self._running.discard(task)
        if task.cancelled():
            _fail(futures, Unavailable("the write was given up; try again"))
        elif error := task.exception():
            _fail(futures, error)
        else:
            _answer(futures, task.result())
        if self._queue and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._pause_s, self._wake)


def _answer(
    futures: Sequence[asyncio.Future[Result]], results: Sequence[Result]
) -> None:
    """Give each caller of a group its result."""
    if len(results) != len(futures):
        _fail(futures, ValueError(f"{len(results)} results of {len(futures)} items"))
        return
    for future, result in zip(futures, results, strict=True):
        if not future.done():
            future.set_result(result)


def _fail(futures: Sequence[asyncio.Future[Any]], error: BaseException) -> None:
    """Give all callers of a group its error."""
    for future in futures:
        if not future.done():
            future.set_exception(error)


class Refreshed(Generic[Value]):
    """
    A value that a thread reads, and reads again once it is old.

    Callers get the old value meanwhile, unless it is too old to use. Belongs to one
    event loop.
    """

    def __init__(
        self,
        read: Callable[[], Value],
        *,
        ttl_s: float,
        grace_s: float,
        clock: Callable[[], float],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """
        Args:
            read: Reads the value, in a thread.
            ttl_s: Age from which the value is read again.
            grace_s: How much longer the old value is used until the new one is there.
            clock: Monotonic, in seconds.
            on_error: Called with the error of each failed read.
        """
        self._read = read
        self._ttl_s = ttl_s
        self._grace_s = grace_s
        self._clock = clock
        self._on_error = on_error
        self._values: list[Value] = []
        self._error: BaseException | None = None
        self._reading: asyncio.Task[Value] | None = None
        # When the newest read began: its value is of then. When to read again, and how
        # long the value may be used.
        self._began = self._expires = self._useful_until = clock()

    def fresh(self) -> Value | None:
        """Return the value, without waiting, if it is younger than ``ttl_s``."""
        if self._values and self._error is None and self._clock() < self._expires:
            return self._values[0]
        return None

    async def current(self) -> Value:
        """
        Return the value.

        Raises:
            PropensityError: The read failed, and there is no old value to use.
        """
        arrived = now = self._clock()
        while True:
            if self._reading is None and now >= self._expires:
                self._began = now
                self._reading = asyncio.create_task(asyncio.to_thread(self._read))
                self._reading.add_done_callback(self._finish)
            if self._values and now < self._useful_until:
                return self._values[0]
            if self._reading is None:
                assert self._error is not None
                # Anew, or each caller would stay in the traceback of the one error.
                raise self._error.with_traceback(None)
            began = self._began
            await asyncio.wait([self._reading])
            now = self._clock()
            # A process may have paused within the read. A caller who came before it
            # takes its value all the same.
            if began >= arrived and self._error is None:
                return self._values[0]

    def _finish(self, reading: asyncio.Task[Value]) -> None:
        self._reading = None
        if reading.cancelled():
            return
        self._error = reading.exception()
        if self._error is None:
            self._values = [reading.result()]
            self._expires = self._began + self._ttl_s
            self._useful_until = self._expires + self._grace_s
        else:
            self._expires = self._clock() + PAUSE_S
            self._on_error(self._error)


class DaemonThreads(Executor):
    """
    Runs each task in a thread of its own, at once.

    A process waits for the threads of a pool when it ends. These threads end with it,
    so that a read that hangs does not delay the shutdown.
    """

    def submit(
        self,
        fn: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Future[Result]:
        """Begin a task."""
        future: Future[Result] = Future()
        # Under way from now on: a caller who gives it up cannot cancel it.
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)
                # If no caller reads the future, the thread still prints the error.
                raise

        threading.Thread(target=work, name="background", daemon=True).start()
        return future

    def pool(self, most: int, name: str) -> Executor:
        """Open a pool of ``most`` threads, for short tasks."""
        return ThreadPoolExecutor(most, name)


THREADS = DaemonThreads()
