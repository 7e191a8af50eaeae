"""
Counts of score_stream, specified: a group counts once it is done, and never before.
"""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from propensity import usecases
from propensity.errors import SchemaError, Unavailable
from propensity.events.messages import Message
from propensity.settings import Settings
from propensity.stream.consumer import Clients
from propensity.stream.score import ScoreStream
from tests.clocks import ManualClock
from tests.events import DEPLOYED, NOW, bet, enriched_card, written
from tests.shop import DAY


class Log:
    """A table that fails a few times; nothing serves, and a topic takes all."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.rows = 0
        self.last: dict[str, Any] = {}

    async def append(self, table: Any, rows: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("BigQuery did not take rows")
        self.rows += rows.num_rows
        self.last = [self.last, *rows.to_pylist()][-1]

    async def publish(self, *_: object) -> None:
        """Take messages."""

    def find(self, name: str) -> None:
        """Find no champion."""


def stream_of(log: Log, warehouse: Any = None) -> ScoreStream:
    """The consumer, a minute after ``NOW``, where nothing has ever served."""
    settings = Settings.from_environment({"GOOGLE_CLOUD_PROJECT": "p"})
    warehouse = warehouse or SimpleNamespace()
    warehouse.settings, warehouse.listed = settings, lambda *_: []
    clock: Any = ManualClock(NOW + timedelta(minutes=1))
    all_others: Any = log
    return ScoreStream(
        Clients(
            settings, warehouse, all_others, all_others, all_others, DEPLOYED, clock
        )
    )


def counted(consumer: ScoreStream, capsys) -> dict[str, Any]:
    """The fields of the one line that the consumer logs of its counts."""
    consumer.counts.write()
    [line] = capsys.readouterr().err.splitlines()
    return json.loads(line)


async def test_of_a_group_that_comes_again_are_of_one_time(capsys):
    """Defect: events without a score were counted at each delivery of a group that
    could not be stored, and those of suppressed users likewise. While nothing serves a
    transaction is logged without a score."""
    log = Log(2)
    message = Message(written(enriched_card("t")), "1")
    consumer = stream_of(log)
    for _ in range(2):
        [failed] = (await consumer.consume([message])).values()
        assert isinstance(failed, Unavailable)
    assert await consumer.consume([message]) == {}

    counts = counted(consumer, capsys)
    assert log.rows == 1
    assert (counts["rows_in"], counts["no_champion"], counts["groups"]) == (1, 1, 1)
    row = log.last
    assert (row["model_version"], row["epoch"], row["source"]) == (-1, -1, "stream")
    assert (row["probability"], row["anomaly_score"]) == (None, None)
    assert row["is_warm"] is False


async def test_of_users_while_nothing_serves_say_so(capsys):
    """Their events are acknowledged, and wait for nothing; none is scored or logged."""
    log = Log()
    consumer = stream_of(log)
    refused = await consumer.consume(
        [Message(written(bet()), str(n)) for n in range(3)]
    )

    counts = counted(consumer, capsys)
    assert (refused, log.rows) == ({}, 0)
    assert (counts["rows_in"], counts["no_champion"], counts["rows_out"]) == (3, 3, 0)


def scoring(consumer: ScoreStream, batches: list[pa.RecordBatch]) -> None:
    """Let a model serve that gives everybody the same, and keeps what it was given."""

    def probabilities(batch: pa.RecordBatch) -> list[float]:
        batches.append(batch)
        return [0.5] * batch.num_rows

    champion: Any = SimpleNamespace(
        version=0,
        is_anomaly=False,
        is_warm=True,
        scorer=SimpleNamespace(probabilities=probabilities),
    )
    state: Any = SimpleNamespace(champion=champion, epoch=1)

    async def serves(_: Any) -> Any:
        return state

    consumer._champions = SimpleNamespace(state=serves)  # type: ignore[assignment]


async def test_of_users_are_by_their_features_at_that_moment(capsys):
    """A user without a window, such as one whose registration never came, is passed
    over, and the others of the group are scored.

    Defect: Arrow refuses a whole number above 2**53 as a float, and with one user's
    the group failed at each delivery. 01-Predictions and score round it."""
    features = dict.fromkeys(usecases.load("first_day_churn").features)
    users = {"u1": (2**53 + 1, NOW + DAY), "u2": (3, NOW + DAY), "u3": (4, None)}
    rows = [
        {"user_id": user, "scored_until": until, **features, "bet_count": count}
        for user, (count, until) in users.items()
    ]
    log, batches = Log(), []
    consumer = stream_of(log, SimpleNamespace(lookup=lambda *_: rows))
    scoring(consumer, batches)

    await consumer.consume(
        [Message(written(bet(user_id=user, event_id=user)), user) for user in users]
    )

    assert log.rows == 2
    assert batches[0]["bet_count"].to_pylist() == [float(2**53), 3.0]
    assert counted(consumer, capsys)["outside_window"] == 1


async def test_of_a_use_case_that_fails_hold_up_no_other(capsys):
    """Its events alone come again: their query fails, and a card needs none."""

    def lookup(*_: object) -> Any:
        raise SchemaError("division by zero")

    log = Log()
    run = SimpleNamespace(lookup=lookup)
    consumer = stream_of(log, run)
    scoring(consumer, [])

    unhandled = await consumer.consume(
        [Message(written(bet()), "1"), Message(written(enriched_card("t")), "2")]
    )

    counts = counted(consumer, capsys)
    assert [*map(str, unhandled.values())] == ["division by zero"]
    assert [*unhandled] == [0]
    assert (counts["rows_in"], counts["rows_out"], log.rows) == (1, 1, 1)
