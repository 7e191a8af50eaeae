"""
What the user sees while something takes long: never nothing.

Where no line came for ``QUIET_S``, one comes with what is going on and for how long.
Set-up uses it, too: it needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

# Nothing is silent for longer than ten seconds; a machine may be late by some.
QUIET_S = 6.0
TICK_S = 0.2
_ROOT = Path(__file__).resolve().parent.parent


def shown(path: str | Path) -> str:
    """Return a path as the user would type it from the project's folder."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(_ROOT))
    return str(path)


@dataclass(eq=False)
class Step:
    """A long step: what goes on, which may be said anew, and since when."""

    label: str
    began: float


class Progress:
    """
    Prints lines to a stream, and in a pause what is going on.

    Without a stream it is silent: nobody is to see what goes on.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream, self.clock = stream, clock
        self.steps: list[Step] = []
        self._last, self._lock = clock(), threading.Lock()

    def say(self, text: str = "") -> None:
        """Print a line at once, also into a pipe."""
        # The terminal may be gone; the working code will notice itself.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._last = self.clock()
            if self.stream is not None:
                print(text, file=self.stream, flush=True)

    def tick(self) -> None:
        """Print the innermost step after a pause."""
        now = self.clock()
        if now - self._last >= QUIET_S:
            step = self.steps[-1] if self.steps else Step("still working", self._last)
            self.say(f"  … {step.label}, {max(now - step.began, 0):.0f} s")

    @contextlib.contextmanager
    def step(self, label: str) -> Iterator[Step]:
        """Name what goes on in the block."""
        one = Step(label, self.clock())
        self.steps.append(one)
        try:
            yield one
        finally:
            self.steps.remove(one)

    @contextlib.contextmanager
    def showing(self, stream: TextIO | None = None) -> Iterator[None]:
        """Print in pauses of the block what is going on; and its lines to a stream."""
        ended = threading.Event()

        def show() -> None:
            while not ended.wait(TICK_S):
                self.tick()

        thread = threading.Thread(target=show, daemon=True)
        self.stream, self._last = stream or sys.stdout, self.clock()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.stream = None

    @contextlib.contextmanager
    def announced(self, label: str) -> Iterator[Step]:
        """Say what goes on in the block, and go on saying it."""
        self.say(f"· {label}")
        with self.step(label) as one:
            yield one


_progress = Progress()
say, step, showing = _progress.say, _progress.step, _progress.showing
announced = _progress.announced
