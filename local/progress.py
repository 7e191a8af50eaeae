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
        self._clock = clock
        self._last = clock()
        self._steps: list[Step] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def say(self, text: str = "") -> None:
        """Print a line at once, also into a pipe."""
        # The terminal may be gone; the working code will notice itself.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._last = self._clock()
            self._stream.write(f"{text}\n")
            self._stream.flush()

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
        """Print the step after a pause."""
        now = self._clock()
        if now - self._last >= QUIET_S:
            step = self._steps[-1] if self._steps else Step("still working", self._last)
            self.say(f"  … {step.text(now)}")

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
