"""
score_stream over HTTP: an enriched event in, a probability out.

It scores players with the model that is shipped for first-day churn; their events are
stored before they are pushed, as stream_features does. Card transactions are taken,
scored by themselves, and their truths stored.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from offline import load_model
from propensity.errors import Unavailable
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.tables.stream import INFERENCE_LOG
from tests.deployment import STREAMED, Deployment
from tests.events import bet, enriched_card, registration, transaction, truth, written
from tests.functions.instances import Served, failing, serving
from tests.functions.scored import (
    expected,
    fitted,
    flat,
    promote,
    publish,
    transactions,
)
from tests.functions.streaming import eventually, new_site, rows_of

HOUR = timedelta(hours=1)
DELAY = "PROPENSITY_MAXIMUM_SCORE_DELAY_DAYS"


@pytest.fixture(scope="module")
def site(emulators) -> Iterator[Deployment]:
    """A site with a champion; events of the tests are of the past."""
    with new_site(emulators, **{DELAY: "36500"}) as site:
        load_model.load(site.warehouse, site.artifacts, site.settings)
        yield site


@pytest.fixture(scope="module")
def scoring(site) -> Iterator[Served]:
    """The function."""
    with serving("score_stream", site.environment) as function:
        yield function


def first_day(user: str, **further: Any) -> list[dict[str, Any]]:
    """Return a registration and two bets within its first day."""
    return [
        registration(user_id=user, **further),
        bet(user_id=user, event_id="b1", event_time="2026-03-01T13:00:00Z"),
        bet(user_id=user, event_id="b2", event_time="2026-03-02T11:59:59Z"),
    ]


def store(site: Deployment, events: list[dict[str, Any]]) -> None:
    """Store events as they are when they are published on."""
    site.store(rows_of(events, received_at=datetime.now(UTC)))


def logged(site: Deployment, user: str) -> list[dict[str, Any]]:
    """Return the scores of a user, in order."""
    return site.rows(
        "SELECT * FROM inference_log WHERE user_id = @user ORDER BY scored_at",
        user=user,
    )


class TestScores:
    def test_an_event_of_the_first_day(self, site, scoring, user):
        """It is logged with what the model was given, and published."""
        events = first_day(user)
        store(site, events)

        with site.pulled("scores") as pull:
            answer = scoring.post(events[1])
            [message] = pull(1)

        assert (answer.status_code, answer.json()) == (200, {"outcome": "scored"})
        [row] = logged(site, user)
        assert (row["use_case"], row["event_id"]) == (STREAMED, "b1")
        assert row["event_time"] == datetime(2026, 3, 1, 13, tzinfo=UTC)
        assert 0 < row["probability"] < 1
        assert row["model_version"] == 0
        assert row["latency_ms"] is not None
        features = json.loads(row["features"])
        assert (features["bet_count"], features["age"]) == (2, 35)
        assert features["country"] == "GB"
        score = json.loads(message.data)
        assert score["probability"] == row["probability"]
        assert score["inference_id"] == row["inference_id"]
        assert (score["user_id"], score["event_id"]) == (user, "b1")
        assert dict(message.attributes) == {"use_case": STREAMED, "event_id": "b1"}

    def test_events_together_each_of_its_own_user(self, site, scoring):
        """Events of many users that arrive at once are a score each."""
        users = [f"together-{n}-{uuid.uuid4().hex[:6]}" for n in range(20)]
        events = []
        for n, who in enumerate(users):
            events.append(registration(user_id=who))
            for k in range(1 + n % 4):
                moment = f"2026-03-01T13:00:{k:02}Z"
                events.append(bet(user_id=who, event_id=f"b{k}", event_time=moment))
        store(site, events)

        with site.pulled("scores") as pull:
            answers = scoring.post_all(events)
            messages = pull(len(events))

        assert {answer.status_code for answer in answers} == {200}
        rows = site.rows(
            "SELECT * FROM inference_log WHERE STARTS_WITH(user_id, 'together-')"
        )
        assert sorted((row["user_id"], row["event_id"]) for row in rows) == sorted(
            (event["user_id"], event["event_id"]) for event in events
        )
        counts = {
            (row["user_id"], json.loads(row["features"])["bet_count"]) for row in rows
        }
        assert counts == {(user, 1 + n % 4) for n, user in enumerate(users)}
        ids = {row["inference_id"] for row in rows}
        assert len(ids) == len(events)
        assert {json.loads(message.data)["inference_id"] for message in messages} == ids


class TestPassesOver:
    def test_an_event_after_the_first_day(self, site, scoring, user):
        """From 24 hours after the registration on nobody is scored."""
        late = bet(user_id=user, event_id="late", event_time="2026-03-02T12:00:00Z")
        store(site, [*first_day(user), late])

        answer = scoring.post(late)

        assert (answer.status_code, answer.json()) == (200, {"outcome": "scored"})
        assert logged(site, user) == []

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"{", "malformed_json"),
            (written(bet(use_case="no_such_case")), "unknown_use_case"),
            (written(bet(event_time="0001-01-02T00:00:00Z")), "bad_time"),
        ],
    )
    def test_what_is_no_enriched_event(self, site, scoring, data, reason):
        """It can never be scored: stored with the reason, and acknowledged."""
        message_id = f"broken {reason} {uuid.uuid4().hex[:6]}"

        answer = scoring.post(data, message_id=message_id)

        kept = None if reason == "malformed_json" else data
        assert (answer.status_code, answer.json()["reason"]) == (200, reason)
        [letter] = site.rows(
            "SELECT reason, raw FROM dead_letters WHERE message_id = @id", id=message_id
        )
        assert (letter["reason"], letter["raw"]) == (reason, kept)

    def test_an_event_that_is_too_late(self, site, user):
        """A query would read all days since; today's events do not wait for it."""
        now = datetime.now(UTC)
        late, today = first_day(user), f"{user}-today"
        fresh = [
            registration(user_id=today, event_time=(now - 2 * HOUR).isoformat()),
            bet(user_id=today, event_time=(now - HOUR).isoformat()),
        ]
        store(site, [*late, *fresh])
        environment = site.environment | {DELAY: "30"}
        with serving("score_stream", environment) as scoring:
            answers = scoring.post_all([*late, *fresh])

        assert {answer.status_code for answer in answers} == {200}
        assert (logged(site, user), len(logged(site, today))) == ([], 2)


class TestInTrouble:
    def test_an_instance_acknowledges_no_score_that_is_not_logged(
        self, site, scoring, user
    ):
        """While scores cannot be stored events are delivered again."""
        events = first_day(user)
        store(site, events)
        with failing(INFERENCE_LOG, Unavailable("injected")):
            refused = scoring.post(events[1])
        before = logged(site, user)
        again = scoring.post(events[1])

        assert (refused.status_code, refused.json()["retryable"]) == (503, True)
        assert again.status_code == 200
        assert (len(before), len(logged(site, user))) == (0, 1)

    def test_an_instance_acknowledges_no_score_that_is_not_published(
        self, site, scoring, user
    ):
        """A topic that is missing is a failure until it is there."""
        events = first_day(user)
        store(site, events)
        topic = site.topic("scores")
        site.publisher.delete_topic(topic=site.path(topic))
        try:
            refused = scoring.post(events[1])
        finally:
            site.create_topic(topic)

        assert refused.status_code == 500
        eventually(lambda: scoring.post(events[1]).status_code == 200, "it is there")
        assert len({row["inference_id"] for row in logged(site, user)}) == 1


NOW = datetime.now(UTC)
TAKEN = NOW - timedelta(seconds=1)
# A time that is none costs a transaction its latency, and nothing else.
NO_MOMENTS = [-5, 4e9, None, True, "soon", [1], {"a": 1}, "2999-01-01"]


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
    letters = site.rows(
        "SELECT reason, field FROM dead_letters "
        "WHERE reason IN ('bad_value', 'not_finite')"
    )
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


class TestScoresOfCards:
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
