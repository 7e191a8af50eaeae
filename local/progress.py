"""
What the user sees while something takes long.

The first line is printed after ``FIRST_S`` at the latest. Then each ``QUIET_S`` without
one print the step that runs, and for how long.
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

# A command that is done sooner prints no line about itself.
FIRST_S = 2.0
# No pause is longer than ten seconds, also on a machine that is late by some.
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
    """A long step: its label, which may change meanwhile, and when it began."""

    label: str
    began: float


class Progress:
    """
    Prints lines to a stream, and in a pause the step that runs.

    Without a stream it prints nothing.
    """

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stream = stream
        self.clock = clock
        self.steps: list[Step] = []
        self._last = clock()
        self._lock = threading.Lock()
        self._longest_pause = QUIET_S

    def say(self, text: str = "") -> None:
        """Print a line at once, also into a pipe."""
        # The terminal may be gone; the working code will notice itself.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._last = self.clock()
            self._longest_pause = QUIET_S
            if self.stream is not None:
                # A bar is drawn again below the text. Another thread may be in the
                # middle of importing tqdm, which has no bars yet then.
                bar = getattr(sys.modules.get("tqdm"), "tqdm", None)
                write = bar.write if bar else print
                write(text, file=self.stream)
                self.stream.flush()

    def tick(self) -> None:
        """Print the innermost step after a pause."""
        now = self.clock()
        if now - self._last >= self._longest_pause:
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
        """
        Print to a stream the step that runs in the block, also in its pauses.

        Within another such block this changes the stream alone.
        """
        outer = self.stream
        self.stream = stream or sys.stdout
        ended = threading.Event()

        def show() -> None:
            while not ended.wait(TICK_S):
                self.tick()

        if outer is None:
            self._last = self.clock()
            self._longest_pause = FIRST_S
            threading.Thread(target=show, daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            self.stream = outer

    @contextlib.contextmanager
    def announced(self, label: str) -> Iterator[Step]:
        """Print what goes on in the block, at once and in its pauses."""
        self.say(f"· {label}")
        with self.step(label) as one:
            yield one


_progress = Progress()
say = _progress.say
step = _progress.step
showing = _progress.showing
announced = _progress.announced
