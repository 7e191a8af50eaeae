"""A consumer of scores before tables of a test's own."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from propensity.errors import Unavailable
from propensity.settings import Settings
from propensity.streaming.features.consumer import Clients
from propensity.streaming.scores.score_stream import ScoreStream
from tests.support.clocks import ManualClock
from tests.support.events import DEPLOYED, NOW


class Log:
    """A table that fails a few times; nothing serves, and a topic takes all."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.rows = 0
        self.last: dict[str, Any] = {}

    async def append(self, table: Any, rows: Any) -> dict[int, str]:
        if self.failures:
            self.failures -= 1
            raise Unavailable("BigQuery did not take rows")
        self.rows += rows.num_rows
        self.last = [self.last, *rows.to_pylist()][-1]
        return {}

    async def publish(self, *_: object) -> None:
        """Take messages."""

    def find(self, name: str) -> None:
        """Find no champion."""


class Tables(Log):
    """All rows of tables, and an event, or a message, that one of them refuses."""

    def __init__(self, refuses: str = "") -> None:
        super().__init__()
        self.of: dict[str, list[dict[str, Any]]] = {}
        self.refuses = refuses

    async def append(self, table: Any, rows: pa.RecordBatch) -> dict[int, str]:
        taken = self.of.setdefault(table.name, [])
        wrong = dict[int, str]()
        for n, row in enumerate(rows.to_pylist()):
            if self.refuses in (row.get("event_id"), row.get("message_id")):
                wrong[n] = "no such value"
            else:
                taken.append(row)
        return wrong


def stream_of(log: Log, warehouse: Any = None) -> ScoreStream:
    """The consumer, a minute after ``NOW``, where nothing has ever served."""
    settings = Settings.from_environment({"GOOGLE_CLOUD_PROJECT": "p"})
    warehouse = warehouse or SimpleNamespace()
    warehouse.settings = settings
    warehouse.read_small_table = lambda *_: []
    clock: Any = ManualClock(NOW + timedelta(minutes=1))
    all_others: Any = log
    clients = Clients(settings, warehouse, all_others, all_others, DEPLOYED, clock)
    return ScoreStream(clients, all_others)
