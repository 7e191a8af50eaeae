"""Card transactions on the stream: taken, scored, and their truths stored."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from propensity.models.half_space_trees import HalfSpaceTrees
from tests.deployment import Deployment
from tests.events import bet, enriched_card, transaction, truth, written
from tests.functions.instances import serving
from tests.functions.scored import (
    expected,
    fitted,
    flat,
    promote,
    publish,
    transactions,
)
from tests.functions.streaming import new_site

NOW = datetime.now(UTC)
TAKEN = NOW - timedelta(seconds=1)
# What is no moment costs a transaction its latency, and nothing else.
NO_MOMENTS = [-5, 4e9, None, True, "soon", [1], {"a": 1}, "2999-01-01"]


@pytest.fixture(scope="module")
def site(emulators) -> Iterator[Deployment]:
    """Tables and topics of these tests; each has transactions of its own."""
    with new_site(emulators) as site:
        yield site


@pytest.fixture
def name() -> str:
    """An identity of one test alone."""
    return f"t-{uuid.uuid4().hex[:8]}"


def enriched(name: str, row: Any, **fields: Any) -> dict[str, Any]:
    """Return a transaction as stream_features publishes it, numbers as texts."""
    features = {key: str(value) for key, value in flat(row).items()}
    own = {"event_time": NOW.isoformat(), "ingest_ts": TAKEN.timestamp()}
    return enriched_card(name, **own | features | fields)


def of_events(site: Deployment, table: str, names: list[str]) -> list[dict[str, Any]]:
    """Return the rows of events, by their names."""
    return site.rows(
        f"SELECT * FROM {table} WHERE event_id IN UNNEST(@names) ORDER BY event_id",
        names=names,
    )


def test_transactions_truths_and_all_others_are_taken_together(site, name):
    """
    Each to its own table, and transactions to those who score.

    A redelivery stores a row again, under the key that the first has.
    """
    names = [f"{name}-{n}" for n in range(10)]
    sent = [
        *(transaction(transaction_id=name, Amount="12.5") for name in names),
        *(truth(transaction_id=name, is_fraud="0") for name in names),
        *(bet(user_id=name, event_id=event_id, use_case=...) for event_id in names),
        *(transaction(transaction_id=name, V3="NaN") for name in names),
        *(truth(transaction_id=name, is_fraud=2) for name in names),
    ]
    with (
        serving("stream_features", site.environment) as intake,
        site.pulled("enriched") as pull,
    ):
        deliveries = [intake.post_all(sent), intake.post_all(sent)]
        messages = pull(40)

    for answers in deliveries:
        assert {answer.status_code for answer in answers} == {200}
        fields = [answer.json().get("field") for answer in answers]
        assert fields == [*[None] * 30, *["V3"] * 10, *["is_fraud"] * 10]
    rows = of_events(site, "stream_events", names)
    keys = {
        (row["use_case"], row["user_id"], row["event_date"], row["event_id"])
        for row in rows
    }
    assert (len(rows), len(keys)) == (40, 20)
    cards = {row["event_id"] for row in rows if row["use_case"] == "card_fraud"}
    assert cards == {*names}
    truths = of_events(site, "truth_events", names)
    assert [row["event_id"] for row in truths] == sorted([*names, *names])
    assert {(row["label"], row["use_case"]) for row in truths} == {(0, "card_fraud")}
    letters = site.rows("SELECT reason, field FROM dead_letters")
    assert Counter((row["reason"], row["field"]) for row in letters) == {
        ("bad_value", "is_fraud"): 20,
        ("not_finite", "V3"): 20,
    }
    published = Counter(
        (event["event_type"], event["use_case"], event.get("Amount"))
        for event in (json.loads(message.data) for message in messages)
    )
    assert published == {
        ("card_transaction", "card_fraud", "12.5"): 20,
        ("new_bet", "first_day_churn", None): 20,
    }


class TestScores:
    """Each test says what serves."""

    def test_scores_are_of_the_event_itself(self, site, name):
        """
        The champion's, of each transaction's own fields, published and logged.

        The time that it took is counted from when the producer took the transaction,
        where the event says when that was.
        """
        trees = fitted()[2]
        version = publish(site, trees)
        promote(site, version)
        rows = transactions(40)
        names = [f"{name}-{n:02}" for n in range(40)]
        sent = [enriched(*each) for each in zip(names, rows, strict=True)]
        for event, moment in zip(sent, NO_MOMENTS, strict=False):
            event["ingest_ts"] = moment
        with (
            site.pulled("scores") as pull,
            serving("score_stream", site.environment) as scoring,
        ):
            before = datetime.now(UTC)
            answers = scoring.post_all(sent)
            after = datetime.now(UTC)
            scored = [json.loads(message.data) for message in pull(40)]

        assert {answer.text for answer in answers} == {'{"outcome":"scored"}\n'}
        messages = {message["event_id"]: message for message in scored}
        logged = of_events(site, "inference_log", names)
        scores = [row["anomaly_score"] for row in logged]
        assert scores == pytest.approx(
            [expected(row, model=trees) for row in rows], abs=1e-12
        )
        for row in logged:
            assert (row["probability"], row["is_warm"]) == (None, True)
            assert (row["model_version"], row["user_id"]) == (version, row["event_id"])
            assert row["event_time"] == NOW
            message = messages[row["event_id"]]
            for field in ("anomaly_score", "model_version", "inference_id", "is_warm"):
                assert message[field] == row[field]
        latencies = [row["latency_ms"] for row in logged]
        assert latencies[: len(NO_MOMENTS)] == [None] * len(NO_MOMENTS)
        for latency in latencies[len(NO_MOMENTS) :]:
            assert before - TAKEN <= timedelta(milliseconds=latency) <= after - TAKEN

    def test_scores_wait_for_a_model_that_has_seen_enough(self, site, name):
        """What is not warm says so, and has no score that could be taken for one."""
        trees = HalfSpaceTrees(n_trees=5, height=4, window_size=100, random_state=1)
        cold = publish(site, trees.fit(transactions(40)))
        [row] = transactions(1)
        with site.pulled("scores") as pull:
            for version in (cold, publish(site, fitted()[1])):
                promote(site, version)
                with serving("score_stream", site.environment) as scoring:
                    scoring.post(enriched(f"{name}-{version}", row))
            [message] = pull(1)

        [row] = of_events(site, "inference_log", [f"{name}-{cold}"])
        assert (row["model_version"], row["is_warm"]) == (cold, False)
        assert (row["probability"], row["anomaly_score"]) == (None, None)
        assert json.loads(message.data)["event_id"] == f"{name}-{version}"

    def test_scores_are_given_as_a_transaction_happens(self, site, name):
        """A bare transaction goes from the topic of events through both functions to
        the topic of scores."""
        promote(site, publish(site, fitted()[1]))
        with (
            serving("stream_features", site.environment) as intake,
            serving("score_stream", site.environment) as scoring,
            site.pulled("scores") as pull,
        ):
            subscriptions = [
                site.subscribe(site.topic("events"), endpoint=intake.url),
                site.subscribe(site.topic("enriched"), endpoint=scoring.url),
            ]
            event = written(transaction(transaction_id=name, ingest_ts=...))
            site.publish(site.topic("events"), [{"data": event}])
            [score] = [json.loads(message.data) for message in pull(1)]
            for subscription in subscriptions:
                site.unsubscribe(subscription)

        assert (score["event_id"], score["use_case"]) == (name, "card_fraud")
        assert 0 <= score["probability"] <= 1
        [row] = of_events(site, "inference_log", [name])
        assert row["latency_ms"] > 0
        assert row["inference_id"] == score["inference_id"]
