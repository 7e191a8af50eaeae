"""A shelf of predictions that is read as slowly as a test wants."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any

from propensity.clock import SYSTEM, Clock
from propensity.errors import PropensityError
from propensity.online.table import Table
from propensity.registry.index import Prediction
from propensity.settings import Settings

TODAY = date(2026, 3, 1)

SETTINGS = Settings(project="p", refresh_s=300, deadline_s=120)


def prediction(user_id: str, *, probability: float = 0.25) -> Prediction:
    """What a shelf has of a user."""
    return Prediction(probability, 71, TODAY.isoformat(), 3, None)


class Shelf:
    """BigQuery, as the table is read."""

    def __init__(
        self, *user_ids: str, is_held: bool = False, probability: float = 0.25
    ) -> None:
        self.rows = {
            user_id: SimpleNamespace(
                user_id=user_id,
                probability=probability,
                percentile=71,
                as_of=TODAY,
                model_version=3,
                expected_value=None,
            )
            for user_id in user_ids
        }
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

    def lookup(self, sql: str, parameters: Any) -> tuple[list[Any], int]:
        user_ids = parameters["user_ids"]
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
        return [self.rows[name] for name in user_ids if name in self.rows], 0


def open_shelf(
    *user_ids: str, is_held: bool = False, clock: Clock = SYSTEM, **changed: Any
) -> tuple[Shelf, Table]:
    """A shelf, and the table that it is; some settings may be changed."""
    shelf: Any = Shelf(*user_ids, is_held=is_held)
    settings = replace(SETTINGS, **changed)
    return shelf, Table(lambda: shelf, settings, clock=clock.monotonic)


async def until(shelf: Shelf, reads: int) -> None:
    """Wait until that many reads have begun."""
    async with asyncio.timeout(10):
        while len(shelf.reads) < reads:
            await asyncio.sleep(0.001)


def names(count: int, prefix: str = "user") -> list[str]:
    return [f"{prefix}.{number}" for number in range(count)]
