"""score over HTTP: features in, a score out, every one of them logged."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent import futures
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import requests

from propensity import usecases
from propensity.gcp.writes import Appends
from propensity.models.half_space_trees import HalfSpaceTrees
from tests.functions.instances import Served, serving
from tests.functions.scored import (
    NAMES,
    expected,
    fitted,
    flat,
    promote,
    publish,
    transactions,
)
from tests.functions.streaming import eventually, new_site, rows_of
from tests.support.deployment import DEADLINE_S, Deployment
from tests.support.events import bet, registration

PLAYERS = "first_day_churn"
SETTINGS = {
    "PROPENSITY_REFRESH_S": "1",
    "PROPENSITY_DEADLINE_S": "60",
    "PROPENSITY_USE_CASE": "ga4_purchase",
}


def features_of(use_case: str) -> dict[str, Any]:
    """Return a value for each feature of a use case."""
    features = usecases.load(use_case).features
    return {name: 1 if kind == "number" else "x" for name, kind in features.items()}


FEATURES = flat(transactions(1)[0])
PLAYER = {"use_case": PLAYERS}
OF_PLAYER = features_of(PLAYERS)
OF_DEFAULT = features_of("ga4_purchase")


@pytest.fixture(scope="module")
def site(emulators) -> Iterator[Deployment]:
    """A champion, which is version 0, and version 1 beside it; and one of players."""
    with new_site(emulators, **SETTINGS) as site:
        for model in fitted()[1:]:
            publish(site, model)
        promote(site, 0)
        site.load_model()
        yield site


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
        the champion, and a row of the log. An unknown version is refused by name."""
        [row] = transactions(1)
        ingested = datetime.now(UTC) - timedelta(seconds=2)
        texts = {name: str(value) for name, value in flat(row).items()}
        beside = {"Time": "0", "transaction_id": event_id}
        body = texts | beside | {"ingest_ts": ingested.timestamp()}

        answer = scored(score, body)
        refused = score.ask(body | {"version": 20})

        assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)
        assert answer["anomaly_score"] is None
        assert (answer["use_case"], answer["model_version"]) == ("card_fraud", 0)
        assert (answer["event_id"], answer["is_warm"]) == (event_id, True)
        assert 2_000 <= answer["latency_ms"] < 60_000
        assert 0 < answer["request_ms"] < answer["latency_ms"]
        assert (refused.status_code, refused.json()["field"]) == (404, "version")
        assert refused.json()["error"] == "unknown_version"
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
        "written",
        [
            lambda features: {"features": features},
            lambda features: {"features": features, "use_case": "card_fraud"},
            lambda features: {"features": features, "use_case": None, "version": None},
            lambda features: {name: f" {v:+.17e} " for name, v in features.items()},
            lambda features: features | {"Time": "0", "Class": [1], "features_2": {}},
            lambda features: features | OF_PLAYER | {"use_case": "card_fraud"},
        ],
        ids=["features", "named", "nulls", "texts", "other fields", "other features"],
    )
    def test_a_transaction_has_one_answer_however_it_is_written(self, score, written):
        """Named or not, the use case is the one whose features these are; numbers may
        be texts, and what is no feature says nothing."""
        [row] = transactions(1, seed=3)
        answer = scored(score, written(flat(row)))

        assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)
        assert len(answer["event_id"]) == 32

    def test_categories_are_scored_as_they_are(self, site, score, event_id):
        """A text or null, logged in the order of the features."""
        for country in ("GB", None):
            own = {"country": country, "event_id": f"{event_id}{country}"}
            scored(score, PLAYER | {"features": OF_PLAYER | own})

        rows = logged(site, f"{event_id}GB", f"{event_id}None")
        features = [json.loads(row["features"]) for row in rows]
        assert [feature["country"] for feature in features] == ["GB", None]
        assert list(features[0]) == list(OF_PLAYER)

    @pytest.mark.parametrize(
        ("nested", "prefix"),
        [
            (lambda item: item, ""),
            (lambda item: {"features": item}, "features."),
            (lambda item: {"instances": [item]}, "instances[0]."),
        ],
    )
    def test_an_identity_beside_or_among_features(self, score, nested, prefix):
        """Beside the features or among them, where a wrong identity is named."""
        moment = {"ingest_ts": (time.time() - 2) * 1e3}
        answer = scored(score, nested(FEATURES | moment | {"transaction_id": 17}))
        [one] = answer.get("predictions", [answer])

        assert one["event_id"] == "17"
        assert 2_000 <= one["latency_ms"] < 60_000
        for wrong in ("", True, 1.5, 2**53, "x" * 257, "a\nb", "\ud800"):
            refused = score.ask(nested(FEATURES | {"transaction_id": wrong}))
            assert refused.status_code == 400
            assert refused.json()["field"] == f"{prefix}transaction_id"

    @pytest.mark.parametrize(
        ("around", "among", "named"),
        [
            ({"transaction_id": "out"}, True, "out"),
            ({"event_id": "out"}, "in", "out"),
            ({"transaction_id": None, "event_id": None}, "in", "in"),
        ],
    )
    def test_an_identity_around_before_one_among(self, score, around, among, named):
        """And so is the moment around features. A null is no identity."""
        inner = {"transaction_id": among, "ingest_ts": time.time() - 2}
        outer = around | {"ingest_ts": time.time() - 60}
        answer = scored(score, {"features": FEATURES | inner} | outer)

        assert answer["event_id"] == named
        assert answer["latency_ms"] >= 60_000

    def test_instances_are_scored_in_their_order(self, site, score, event_id):
        """A list is answered by a list, all of one version; of a thousand, too."""
        rows = transactions(5, seed=4)
        ids = [f"{event_id}-{deployment}" for deployment in range(5)]
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

    @pytest.mark.parametrize("version", [1, "1"])
    def test_a_version_by_its_number(self, score, version):
        """That very version scores, as a number or as a text."""
        [row] = transactions(1, seed=6)
        answer = scored(score, flat(row, version=version))

        assert (answer["model_version"], answer["probability"]) == (1, None)
        trees = expected(row, model=fitted()[2])
        assert answer["anomaly_score"] == pytest.approx(trees, abs=1e-9)

    def test_a_version_by_its_number_though_the_champion_is_damaged(self, site):
        """Who names none is told what is wrong."""
        pointer = "models/card_fraud/champion.json"
        before = site.artifacts.read(pointer).data
        site.artifacts.overwrite(pointer, b"{")
        try:
            with serving("score", site.environment) as score:
                answer = scored(score, FEATURES | {"version": 1})
                refused = score.ask(FEATURES | {"use_case": "card_fraud"})
        finally:
            site.artifacts.overwrite(pointer, before)

        assert answer["model_version"] == 1
        assert (refused.status_code, refused.json()["error"]) == (500, "artifact")

    def test_a_null_where_training_fills_gaps(self, site, score, event_id):
        """It is scored as training would have, and logged as null."""
        [row] = transactions(1, seed=7)
        row[3] = np.nan
        body = flat(row, transaction_id=event_id) | {NAMES[3]: None}
        answer = scored(score, body)

        assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)
        assert json.loads(logged(site, event_id)[0]["features"])[NAMES[3]] is None

    def test_a_user_by_fresh_features(self, site, score, user):
        """What the stream has of a user is what is scored, as long as they are."""
        now = datetime.now(UTC)
        first = {"user_id": user, "event_time": (now - timedelta(hours=2)).isoformat()}
        events = [registration(**first), bet(event_id="b1", **first)]
        site.store(rows_of(events, received_at=now))

        answer = scored(score, PLAYER | {"user_id": user, "ingest_ts": 1})

        assert 0 < answer["probability"] < 1
        assert (answer["use_case"], answer["user_id"]) == (PLAYERS, user)
        [row] = logged(site, answer["event_id"])
        assert row["user_id"] == user
        assert json.loads(row["features"])["bet_count"] == 1

    @pytest.mark.parametrize("late", [None, timedelta(days=3)])
    def test_nobody_for_an_unknown_user(self, site, score, user, late):
        """Without features, or after the time that is of interest, it is 404."""
        now = datetime.now(UTC)
        if late:
            event = registration(user_id=user, event_time=(now - late).isoformat())
            site.store(rows_of([event], received_at=now))

        answer = score.ask(PLAYER | {"user_id": user})

        body = answer.json()
        assert (answer.status_code, body["error"]) == (404, "unknown_user")
        assert body["probability"] is body["model_version"] is None


LACKING = {name: value for name, value in FEATURES.items() if name != "V3"}
WRONG: Mapping[str, tuple[Any, int, str | None]] = {
    **{
        f"body {body[:9]!r}": (body, 400, "body")
        for body in (b"", b"[1]", b"3", b'{"a": "\xed\xa0\x80"}', b"[" * 5_000)
    },
    "nothing": ({}, 400, "features"),
    "one feature": ({"V1": 1, "ingest_ts": 1}, 400, "V2"),
    "few": ({"features": {"V1": 1}}, 400, "features.V2"),
    "features of two use cases": (FEATURES | OF_PLAYER, 400, next(iter(OF_DEFAULT))),
    "a missing feature": ({"use_case": "card_fraud"} | LACKING, 400, "V3"),
    "one lacks one": ({"instances": [FEATURES, LACKING]}, 400, "instances[1].V3"),
    **{
        f"a number that is {str(value)[:9]}": (FEATURES | {"V3": value}, 400, "V3")
        for value in (
            "much",
            "",
            "NaN",
            "-Infinity",
            "1_000",
            "0x10",
            "٣",
            True,
            {},
            float("nan"),
            float("inf"),
            10**400,
        )
    },
    **{
        f"a text that is {str(value)[:9]!r}": (
            PLAYER | {"features": OF_PLAYER | {"country": value}},
            400,
            "features.country",
        )
        for value in (3, "\ud800", "x" * 5_000)
    },
    "an instance that is none": ({"instances": [FEATURES, 3]}, 400, "instances[1]"),
    "no instances": ({"instances": []}, 400, "instances"),
    "too many instances": ({"instances": [FEATURES] * 1_001}, 413, "instances"),
    "two ways at once": ({"features": FEATURES, "instances": None}, 400, "instances"),
    "instances and a user": ({"instances": [FEATURES], "user_id": "u"}, 400, "user_id"),
    "an empty user": (PLAYER | {"user_id": ""}, 400, "user_id"),
    "a user that is none": (PLAYER | {"user_id": None}, 400, "user_id"),
    "features that are none": ({"features": 3}, 400, "features"),
    **{
        f"version {version!r}": (FEATURES | {"version": version}, status, "version")
        for status, version in (
            *((404, unknown) for unknown in (99, -1, 10**30, "12")),
            *((400, no_version) for no_version in (True, 1.0, "new", "", [1])),
        )
    },
    "an unknown use case": (FEATURES | {"use_case": "no_such"}, 400, "use_case"),
    "a use case that is none": (FEATURES | {"use_case": 3}, 400, "use_case"),
    "a user of events": ({"use_case": "card_fraud", "user_id": "u"}, 400, "user_id"),
    "a value beyond computing": (FEATURES | {"Amount": 1e308}, 400, "Amount"),
    "a feature twice": (json.dumps(FEATURES).encode()[:-1] + b', "V3": 1}', 400, "V3"),
    "no champion": ({"use_case": "ga4_purchase", "features": OF_DEFAULT}, 409, None),
}


class TestRefuses:
    @pytest.mark.parametrize("case", WRONG)
    def test_what_it_cannot_score(self, score, case):
        """The answer is JSON and names the field at fault."""
        body, status, field = WRONG[case]
        answer = score.ask(body)

        assert answer.status_code == status, answer.text
        assert answer.json().get("field") == field, answer.text
        assert answer.json()["retryable"] is False

    def test_another_method_path_or_type(self, score):
        """Only a POST of JSON to the root is served."""
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

    async def slow(self: Appends, table: Any, rows: Any) -> None:
        await asyncio.sleep(0.3)
        await append(self, table, rows)

    monkeypatch.setattr(Appends, "append", slow)
    with (
        futures.ThreadPoolExecutor(16) as pool,
        serving("score", site.environment) as score,
    ):

        def status(deployment: int) -> int:
            try:
                named = {"transaction_id": f"{event_id}-{deployment}"}
                return score.ask(FEATURES | named).status_code
            except requests.RequestException:
                return 0

        assert status(0) == 200
        pending = [pool.submit(status, deployment) for deployment in range(1, 100)]
        futures.wait(pending[:30])
    n_answers = 1 + sum(future.result() == 200 for future in pending)

    [counted] = site.rows(
        "SELECT COUNT(DISTINCT event_id) AS n "
        "FROM inference_log WHERE STARTS_WITH(event_id, @prefix)",
        prefix=event_id,
    )
    assert counted["n"] >= n_answers >= 30


class TestVersions:
    def test_versions_that_are_not_warm_say_so(self, site, score):
        """Trees that have not seen a window give no score, and say why."""
        trees = HalfSpaceTrees(n_trees=5, height=5, window_size=1000)
        version = publish(site, trees.fit(transactions(10)))
        answer = scored(score, FEATURES | {"version": version})

        for one in (answer, *logged(site, answer["event_id"])):
            assert (one["model_version"], one["is_warm"]) == (version, False)
            assert one["probability"] is one["anomaly_score"] is None
