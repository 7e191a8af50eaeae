"""A shelf of predictions that is read as slowly as a test wants."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import Any

from propensity.clock import SYSTEM, Clock
from propensity.errors import PropensityError
from propensity.online import lookup
from propensity.online.lookup import Lookups, Prediction, Reading
from propensity.settings import Settings

TODAY = date(2026, 3, 1)

SETTINGS = Settings(project="p", refresh_s=300, deadline_s=120)


def prediction(user_id: str, *, probability: float = 0.25, as_of: date = TODAY):
    return Prediction(user_id, probability, as_of, percentile=71, model_version=3)


class Shelf:
    """A source in memory."""

    def __init__(self, *user_ids: str, is_held: bool) -> None:
        self.rows = {user_id: prediction(user_id) for user_id in user_ids}
        self.reads: list[tuple[str, ...]] = []
        self.failure: PropensityError | None = None
        self.most_at_once = 0
        self._at_once = 0
        self._open = threading.Event()
        self._lock = threading.Lock()
        if not is_held:
            self._open.set()

    def release(self) -> None:
        self._open.set()

    def read(self, use_case: str, user_ids: Sequence[str]) -> Reading:
        with self._lock:
            self.reads.append(tuple(user_ids))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            failure = self.failure
        assert self._open.wait(20)
        with self._lock:
            self._at_once -= 1
        if failure:
            raise failure
        return Reading([self.rows[name] for name in user_ids if name in self.rows])


def open_shelf(
    *user_ids: str, is_held: bool = False, clock: Clock = SYSTEM, **changed: Any
) -> tuple[Shelf, Lookups]:
    """A shelf, and lookups of it with threads of their own, as the function opens them;
    some settings may be changed."""
    shelf = Shelf(*user_ids, is_held=is_held)
    threads = ThreadPoolExecutor(lookup.CONCURRENT_QUERIES)
    settings = replace(SETTINGS, **changed)
    return shelf, Lookups(shelf, settings, threads=threads, clock=clock)


async def until(shelf: Shelf, reads: int) -> None:
    """Wait until that many reads have begun."""
    async with asyncio.timeout(10):
        while len(shelf.reads) < reads:
            await asyncio.sleep(0.001)


def names(count: int, prefix: str = "user") -> list[str]:
    return [f"{prefix}.{number}" for number in range(count)]
