"""
Threads, for work that goes on behind the answers or beside a run.

The only module that starts some. An entry point hands ``THREADS`` down.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from propensity.errors import Unavailable

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class DaemonThreads(Executor):
    """
    Runs each task in a thread of its own, at once.

    A process waits for the threads of a pool when it ends. These threads end with it,
    so that a read that hangs does not delay the shutdown.
    """

    def __init__(self, name: str = "background") -> None:
        """Name the threads."""
        self._name = name

    def submit(
        self,
        fn: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Future[Result]:
        """
        Begin a task.

        Raises:
            RuntimeError: The system has no more threads, or the process ends.
        """
        future: Future[Result] = Future()
        # It is under way from now on: who gives it up leaves the future alone, which
        # else could not take the result.
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)
                # If no caller reads the future, the thread still prints the error.
                raise

        threading.Thread(target=work, name=self._name, daemon=True).start()
        return future

    def pool(self, most: int, name: str) -> Executor:
        """
        Open a pool, for short tasks whose number has a bound.

        Args:
            most: Tasks that run at once.
            name: Of its threads.
        """
        return ThreadPoolExecutor(most, name)


def in_thread(
    threads: Executor, fn: Callable[..., Result], /, *args: object
) -> asyncio.Future[Result]:
    """
    Call a function in a thread, from an event loop; return the future of its result.

    Where the system has no thread for it the future has the error Unavailable, as if
    the call had failed: who waits behind it is not forgotten.
    """
    loop = asyncio.get_running_loop()
    try:
        return loop.run_in_executor(threads, fn, *args)
    except RuntimeError:  # no more threads, or the process ends
        failed: asyncio.Future[Result] = loop.create_future()
        failed.set_exception(Unavailable("this instance has no thread; try again"))
        return failed


THREADS = DaemonThreads()
