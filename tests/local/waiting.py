"""Waiting for what happens in its own time."""

from __future__ import annotations

import time

PATIENCE_S = 30
POLL_S = 0.02


def wait_until(is_so, what: str = "") -> None:
    """Ask until it is so; fail if that takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S} s"
        time.sleep(POLL_S)
