"""
An event loop on which a random generator decides what happens first.

Time is its own: it stands still while anything can happen, and then jumps to the next
timer. Threads are none: a call of an executor runs on the loop, after a while that is
drawn. So a scenario of hours takes milliseconds, and the same seed is the same order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")

# Few, so that what ends and what times out often do so in the same turn.
WHILES_S = (0.0, 0.0, 1.0, 2.0, 5.0)


class Interleaved(asyncio.SelectorEventLoop):
    """
    A loop for one scenario.

    Attributes:
        now: Its time, in seconds.
        unhandled: Contexts of errors that nobody has handled.
    """

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self.draw = draw
        self.now = 1_000.0
        self.unhandled: list[Any] = []
        self.set_exception_handler(lambda _, context: self.unhandled.append(context))

    def time(self) -> float:
        """Return its own time."""
        return self.now

    def a_while(self) -> float:
        """Draw a number of seconds."""
        return self.draw.choice(WHILES_S)

    def run_in_executor(self, _: Any, func: Any, *args: Any) -> Any:
        """Call a function in a while."""
        future = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except BaseException as error:  # as a thread hands on whatever it met
                if not future.cancelled():
                    future.set_exception(error)
            else:
                if not future.cancelled():
                    future.set_result(result)

        self.call_later(self.a_while(), work)
        return future

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[attr-defined]
            waiting = [timer for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
            assert waiting, "everybody waits, and for nothing"
            self.now = max(self.now, min(timer.when() for timer in waiting))
        super()._run_once()  # type: ignore[misc]


def interleaved(
    scenario: Callable[[Interleaved], Coroutine[Any, Any, Result]], seed: int
) -> Result:
    """Run a scenario in the order of a seed; an unhandled error fails it."""
    loop = Interleaved(random.Random(seed))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(scenario(loop))
    assert not loop.unhandled, loop.unhandled
    return result


async def some_given_up(loop: Interleaved, callers: Iterable[Any]) -> None:
    """Run callers together, and give some of them up; raise what the others raise."""
    tasks = [loop.create_task(caller) for caller in callers]
    for task in tasks:
        if loop.draw.random() < 0.2:
            loop.call_later(loop.a_while(), task.cancel)
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, BaseException) and not isinstance(
            ended, asyncio.CancelledError
        ):
            raise ended


async def arrive(loop: Interleaved) -> None:
    """Wait a while, and some turns of the loop."""
    await asyncio.sleep(loop.a_while() + loop.a_while())
    for _ in range(loop.draw.randrange(3)):
        await asyncio.sleep(0)
