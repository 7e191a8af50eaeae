"""
Counts of score_stream, specified: a group counts once it is done, and never before.
"""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from propensity.errors import Unavailable
from propensity.events.messages import Message
from propensity.settings import Settings
from propensity.stream.consumers import Edges
from propensity.stream.score import ScoreStream
from propensity.waiting.threads import THREADS
from tests.clocks import ManualClock
from tests.events import DEPLOYED, NOW, RULES, transaction, written


class Log:
    """A table that fails a few times; nothing serves, and a topic takes all."""

    def __init__(self, *, failures: int) -> None:
        self.failures = failures
        self.rows = 0

    async def append(self, table: Any, rows: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("BigQuery did not take rows")
        self.rows += rows.num_rows

    async def publish(self, *_: object) -> None:
        """Take messages."""

    def find_newer(self, name: str, *, than: int) -> None:
        """Find no champion."""


async def test_of_a_group_that_comes_again_are_of_one_time(capsys):
    """Defect: events without a score were counted at each delivery of a group that
    could not be stored, and those of suppressed users likewise."""
    log = Log(failures=2)
    settings = Settings.from_environment({"GOOGLE_CLOUD_PROJECT": "p"})
    edges: Any = {"warehouse": SimpleNamespace(settings=settings), "artifacts": log}
    edges |= {"appends": log, "bus": log, "catalogue": DEPLOYED, "threads": THREADS}
    event = transaction(use_case="card_fraud", event_type="card_transaction")
    message = Message(written(event | {"event_id": "t", "user_id": "t"}), "1")

    rules = {"settings": settings, "rules": RULES}
    clock = ManualClock(NOW + timedelta(minutes=1))
    consumer = ScoreStream(Edges(**edges, **rules, clock=clock))
    for _ in range(2):
        with pytest.raises(Unavailable):
            await consumer.consume([message])
    await consumer.consume([message])
    consumer.counts.write()

    [line] = capsys.readouterr().out.splitlines()
    counted = json.loads(line)
    assert log.rows == 1
    assert (counted["rows_in"], counted["no_champion"], counted["groups"]) == (1, 1, 1)
