"""Signals that end a program in order, or wait until a block has ended."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def _handled(handler: Handler, *numbers: signal.Signals) -> Iterator[None]:
    """Have a handler called in the block, which only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


def ending_on_signals() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does: by an exception."""
    return _handled(leave, signal.SIGTERM, signal.SIGHUP)


def leave(number: int, _: FrameType | None) -> None:
    """End the program with the status that a shell gives to this signal."""
    sys.exit(128 + number)


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP until the block has ended."""
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with _handled(lambda number, _: caught.append(number), *numbers):
        yield
    if caught:
        signal.raise_signal(caught[0])
