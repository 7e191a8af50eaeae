"""
Deliveries that are killed, by an error that nothing catches.
"""

from __future__ import annotations

import random
from typing import Any

import requests

from propensity.gcp.warehouse import Warehouse
from tests.offline.audience.conftest import Site, send


class Killed(BaseException):
    """As by SIGKILL: nothing catches it."""


class Fate:
    """
    Kills the process at a call of a receiver, by its path, or of the warehouse.

    Whoever is killed writes and sends nothing more, until ``left`` is None again.
    """

    def __init__(self, monkeypatch, path: str = "/users") -> None:
        self.left: int | None = None
        self._path = path
        self._wrap(monkeypatch, requests.Session, "request")
        self._wrap(monkeypatch, Warehouse, "write")

    def _wrap(self, monkeypatch, owner, name) -> None:
        original = getattr(owner, name)

        def called(*args, **kwargs):
            # Google's clients have sessions, too, and threads of their own.
            is_own = name == "write" or self._path in str(args)
            self._step(is_own)
            result = original(*args, **kwargs)
            try:
                self._step(is_own)
            except Killed:
                if isinstance(result, requests.Response):
                    # The system closes the connections of whom is killed.
                    result.close()
                raise
            return result

        monkeypatch.setattr(owner, name, called)

    def _step(self, is_own: bool) -> None:
        if is_own and self.left is not None:
            self.left -= 1
            if self.left <= 0:
                raise Killed


def kill_and_resume(
    site: Site, to: str, fate: Fate, *, at_most: int, seed: int, **changed: Any
) -> int:
    """Kill deliveries until one gets through; return how many were killed."""
    generator = random.Random(seed)
    for killed in range(at_most):
        fate.left = generator.randint(1, 12)
        try:
            assert send(site, to, **changed)["failure"] == ""
        except Killed:
            # The lease of whom is killed ends by itself.
            site.clock.advance(6 * 60)
        else:
            return killed
    fate.left = None
    assert send(site, to, **changed)["failure"] == ""
    return at_most
