"""
Threads, for work that goes on behind the answers or beside a run.

The only module that starts some. An entry point hands ``THREADS`` down.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

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


THREADS = DaemonThreads()
