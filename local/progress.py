"""
What the user sees while something takes long: never nothing.

On a terminal a line moves. Elsewhere, in a file or a pipe, a plain line comes at the
latest ``QUIET_S`` after the last one, with what is going on and for how long.

Nothing but the standard library is imported before a bar is drawn: set-up shows its
steps by this, too.
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
from typing import Any, Self, TextIO

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
    # tqdm's bar, if any, and whether it is on the screen.
    bar: Any = None
    is_drawn: bool = False

    def update(self, count: int = 1) -> None:
        """Count so many more."""
        self.n += count
        if self.bar is not None:
            self.bar.update(count)

    def text(self, now: float) -> str:
        """Return the step's name, its progress, and its duration so far."""
        share = ""
        if self.n or self.total is not None:
            scale, unit = (1e6, " MB") if self.unit == "B" else (1, self.unit)
            whole = f" of {self.total / scale:,.0f}" if self.total is not None else ""
            share = f" {self.n / scale:,.0f}{whole}{unit},"
        return f"{self.label}{share} {max(now - self.began, 0):.0f} s"


class Progress:
    """
    Prints lines, and shows between them that something is going on.

    As a context manager it runs the thread that shows it, and is the one that ``bar``
    counts for.

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
        self._began = self._last = clock()
        self._steps: list[Step] = []
        self._frames = itertools.cycle(FRAMES)
        self._is_moving = False
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    # -- for the working code ---------------------------------------------------------

    def say(self, text: str = "") -> None:
        """Print a line at once, also into a pipe."""
        with self._lock:
            self._erase()
            self._write(f"{text}\n")
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
            with self._lock:
                self._erase()

    # -- what shows it ----------------------------------------------------------------

    def tick(self) -> None:
        """Show the step: move its line, or print one after a pause."""
        with self._lock:
            now = self._clock()
            step = self._steps[-1] if self._steps else Step("still working", self._last)
            if self.is_terminal:
                if self._steps and not step.is_drawn:
                    self._move(step.text(now))
            elif now - self._last >= QUIET_S:
                self._write(f"  … {step.text(now)}\n")
                self._last = now

    def _move(self, text: str) -> None:
        width = max(shutil.get_terminal_size().columns - 3, 10)
        self._write(f"\r{next(self._frames)} {text[:width]}\x1b[K")
        self._is_moving = True

    def _erase(self) -> None:
        if self._is_moving:
            self._write("\r\x1b[K")
            self._is_moving = False

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()

    def __enter__(self) -> Self:
        def show() -> None:
            # The terminal may be gone; the working code will notice itself.
            with contextlib.suppress(OSError, ValueError):
                while not self._ended.wait(TICK_S):
                    self.tick()

        self._thread = threading.Thread(target=show, name="progress", daemon=True)
        self._thread.start()
        _shown.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _shown.remove(self)
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._erase()


# The one whose block is entered, for bars; the last of them.
_shown: list[Progress] = []


def say(text: str = "") -> None:
    """Print a line at once: past what is shown, if anything is."""
    if _shown:
        _shown[-1].say(text)
    else:
        print(text, flush=True)


@contextlib.contextmanager
def step(label: str) -> Iterator[None]:
    """Name what goes on in the block, where anything is shown."""
    with _shown[-1].step(label) if _shown else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def bar(
    label: str,
    *,
    total: int | None = None,
    unit: str = "",
    is_shown: bool = True,
    **options: Any,
) -> Iterator[Step]:
    """
    Count in the block: by a bar on a terminal, by lines of ``Progress`` elsewhere.

    Args:
        label: What is counted.
        total: How many there will be, where that is known.
        unit: Of what is counted, as it follows the number.
        is_shown: Nothing is to be seen where it is not.
        options: Further ones of tqdm's bar.

    Returns:
        ``update(count)`` adds to the count ``n``.
    """
    from tqdm import tqdm

    shown = _shown[-1] if _shown else None
    is_bar = is_shown and (shown is None or shown.is_terminal)
    with contextlib.ExitStack() as leaving:
        step = Step(label, 0.0)
        if shown is not None:
            step = leaving.enter_context(shown.step(label, total=total, unit=unit))
        step.is_drawn = is_bar
        step.bar = leaving.enter_context(
            tqdm(
                desc=label,
                total=total,
                unit=unit,
                # None: only on a terminal.
                disable=None if is_bar else True,
                **options,
            )
        )
        yield step
