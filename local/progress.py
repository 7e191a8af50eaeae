"""
What the user sees while something takes long: never nothing.

On a terminal a line moves. Elsewhere, in a file or a pipe, a plain line comes after
``QUIET_S`` without one. Set-up uses it, too: it needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

# Nothing is silent for longer than ten seconds; a machine may be late by some.
QUIET_S = 6.0
TICK_S = 0.2
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ROOT = Path(__file__).resolve().parent.parent


def shown(path: str | Path) -> str:
    """Return a path as the user would type it from the project's folder."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(_ROOT))
    return str(path)


@dataclass(eq=False)
class Step:
    """A long step: its name, and how much of it is done."""

    label: str
    began: float
    total: int | None = None
    unit: str = ""
    n: int = 0

    def update(self, count: int = 1) -> None:
        """Count so many more."""
        self.n += count

    def text(self, now: float) -> str:
        """Return the step's name, its progress, and its duration so far."""
        whole = f" of {self.total:,}{self.unit}" if self.total is not None else ""
        share = f" {self.n:,}{whole}," if self.n or whole else ""
        return f"{self.label}{share} {max(now - self.began, 0):.0f} s"


class Progress:
    """
    Prints lines, and shows between them that something is going on.

    As a context manager it runs the thread that shows it, and is the one that ``say``
    and ``step`` of this module use.

    Args:
        stream: Where to; stdout by default.
        clock: Seconds that only grow.
        is_terminal: Whether a line of it can move; by default, whether it is one.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        is_terminal: bool | None = None,
    ) -> None:
        self.stream = stream or sys.stdout
        self.is_terminal = self.stream.isatty() if is_terminal is None else is_terminal
        self._clock = clock
        self._last = clock()
        self._steps: list[Step] = []
        self._frames = itertools.cycle(FRAMES)
        self._lock = threading.RLock()
        self._ended = threading.Event()

    def say(self, text: str = "") -> None:
        """Print a line at once, also into a pipe."""
        with self._lock:
            self._write(f"{self._erased()}{text}\n")
            self._last = self._clock()

    @contextlib.contextmanager
    def step(
        self, label: str, *, total: int | None = None, unit: str = ""
    ) -> Iterator[Step]:
        """Name the step of a block; of nested steps the inner one is shown."""
        step = Step(label, self._clock(), total, unit)
        self._steps.append(step)
        try:
            yield step
        finally:
            self._steps.remove(step)

    def tick(self) -> None:
        """Show the step: move its line, or print one after a pause."""
        with self._lock:
            now = self._clock()
            step = self._steps[-1] if self._steps else Step("still working", self._last)
            if self.is_terminal:
                width = max(shutil.get_terminal_size().columns - 3, 10)
                self._write(f"\r{next(self._frames)} {step.text(now)[:width]}\x1b[K")
            elif now - self._last >= QUIET_S:
                self._write(f"  … {step.text(now)}\n")
                self._last = now

    def _erased(self) -> str:
        return "\r\x1b[K" if self.is_terminal else ""

    def _write(self, text: str) -> None:
        # The terminal may be gone; the working code will notice itself.
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text)
            self.stream.flush()

    def _show(self) -> None:
        while not self._ended.wait(TICK_S):
            self.tick()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()
        _entered.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _entered.remove(self)
        self._ended.set()
        self._thread.join()
        self._write(self._erased())


# Those whose block is entered; the last one shows.
_entered: list[Progress] = []


def say(text: str = "") -> None:
    """Print a line at once."""
    if _entered:
        _entered[-1].say(text)
    else:
        print(text, flush=True)


@contextlib.contextmanager
def step(
    label: str, *, total: int | None = None, unit: str = "", is_shown: bool = True
) -> Iterator[Step]:
    """
    Name what goes on in the block, where anything is shown.

    Args:
        label: What goes on.
        total: How many there will be of what ``update`` counts, where that is known.
        unit: Of what is counted, as it follows the number.
        is_shown: Whether to show it at all.
    """
    if _entered and is_shown:
        with _entered[-1].step(label, total=total, unit=unit) as one:
            yield one
    else:
        yield Step(label, 0.0, total, unit)
