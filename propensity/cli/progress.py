"""
What the user sees while something takes long.

In a terminal it is one line, drawn again and again: what runs, how far it is, and for
how long. Elsewhere each ``QUIET_S`` without a line print one.
Set-up uses it, too: it needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO, TypeVar

Item = TypeVar("Item")

# What is done sooner draws no line about itself.
FIRST_S = 0.5
# Where lines stay, few are enough: the one that reads them is not waiting.
QUIET_S = 30.0
TICK_S = 0.2
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
# The start of the line, and the end of what is on it.
_START = "\r"
_REST = "\x1b[K"


@dataclass(eq=False)
class Step:
    """
    A long step.

    Attributes:
        label: What goes on; it may change meanwhile.
        began: By the clock of the progress.
        done, total, unit: How far it is; a total of 0 where nobody knows.
    """

    label: str
    began: float
    done: int = 0
    total: int = 0
    unit: str = ""

    def __str__(self) -> str:
        if not self.total:
            return self.label
        far = f"{self.done:,} of {self.total:,} {self.unit}".rstrip()
        return f"{self.label} ({far})"


def _joined(steps: Sequence[Step]) -> str:
    """Return the innermost step, after the one around it that says how far it is."""
    counted = [step for step in steps[:-1] if step.total]
    return ": ".join(map(str, counted[-1:] + list(steps[-1:])))


class Progress:
    """
    Prints lines to a stream, and the step that runs.

    Without a stream it prints nothing.

    Attributes:
        terminal: Where the step that runs is drawn; None to print it in pauses.
    """

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stream = stream
        self.terminal: TextIO | None = None
        self.clock = clock
        self.steps: list[Step] = []
        self._last = clock()
        self._lock = threading.RLock()
        self._is_drawn = False

    def say(self, text: str = "") -> None:
        """Print a line at once, also into a pipe."""
        # The terminal may be gone; the working code will notice itself.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._last = self.clock()
            self.erase()
            if self.stream is not None:
                print(text, file=self.stream, flush=True)

    def erase(self) -> None:
        """Take the line off the terminal, so that another can be printed."""
        with self._lock:
            if self._is_drawn and self.terminal:
                self._is_drawn = False
                self.terminal.write(_START + _REST)
                self.terminal.flush()

    def tick(self) -> None:
        """Draw the innermost step, or print it after a pause."""
        now = self.clock()
        with self._lock, contextlib.suppress(OSError, ValueError):
            # Other threads begin and end steps meanwhile.
            steps = list(self.steps)
            if not steps:
                steps.append(Step("still working", self._last))
            text = f"{_joined(steps)}, {max(now - steps[-1].began, 0):.0f} s"
            if self.terminal is None:
                if now - self._last >= QUIET_S:
                    self.say(f"  … {text}")
            elif now - steps[0].began >= FIRST_S:
                frame = FRAMES[int(now / TICK_S) % len(FRAMES)]
                width = shutil.get_terminal_size().columns - 1
                self.terminal.write(_START + f"{frame} {text}"[:width] + _REST)
                self.terminal.flush()
                self._is_drawn = True

    @contextlib.contextmanager
    def step(self, label: str) -> Iterator[Step]:
        """Name what goes on in the block."""
        running = Step(label, self.clock())
        self.steps.append(running)
        try:
            yield running
        finally:
            self.steps.remove(running)
            self.erase()

    def watched(self, items: Sequence[Item], label: str) -> Iterator[Item]:
        """Yield items, and count how many are done."""
        with self.step(label) as running:
            running.total = len(items)
            for item in items:
                yield item
                running.done += 1

    @contextlib.contextmanager
    def showing(self, stream: TextIO | None = None) -> Iterator[None]:
        """
        Print to a stream the step that runs in the block, also in its pauses.

        Within another such block this changes the stream alone.
        """
        outer = self.stream
        self.stream = sys.stdout if stream is None else stream
        ended = threading.Event()

        def show() -> None:
            while not ended.wait(TICK_S):
                self.tick()

        thread = threading.Thread(target=show, daemon=True)
        if outer is None:
            self._last = self.clock()
            can_draw = os.environ.get("TERM", "dumb") != "dumb"
            if sys.stderr.isatty() and can_draw:
                self.terminal = sys.stderr
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if outer is None:
                # It draws no line after the last was erased.
                thread.join()
                self.erase()
                self.terminal = None
            self.stream = outer

    @contextlib.contextmanager
    def announced(self, label: str) -> Iterator[Step]:
        """Say what goes on in the block: a terminal draws it anyway."""
        if self.terminal is None:
            self.say(f"· {label}")
        with self.step(label) as running:
            yield running


_progress = Progress()
say = _progress.say
step = _progress.step
erase = _progress.erase
showing = _progress.showing
watched = _progress.watched
announced = _progress.announced
