"""
Card transactions on the stream, specified: taken, scored, and their truths stored.

``stream_features`` and ``score_stream`` are served from their staged sources, as they
are deployed. Between them and the Storage Write API is a proxy that can refuse.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import grpc
import pytest
from sklearn.linear_model import LogisticRegression

from propensity.models.half_space_trees import HalfSpaceTrees
from tests.events import bet, transaction, truth, written
from tests.functions.card_place import (
    NOW,
    ROWS,
    enriched,
    features_of,
    name,
    of_event,
    place,
)
from tests.functions.streaming import eventually

# Fixtures.
__all__ = ["name", "place"]


def forest(rows: int) -> HalfSpaceTrees:
    """Return trees that have seen some rows; they are warm from 100 on."""
    trees = HalfSpaceTrees(n_trees=5, height=4, window_size=100, random_state=1)
    return trees.fit(ROWS[:rows])


def regression(flipped: bool = False) -> LogisticRegression:
    label = ROWS[:, 0] > 0
    return LogisticRegression().fit(ROWS, (~label if flipped else label).astype(int))


@pytest.fixture(autouse=True)
def sound(place) -> Iterator[None]:
    """Whatever a test makes of the way to BigQuery, the next finds it sound."""
    yield
    place.writes.rule = lambda _: None


class TestIntake:
    def test_takes_transactions_truths_and_all_others_together(self, place, name):
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
        before = place.letters()
        with place.site.pulled("enriched") as pull:
            first = place.intake.post_all(sent)
            again = place.intake.post_all(sent)
            messages = pull(40)

        for answers in (first, again):
            assert {answer.status_code for answer in answers} == {200}
            fields = [answer.json().get("field") for answer in answers]
            assert fields == [*[None] * 30, *["V3"] * 10, *["is_fraud"] * 10]
        stored = of_event(place.site, "stream_events", names)
        assert {
            (row["use_case"], row["event_type"], row["user_id"] == row["event_id"])
            for row in stored
        } == {
            ("card_fraud", "card_transaction", True),
            ("first_day_churn", "new_bet", False),
        }
        keys = ("use_case", "user_id", "event_date", "event_id")
        assert len(stored) == 40
        assert len({tuple(row[key] for key in keys) for row in stored}) == 20
        truths = of_event(place.site, "truth_events", names)
        assert [row["event_id"] for row in truths] == sorted([*names, *names])
        assert {(row["label"], row["use_case"]) for row in truths} == {
            (0, "card_fraud")
        }
        assert place.letters() - before == {
            ("bad_value", "is_fraud"): 20,
            ("not_finite", "V3"): 20,
        }
        enriched_events = [json.loads(message.data) for message in messages]
        assert {message["event_type"] for message in enriched_events} == {
            "card_transaction",
            "new_bet",
        }
        cards = [
            message
            for message in enriched_events
            if message["event_type"] == "card_transaction"
        ]
        assert sorted(card["event_id"] for card in cards) == sorted([*names, *names])
        assert {(card["Amount"], card["use_case"]) for card in cards} == {
            ("12.5", "card_fraud")
        }

    @pytest.mark.parametrize(
        ("sent", "table"),
        [
            (transaction(), "stream_events"),
            (truth(), "truth_events"),
            (transaction(V3="NaN"), "dead_letters"),
        ],
    )
    def test_acknowledges_nothing_that_is_not_stored(self, place, name, sent, table):
        """While its table takes no rows it comes again; a dead letter does, too."""
        event, before = {**sent, "transaction_id": name}, place.letters()
        place.writes.rule = lambda append: (
            grpc.StatusCode.UNAVAILABLE if append.table == table else None
        )

        refused = place.intake.post(event)
        place.writes.rule = lambda _: None
        eventually(
            lambda: place.intake.post(event).status_code == 200, "rows are stored"
        )

        assert (refused.status_code, refused.json()["retryable"]) == (503, True)
        if table == "dead_letters":
            assert place.letters() - before == {("not_finite", "V3"): 1}
        else:
            assert len(of_event(place.site, table, [name])) == 1


class TestScores:
    """Each test says what serves."""

    def test_are_of_the_event_itself(self, place):
        """
        The champion's, of each transaction's own fields, published and logged.

        The time that it took is counted from when the producer took the transaction.
        """
        model = forest(400)
        epoch = place.promote(place.publish(model))
        names = [f"own-{n}-{uuid.uuid4().hex[:6]}" for n in range(40)]
        sent = [
            enriched(name, **{k: str(v) for k, v in features_of(n).items()})
            for n, name in enumerate(names)
        ]
        with place.site.pulled("scores") as pull:
            before = datetime.now(UTC)
            answers = place.scoring.post_all(sent)
            after = datetime.now(UTC)
            scored = [json.loads(message.data) for message in pull(40)]

        assert {answer.status_code for answer in answers} == {200}
        messages = {message["event_id"]: message for message in scored}
        rows = {row["event_id"]: row for row in place.logged(*names)}
        expected = model.predict_proba(ROWS[:40])[:, 1]
        scores = [rows[name]["anomaly_score"] for name in names]
        assert scores == pytest.approx(expected, abs=1e-12)
        for event_id, row in rows.items():
            assert (row["probability"], row["is_warm"]) == (None, True)
            assert (row["epoch"], row["user_id"]) == (epoch, event_id)
            assert row["event_time"] == NOW
            since = before - (NOW - timedelta(seconds=1))
            until = after - (NOW - timedelta(seconds=1))
            assert since <= timedelta(milliseconds=row["latency_ms"]) <= until
            message = messages[event_id]
            assert (message["probability"], message["is_warm"]) == (None, True)
            for field in ("anomaly_score", "model_version", "inference_id"):
                assert message[field] == row[field]

    def test_wait_for_a_model_that_has_seen_enough(self, place, name):
        """What is not warm says so, and has no score that could be taken for one."""
        version = place.publish(forest(40))
        place.promote(version)
        with place.site.pulled("scores") as pull:
            assert place.scoring.post(enriched(name)).status_code == 200
            place.promote(place.publish(regression()))
            event_ids = {json.loads(message.data)["event_id"] for message in pull(1)}

        [row] = place.logged(name)
        assert (row["model_version"], row["is_warm"]) == (version, False)
        assert (row["probability"], row["anomaly_score"]) == (None, None)
        assert name not in event_ids

    def test_are_given_whatever_the_moment_of_a_transaction_is(self, place, name):
        """It is for the latency alone: scored, and the latency null."""
        place.promote(place.publish(regression()))
        moments = [1, -5, 4e9, None, True, "soon", [1], {"a": 1}, "2999-01-01"]
        names = [f"{name}-{number}" for number in range(len(moments))]

        answers = place.scoring.post_all(
            enriched(event_id, ingest_ts=moment)
            for event_id, moment in zip(names, moments, strict=True)
        )

        assert {answer.text for answer in answers} == {'{"outcome":"scored"}\n'}
        rows = place.logged(*names)
        assert len(rows) == len(names)
        for row in rows:
            assert row["probability"] is not None
            assert row["latency_ms"] is None


class TestFromEndToEnd:
    def test_a_transaction_is_scored_as_it_happens(self, place, name):
        """A bare transaction goes from the topic of events through both functions to
        the topic of scores."""
        site = place.site
        place.promote(place.publish(regression()))
        with site.pulled("scores") as pull:
            subscriptions = [
                site.subscribe(site.topic("events"), endpoint=place.intake.url),
                site.subscribe(site.topic("enriched"), endpoint=place.scoring.url),
            ]
            event = written(transaction(transaction_id=name, ingest_ts=...))
            site.publish(site.topic("events"), [{"data": event}])
            [score] = [json.loads(message.data) for message in pull(1)]
            for subscription in subscriptions:
                site.unsubscribe(subscription)

        assert (score["event_id"], score["use_case"]) == (name, "card_fraud")
        assert 0 <= score["probability"] <= 1
        [row] = place.logged(name)
        assert row["latency_ms"] > 0
        assert row["inference_id"] == score["inference_id"]


class TestCompaction:
    def test_has_no_tile_of_a_transaction_and_exports_it(self, place, name):
        """Transactions are no users with features; their days are exported whole."""
        player = f"player-{name}"
        sent = [transaction(transaction_id=name), bet(user_id=player)]
        assert {answer.status_code for answer in place.intake.post_all(sent)} == {200}
        event = enriched(name, event_time="2026-03-01T12:00:00Z")
        assert place.scoring.post(event).status_code == 200

        before = place.site.features()[player]
        place.site.compact(datetime.now(UTC), as_of=date(2027, 1, 1))
        place.site.compact(datetime.now(UTC) + timedelta(hours=1))

        assert place.site.features()[player] == before
        assert {row["use_case"] for row in place.site.tiles()} == {"first_day_churn"}
        views = place.site.rows("SELECT DISTINCT use_case FROM stream_features")
        assert [row["use_case"] for row in views] == ["first_day_churn"]
        for table in ("stream_events", "inference_log"):
            rows = place.site.exported(table)["date=2026-03-01"]
            [row] = [row for row in rows if row["event_id"] == name]
            assert row["use_case"] == "card_fraud"
