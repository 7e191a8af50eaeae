"""
The consumer of score_stream, specified: nothing holds up or refuses a whole group, and
a group counts once it is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from math import isnan, nan
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from propensity import usecases
from propensity.errors import QueryTooExpensive, SchemaError, Unavailable
from propensity.streaming.scores.score_stream import ScoreStream
from tests.propensity.streaming.features.consumers import Log, Tables, stream_of
from tests.support.events import NOW, bet, enriched_card, message
from tests.support.shop import DAY

FEATURES = dict.fromkeys(usecases.load("first_day_churn").features)


def counted(consumer: ScoreStream, capsys) -> dict[str, Any]:
    """The fields of the one line that the consumer logs of its counts."""
    consumer.counts.write()
    [line] = capsys.readouterr().err.splitlines()
    return json.loads(line)


def scoring(
    log: Log,
    warehouse: Any = None,
    *,
    refuses: Callable[[dict[str, Any]], bool] = lambda _: False,
    score: float = 0.5,
) -> tuple[ScoreStream, list[pa.RecordBatch]]:
    """The consumer where a model serves that gives everybody the same, and what that
    was given."""
    consumer = stream_of(log, warehouse)
    batches = []

    def probabilities(batch: pa.RecordBatch) -> list[float]:
        batches.append(batch)
        if any(map(refuses, batch.to_pylist())):
            raise ValueError("Input X contains infinity")
        return [score] * batch.num_rows

    def refusal(rows: pa.RecordBatch) -> SchemaError:
        return SchemaError("feature 'age' is too large", field="age")

    champion: Any = SimpleNamespace(
        version=0,
        scores="probability",
        is_warm=not isnan(score),
        scorer=SimpleNamespace(probabilities=probabilities, refusal=refusal),
    )
    state: Any = SimpleNamespace(champion=champion, epoch=1)

    async def serves(_: Any) -> Any:
        return state

    champions: Any = SimpleNamespace(state=serves)
    consumer.champions = champions
    return consumer, batches


async def test_a_score_that_is_not_published_is_given_again():
    log = Log()
    consumer, _ = scoring(log)

    async def refuse(*_: object) -> None:
        raise Unavailable("Pub/Sub did not take messages")

    log.publish = refuse
    [failed] = await consumer.consume([message(enriched_card("t"))])
    assert isinstance(failed, Unavailable)


async def test_a_score_waits_for_a_model_that_has_seen_enough(capsys):
    """The event is logged without one, and nothing is published that could be taken
    for a score."""
    log = Log()
    consumer, _ = scoring(log, score=nan)
    assert await consumer.consume([message(enriched_card("t"))]) == [None]

    counts = counted(consumer, capsys)
    assert (counts["not_warm"], counts["rows_out"]) == (1, 0)
    assert (log.last["probability"], log.last["is_warm"]) == (None, False)


async def test_users_are_scored_by_their_features_at_that_moment(capsys):
    """
    A user without a window, such as one whose registration never came, is passed over,
    and the others of the group are scored.

    Arrow refuses a whole number above 2**53 as a float: it is rounded, as by
    01-Predictions and score.
    """
    users = {"u1": (2**53 + 1, NOW + DAY), "u2": (3, NOW + DAY), "u3": (4, None)}
    rows = [
        {"user_id": user, "scored_until": until, **FEATURES, "bet_count": count}
        for user, (count, until) in users.items()
    ]
    log = Log()
    consumer, batches = scoring(log, SimpleNamespace(lookup=lambda *_: rows))
    events = [bet(user_id=user, event_id=user) for user in users]
    await consumer.consume([message(event) for event in events])

    assert log.rows == 2
    assert batches[0]["bet_count"].to_pylist() == [float(2**53), 3.0]
    assert counted(consumer, capsys)["outside_window"] == 1


async def test_a_use_case_that_fails_holds_up_no_other(capsys):
    """Its events alone come again: their query fails, and a card needs none."""

    def lookup(*_: object) -> Any:
        raise SchemaError("division by zero")

    log = Log()
    consumer, _ = scoring(log, SimpleNamespace(lookup=lookup))
    group = [message(bet()), message(enriched_card("t"))]
    error, scored = await consumer.consume(group)

    counts = counted(consumer, capsys)
    assert (str(error), scored) == ("division by zero", None)
    assert (counts["rows_in"], counts["rows_out"], log.rows) == (1, 1, 1)


@pytest.mark.parametrize(("delay_days", "oldest"), [(2, 1), (36_500, 400)])
async def test_events_of_other_days_refuse_no_group(delay_days, oldest, capsys):
    """What is too late is not scored any more, nor read; the rest is, however long a
    deployment scores after an event, and by a query of the days that it may read."""
    asked: list[date] = []

    def lookup(_: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        asked.append(parameters["first_event_day"])
        if asked[-1] < NOW.date() - 20 * DAY:
            raise QueryTooExpensive("more than 8 GiB")
        until = {"scored_until": NOW + DAY}
        return [{"user_id": u, **until, **FEATURES} for u in parameters["user_ids"]]

    log = Log()
    consumer, _ = scoring(log, SimpleNamespace(lookup=lookup))
    settings = replace(consumer.clients.settings, maximum_score_delay_days=delay_days)
    consumer.clients = replace(consumer.clients, settings=settings)
    group = [
        message(bet(user_id=f"u{age}", event_time=str(NOW - age * DAY)))
        for age in (0, 1, 29, 400)
    ]

    assert not any(await consumer.consume(group))
    assert (log.rows, counted(consumer, capsys)["too_late"]) == (2, 2)
    assert asked[0] == NOW.date() - oldest * DAY


async def test_an_event_that_is_refused_refuses_no_group(capsys):
    """By the model, with the feature, or by the table: it is a dead letter, and all
    others are scored."""
    tables = Tables(refuses="t1")
    consumer, _ = scoring(tables, refuses=lambda row: row["V1"] > 1e38)
    sent = [enriched_card(f"t{n}", V1=1e39 if n == 2 else 1.0) for n in range(4)]

    handled = await consumer.consume(
        [message(one, f"m{n}") for n, one in enumerate(sent)]
    )
    letters = {row["message_id"]: row for row in tables.of["dead_letters"]}
    assert [each is None for each in handled] == [True, False, False, True]
    assert letters["m1"]["reason"] == "refused_by_table"
    assert letters["m2"]["reason"] == "refused_by_model"
    assert letters["m2"]["field"] == "age"
    assert [row["event_id"] for row in tables.of["inference_log"]] == ["t0", "t3"]
    assert counted(consumer, capsys)["rows_out"] == 2
