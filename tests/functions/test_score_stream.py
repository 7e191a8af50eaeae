"""
score_stream over HTTP: an enriched event in, a probability out.

It scores players with the model that is shipped for first-day churn; their events are
stored before they are pushed, as stream_features does. Card transactions are scored by
themselves.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.functions.instances import serving
from tests.functions.scored import (
    expected,
    fitted,
    flat,
    promote,
    publish,
    transactions,
)
from tests.functions.streaming import a_site, rows_of
from tests.support.deployment import STREAMED, Deployment
from tests.support.events import bet, enriched_card, registration

NOW = datetime.now(UTC)
TAKEN = NOW - timedelta(seconds=1)


@pytest.fixture(scope="module")
def site() -> Deployment:
    """A site with a champion; events of the tests are of the past."""
    site = a_site(PROPENSITY_MAXIMUM_SCORE_DELAY_DAYS="36500")
    site.load_model()
    return site


@pytest.fixture
def name() -> str:
    """An identity of one test alone."""
    return f"t-{uuid.uuid4().hex[:8]}"


def logged(site: Deployment, names: list[str]) -> list[dict[str, Any]]:
    """Return the scores of users or transactions, by their names."""
    return site.rows(
        "SELECT * FROM inference_log WHERE user_id IN UNNEST(@names) ORDER BY user_id",
        names=names,
    )


def test_an_event_is_scored_by_all_events_of_its_user(site, user):
    """It is logged with what the model was given, and published."""
    events = [
        registration(user_id=user),
        bet(user_id=user, event_id="b1", event_time="2026-03-01T13:00:00Z"),
        bet(user_id=user, event_id="b2", event_time="2026-03-02T11:59:59Z"),
    ]
    site.store(rows_of(events, received_at=datetime.now(UTC)))
    with (
        site.pulled("scores") as pull,
        serving("score_stream", site.environment) as scoring,
    ):
        answer = scoring.post(events[1])
        [message] = pull(1)

    assert (answer.status_code, answer.json()) == (200, {"outcome": "scored"})
    [row] = logged(site, [user])
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


def test_transactions_are_scored_by_their_own_fields(site, name):
    """
    By the champion; scores are published and logged.

    The time that it took is counted from when the producer took the transaction, where
    the event says when that was. Numbers may be texts.
    """
    trees = fitted()[2]
    version = publish(site, trees)
    promote(site, version)
    rows = transactions(12)
    names = [f"{name}-{n:02}" for n in range(12)]
    sent = []
    for n, row in enumerate(rows):
        features = {key: str(value) for key, value in flat(row).items()}
        # A time that is none costs a transaction its latency, and nothing else.
        moment = TAKEN.timestamp() if n else "soon"
        own = {"event_time": NOW.isoformat(), "ingest_ts": moment}
        sent.append(enriched_card(names[n], **own, **features))
    with (
        site.pulled("scores") as pull,
        serving("score_stream", site.environment) as scoring,
    ):
        before = datetime.now(UTC)
        answers = scoring.post_all(sent)
        after = datetime.now(UTC)
        scored = [json.loads(message.data) for message in pull(12)]

    assert {answer.text for answer in answers} == {'{"outcome":"scored"}\n'}
    messages = {message["event_id"]: message for message in scored}
    stored = logged(site, names)
    assert [row["anomaly_score"] for row in stored] == pytest.approx(
        [expected(row, model=trees) for row in rows], abs=1e-12
    )
    for row in stored:
        assert (row["probability"], row["is_warm"]) == (None, True)
        assert (row["model_version"], row["user_id"]) == (version, row["event_id"])
        assert row["event_time"] == NOW
        message = messages[row["event_id"]]
        for field in ("anomaly_score", "model_version", "inference_id", "is_warm"):
            assert message[field] == row[field]
    without, *latencies = [row["latency_ms"] for row in stored]
    assert without is None
    for latency in latencies:
        assert before - TAKEN <= timedelta(milliseconds=latency) <= after - TAKEN
