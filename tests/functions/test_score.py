"""
score over HTTP: features in, a score out, every one of them logged.

How numbers are read and who is scored with whom is in ``propensity/online``.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping
from concurrent import futures
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from propensity.gcp.writes import Appends
from propensity.models.half_space_trees import HalfSpaceTrees
from tests.functions.instances import Served, serving
from tests.functions.scored import (
    expected,
    features_of,
    fitted,
    flat,
    promote,
    publish,
    transactions,
)
from tests.functions.streaming import a_site, eventually, rows_of
from tests.support.deployment import DEADLINE_S, STREAMED, Deployment
from tests.support.events import registration

SETTINGS = {
    "PROPENSITY_REFRESH_S": "1",
    "PROPENSITY_DEADLINE_S": "60",
    "PROPENSITY_USE_CASE": "ga4_purchase",
}
FEATURES = flat(transactions(1)[0])
PLAYER = {"use_case": STREAMED}
OF_PLAYER = features_of(STREAMED)
OF_DEFAULT = features_of("ga4_purchase")


@pytest.fixture(scope="module")
def site() -> Deployment:
    """A champion, which is version 0, and version 1 beside it; and one of players."""
    site = a_site(**SETTINGS)
    for model in fitted()[1:]:
        publish(site, model)
    promote(site, 0)
    site.load_model()
    return site


@pytest.fixture(scope="module")
def score(site) -> Iterator[Served]:
    with serving("score", site.environment) as function:
        yield function


@pytest.fixture
def event_id() -> str:
    """A transaction of one test alone."""
    return f"t-{uuid.uuid4().hex[:10]}"


def scored(score: Served, body: Any) -> dict[str, Any]:
    """Return the answer to a request that must be answered."""
    answer = score.ask(body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def logged(site: Deployment, *event_ids: str) -> list[dict[str, Any]]:
    """Return what was logged of events, once it is there."""

    def stored() -> list[dict[str, Any]] | None:
        rows = site.rows(
            "SELECT * FROM inference_log WHERE event_id IN UNNEST(@ids) "
            "ORDER BY event_id",
            ids=list(event_ids),
        )
        return rows if len(rows) >= len(event_ids) else None

    return list(eventually(stored, "it is logged"))


class TestAnswers:
    def test_the_payload_of_the_original(self, site, score, event_id):
        """Features at the top level, as texts, with what else it sends: the score of
        the champion, and a row of the log."""
        [row] = transactions(1)
        ingested = datetime.now(UTC) - timedelta(seconds=2)
        texts = {name: str(value) for name, value in flat(row).items()}
        beside = {"Time": "0", "transaction_id": event_id}
        answer = scored(score, texts | beside | {"ingest_ts": ingested.timestamp()})

        assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)
        assert answer["anomaly_score"] is None
        assert (answer["use_case"], answer["model_version"]) == ("card_fraud", 0)
        assert (answer["event_id"], answer["is_warm"]) == (event_id, True)
        assert 2_000 <= answer["latency_ms"] < 60_000
        assert 0 < answer["request_ms"] < answer["latency_ms"]
        [champion] = logged(site, event_id)
        for name in ("use_case", "model_version", "probability", "inference_id"):
            assert champion[name] == answer[name]
        assert champion["latency_ms"] == pytest.approx(answer["latency_ms"], abs=1e-3)
        assert champion["event_date"] == ingested.date()
        assert champion["scored_on"] == champion["scored_at"].date()
        assert json.loads(champion["features"]) == flat(row)
        assert (champion["source"], champion["is_warm"]) == ("online", True)
        assert champion["user_id"] == event_id
        assert champion["epoch"] >= 0
        assert abs(champion["event_time"] - ingested) < timedelta(milliseconds=1)

    def test_a_senseless_moment_without_a_latency(self, site, score, event_id):
        """The transaction is scored as one of now."""
        answer = scored(score, FEATURES | {"transaction_id": event_id, "ingest_ts": 1})

        [row] = logged(site, event_id)
        assert answer["probability"] is not None
        assert answer["latency_ms"] is row["latency_ms"] is None
        assert row["event_time"] == row["scored_at"]

    @pytest.mark.parametrize(
        ("written", "event_id"),
        [
            (lambda own: {"features": own, "use_case": "card_fraud"}, None),
            (lambda own: {"features": own, "use_case": None, "version": None}, None),
            (lambda own: {name: f" {v:+.17e} " for name, v in own.items()}, None),
            (lambda own: own | {"Time": "0", "Class": [1], "features_2": {}}, None),
            (lambda own: own | OF_PLAYER | {"use_case": "card_fraud"}, None),
            (lambda own: {"features": own | {"transaction_id": 17}}, "17"),
            # Around the features an identity counts before one among them.
            (lambda own: {"features": own | {"event_id": "in"}, "event_id": "o"}, "o"),
            (
                lambda own: {"features": own | {"event_id": "in"}, "event_id": None},
                "in",
            ),
        ],
    )
    def test_a_transaction_has_one_answer_however_it_is_written(
        self, score, written, event_id
    ):
        """Named or not, the use case is the one whose features these are; numbers may
        be texts, and what is no feature says nothing."""
        [row] = transactions(1, seed=3)
        answer = scored(score, written(flat(row)))

        assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)
        assert event_id in (None, answer["event_id"])

    def test_instances_are_scored_in_their_order(self, site, score, event_id):
        """A list is answered by a list, all of one version; of a thousand, too."""
        rows = transactions(5, seed=4)
        ids = [f"{event_id}-{number}" for number in range(5)]
        named = zip(rows, ids, strict=True)
        instances = [flat(row, transaction_id=name) for row, name in named]

        answer = scored(score, {"use_case": "card_fraud", "instances": instances})
        many = scored(score, {"instances": [FEATURES] * 1_000})

        predictions = answer["predictions"]
        assert len(many["predictions"]) == 1_000
        assert answer["model_version"] == 0
        assert [one["event_id"] for one in predictions] == ids
        scores = [one["probability"] for one in predictions]
        assert scores == pytest.approx([expected(row) for row in rows], abs=1e-9)
        assert [row["inference_id"] for row in logged(site, *ids)] == [
            one["inference_id"] for one in predictions
        ]

    def test_a_version_by_its_number_though_the_champion_is_damaged(self, site):
        """Who names none is told what is wrong."""
        pointer = "models/card_fraud/champion.json"
        [row] = transactions(1, seed=6)
        before = site.artifacts.read(pointer).data
        site.artifacts.overwrite(pointer, b"{")
        try:
            with serving("score", site.environment) as score:
                answer = scored(score, flat(row, version="1"))
                refused = score.ask(FEATURES | {"use_case": "card_fraud"})
        finally:
            site.artifacts.overwrite(pointer, before)

        assert (answer["model_version"], answer["probability"]) == (1, None)
        trees = expected(row, model=fitted()[2])
        assert answer["anomaly_score"] == pytest.approx(trees, abs=1e-9)
        assert (refused.status_code, refused.json()["error"]) == (500, "artifact")

    @pytest.mark.parametrize("hours", [2, 72, None])
    def test_a_user_by_fresh_features(self, site, score, user, hours):
        """What the stream has of a user is what is scored, as long as that is of
        interest; then, and of a user without features, it is 404."""
        now = datetime.now(UTC)
        if hours:
            at = (now - timedelta(hours=hours)).isoformat()
            event = registration(user_id=user, event_time=at)
            site.store(rows_of([event], received_at=now))

        answer = score.ask(PLAYER | {"user_id": user})

        body = answer.json()
        if hours == 2:
            assert 0 < body["probability"] < 1
            [row] = logged(site, body["event_id"])
            assert (body["use_case"], row["user_id"]) == (STREAMED, user)
            assert json.loads(row["features"])["bet_count"] == 0
        else:
            assert (answer.status_code, body["error"]) == (404, "unknown_user")
            assert body["probability"] is body["model_version"] is None

    def test_trees_that_are_not_warm_give_no_score_and_say_so(self, site, score):
        trees = HalfSpaceTrees(n_trees=5, height=5, window_size=1000)
        version = publish(site, trees.fit(transactions(10)))
        answer = scored(score, FEATURES | {"version": version})

        for one in (answer, *logged(site, answer["event_id"])):
            assert (one["model_version"], one["is_warm"]) == (version, False)
            assert one["probability"] is one["anomaly_score"] is None


LACKING = {name: value for name, value in FEATURES.items() if name != "V3"}
WRONG: Mapping[str, tuple[Any, int, str | None]] = {
    "not JSON": (b'{"a": "\xed\xa0\x80"}', 400, "body"),
    "nothing": ({}, 400, "features"),
    "few": ({"features": {"V1": 1}}, 400, "features.V2"),
    "features of two use cases": (FEATURES | OF_PLAYER, 400, next(iter(OF_DEFAULT))),
    "one lacks one": ({"instances": [FEATURES, LACKING]}, 400, "instances[1].V3"),
    **{
        f"a number that is {str(value)[:9]}": (FEATURES | {"V3": value}, 400, "V3")
        for value in ("much", "NaN", "0x10", True, float("inf"), 10**400)
    },
    "a text that is none": (
        PLAYER | {"features": OF_PLAYER | {"country": 3}},
        400,
        "features.country",
    ),
    "no identity": (FEATURES | {"transaction_id": 1.5}, 400, "transaction_id"),
    "an instance that is none": ({"instances": [FEATURES, 3]}, 400, "instances[1]"),
    "too many instances": ({"instances": [FEATURES] * 1_001}, 413, "instances"),
    "two ways at once": ({"features": FEATURES, "instances": None}, 400, "instances"),
    "an empty user": (PLAYER | {"user_id": ""}, 400, "user_id"),
    "an unknown version": (FEATURES | {"version": 99}, 404, "version"),
    "no version": (FEATURES | {"version": "new"}, 400, "version"),
    "an unknown use case": (FEATURES | {"use_case": "no_such"}, 400, "use_case"),
    "a user of events": ({"use_case": "card_fraud", "user_id": "u"}, 400, "user_id"),
    "a feature twice": (json.dumps(FEATURES).encode()[:-1] + b', "V3": 1}', 400, "V3"),
    "no champion": ({"use_case": "ga4_purchase", "features": OF_DEFAULT}, 409, None),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_scored_is_refused_by_its_field(score, case):
    body, status, field = WRONG[case]
    answer = score.ask(body)

    assert answer.status_code == status, answer.text
    assert answer.json().get("field") == field, answer.text
    assert answer.json()["retryable"] is False


def test_only_a_post_of_json_to_the_root_is_served(score):
    get = requests.get(score.url, timeout=DEADLINE_S)
    path = requests.post(f"{score.url}path", json=FEATURES, timeout=DEADLINE_S)
    text = requests.post(score.url, data=b"{}", timeout=DEADLINE_S)

    assert (get.status_code, get.headers["allow"]) == (405, "POST")
    assert (path.status_code, path.json()["error"]) == (404, "no_such_path")
    assert (text.status_code, text.json()["field"]) == (415, "Content-Type")


def test_all_that_was_answered_is_logged_before_the_function_ends(
    site, event_id, monkeypatch
):
    """After the platform's signal it takes the time, also where the table is slow."""
    append = Appends.append

    async def slow(self: Appends, table: Any, rows: Any) -> dict[int, str]:
        await asyncio.sleep(0.3)
        return await append(self, table, rows)

    monkeypatch.setattr(Appends, "append", slow)
    with (
        futures.ThreadPoolExecutor(16) as pool,
        serving("score", site.environment) as score,
    ):

        def status(number: int) -> int:
            try:
                named = {"transaction_id": f"{event_id}-{number}"}
                return score.ask(FEATURES | named).status_code
            except requests.RequestException:
                return 0

        assert status(0) == 200
        pending = [pool.submit(status, number) for number in range(1, 100)]
        futures.wait(pending[:30])
    n_answers = 1 + sum(future.result() == 200 for future in pending)

    [counted] = site.rows(
        "SELECT COUNT(DISTINCT event_id) AS n "
        "FROM inference_log WHERE STARTS_WITH(event_id, @prefix)",
        prefix=event_id,
    )
    assert counted["n"] >= n_answers >= 30
