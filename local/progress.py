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
from typing import Self, TextIO

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
    """A long step: its name, when it began, and how much of it is done."""

    label: str
    began: float
    total: int = 0
    unit: str = ""
    n: int = 0

    def update(self, count: int = 1) -> None:
        """Count so many more."""
        self.n += count


class Progress:
    """
    Prints lines, and in a pause what is going on.

    As a context manager it runs the thread that does so, and is the one that ``say``
    and ``step`` of this module use.

    Args:
        stream: Where to; stdout by default.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stdout
        self.clock = clock
        self._last = clock()
        self.steps: list[Step] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def say(self, text: str = "") -> None:
        """Print a line at once, also into a pipe."""
        # The terminal may be gone; the working code will notice itself.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._last = self.clock()
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def tick(self) -> None:
        """Print the innermost step after a pause."""
        now = self.clock()
        if now - self._last >= QUIET_S:
            step = self.steps[-1] if self.steps else Step("still working", self._last)
            done = f" {step.n:,} of {step.total:,}{step.unit}," if step.total else ""
            self.say(f"  … {step.label}{done} {max(now - step.began, 0):.0f} s")

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


# Those whose block is entered; the last one shows.
_entered: list[Progress] = []


def say(text: str = "") -> None:
    """Print a line at once."""
    if _entered:
        _entered[-1].say(text)
    else:
        print(text, flush=True)


@contextlib.contextmanager
def step(label: str, *, total: int = 0, unit: str = "") -> Iterator[Step]:
    """
    Name what goes on in the block, where anything is shown.

    Args:
        label: What goes on.
        total: How many there will be of what ``update`` counts.
        unit: Of what is counted, as it follows the number.
    """
    if not _entered:
        yield Step(label, 0.0)
        return
    one = Step(label, _entered[-1].clock(), total, unit)
    steps = _entered[-1].steps
    steps.append(one)
    try:
        yield one
    finally:
        steps.remove(one)
