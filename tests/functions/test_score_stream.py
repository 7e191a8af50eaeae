"""
score_stream over HTTP: an enriched transaction in, a score out.

Users are scored by all of their events in ``tests/usecases/first_day_churn``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

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
from tests.functions.streaming import a_site
from tests.support.events import enriched_card

NOW = datetime.now(UTC)
TAKEN = NOW - timedelta(seconds=1)


def test_transactions_are_scored_by_their_own_fields():
    """
    By the champion; scores are published and logged.

    The time that it took is counted from when the producer took the transaction, where
    the event says when that was. Numbers may be texts.
    """
    site = a_site(PROPENSITY_MAXIMUM_SCORE_DELAY_DAYS="36500")
    trees = fitted()[2]
    version = publish(site, trees)
    promote(site, version)
    rows = transactions(12)
    names = [f"t{n:02}" for n in range(12)]
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
        pulled = pull(12)

    assert {answer.text for answer in answers} == {'{"outcome":"scored"}\n'}
    messages = {}
    for one in pulled:
        message = json.loads(one.data)
        messages[message["event_id"]] = message
        own = {name: message[name] for name in ("use_case", "event_id")}
        assert dict(one.attributes) == own
    stored = site.rows("SELECT * FROM inference_log ORDER BY user_id")
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
