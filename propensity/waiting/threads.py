"""
Threads that nobody waits for at the end: for work that goes on behind the answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class DaemonThreads(Executor):
    """
    Runs each task in a thread of its own, at once.

    A pool's threads are waited for when the process ends. These end with it, so that a
    read that hangs delays no shutdown.
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
                # Nobody may look at the future: the thread says it, too.
                raise

        threading.Thread(target=work, name=self._name, daemon=True).start()
        return future
