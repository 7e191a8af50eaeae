"""
score, specified over HTTP: features in, a score out, every one of them logged.

The function is served from its staged source, in an environment that holds its own
requirements only. Small models of card fraud are published as training publishes them:
a classifier serves, and one of Half-Space Trees can be named.
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Mapping
from concurrent import futures
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import requests

from deploy import stage
from local.stack.state import ROOT
from propensity.models.half_space_trees import HalfSpaceTrees
from tests.events import bet, registration
from tests.functions.instances import Instance, python_of
from tests.functions.scored import (
    FEATURES,
    NAMES,
    OF_DEFAULT,
    OF_PLAYER,
    PLAYER,
    PLAYERS,
    ask,
    event_id,
    every,
    expected,
    fitted,
    flat,
    instance,
    logged,
    post,
    promote,
    publish,
    site,
    transactions,
    without,
    writes,
)
from tests.functions.streaming import DEADLINE_S, eventually, rows_of
from tests.programs import execute

# Fixtures.
__all__ = ["event_id", "every", "instance", "site", "writes"]

# A request of the system that this replaces, with made-up figures.
ORIGINAL = b"""{"V1": "-1.36", "V2": "-0.0728", "V3": "2.536", "V4": "1.378",
 "V5": "-0.338", "V6": "0.462", "V7": "0.24", "V8": "0.0987", "V9": "0.364",
 "V10": "0.0908", "V11": "-0.552", "V12": "-0.618", "V13": "-0.991", "V14": "-0.311",
 "V15": "1.468", "V16": "-0.47", "V17": "0.208", "V18": "0.0258", "V19": "0.404",
 "V20": "0.251", "V21": "-0.0183", "V22": "0.278", "V23": "-0.11", "V24": "0.0669",
 "V25": "0.129", "V26": "-0.189", "V27": "0.134", "V28": "-0.0211",
 "Amount": "149.62", "ingest_ts": 1, "version": 20}"""


class TestAnswers:
    def test_the_payload_of_the_original(self, site, instance, event_id):
        """Features at the top level, as texts, with what else it sends: the score of
        the champion, and a row of the log."""
        [row] = transactions(1)
        ingested = datetime.now(UTC) - timedelta(seconds=2)
        texts = {name: str(value) for name, value in flat(row).items()}
        beside = {"Time": "0", "transaction_id": event_id}

        answer = ask(instance, texts | beside | {"ingest_ts": ingested.timestamp()})

        assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)
        assert answer["anomaly_score"] is None
        assert (answer["use_case"], answer["model_version"]) == ("card_fraud", 0)
        assert answer["is_warm"] is True
        assert answer["event_id"] == event_id
        assert 2_000 <= answer["latency_ms"] < 60_000
        assert 0 < answer["request_ms"] < answer["latency_ms"]
        [champion] = logged(site, event_id)
        for name in ("use_case", "model_version", "probability", "anomaly_score"):
            assert champion[name] == answer[name]
        assert champion["inference_id"] == answer["inference_id"]
        assert champion["latency_ms"] == pytest.approx(answer["latency_ms"], abs=1e-3)
        assert champion["event_date"] == ingested.date()
        assert champion["scored_on"] == champion["scored_at"].date()
        assert json.loads(champion["features"]) == flat(row)
        assert (champion["source"], champion["is_warm"]) == ("online", True)
        assert (champion["event_id"], champion["user_id"]) == (event_id, event_id)
        assert champion["epoch"] >= 0
        assert abs(champion["event_time"] - ingested) < timedelta(milliseconds=1)

    def test_the_request_of_the_original_as_it_is(self, site, instance):
        """A senseless moment costs the latency alone; an unknown version is refused by
        its name."""
        body = json.loads(ORIGINAL)
        refused = post(instance, ORIGINAL)
        del body["version"]
        answer = ask(instance, body)

        assert refused.status_code == 404
        assert refused.json()["error"] == "unknown_version"
        assert refused.json()["field"] == "version"
        assert "20" in refused.json()["message"]
        assert (answer["use_case"], answer["model_version"]) == ("card_fraud", 0)
        assert answer["probability"] is not None
        assert answer["latency_ms"] is None
        [row] = logged(site, answer["event_id"])
        assert row["latency_ms"] is None
        assert row["event_time"] == row["scored_at"]

    def test_one_transaction_however_it_is_written(self, instance):
        """Named or not, the use case is the one whose features these are; numbers may
        be texts, and what is no feature says nothing."""
        [row] = transactions(1, seed=3)
        features = flat(row)
        for body in (
            {"features": features},
            {"features": features, "use_case": "card_fraud"},
            {"features": features, "use_case": None, "version": None},
            {name: f" {value:+.17e} " for name, value in features.items()},
            features | {"Time": "0", "Class": [1], "features_2": {}},
            features | OF_PLAYER | {"use_case": "card_fraud"},
        ):
            answer = ask(instance, body)

            assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)
            assert len(answer["event_id"]) == 32

    def test_categories_as_they_are(self, site, instance, event_id):
        """A text or null, logged in the order of the features."""
        for country in ("GB", None):
            player = OF_PLAYER | {
                "country": country,
                "event_id": f"{event_id}{country}",
            }
            ask(instance, PLAYER | {"features": player})

        rows = logged(site, f"{event_id}GB", f"{event_id}None")
        features = [json.loads(row["features"]) for row in rows]
        assert [feature["country"] for feature in features] == ["GB", None]
        assert list(features[0]) == list(OF_PLAYER)

    @pytest.mark.parametrize(
        ("way", "prefix"),
        [("", ""), ("features", ""), ("instances", "instances[0].")],
    )
    def test_an_identity_and_a_moment(self, instance, way, prefix):
        """Beside the features or among them, where a wrong identity is named; one
        beside them goes first."""

        def body(**further: Any) -> dict[str, Any]:
            identity = {"transaction_id": 17, "ingest_ts": (time.time() - 2) * 1e3}
            inner = FEATURES | identity | further
            whole = {"": inner, "features": {way: inner}, "instances": {way: [inner]}}
            return whole[way]

        answer = ask(instance, body())
        [scored] = answer.get("predictions", [answer])

        assert scored["event_id"] == "17"
        assert 2_000 <= scored["latency_ms"] < 60_000
        for wrong in ("", True, 1.5, 2**53, "x" * 257, "a\nb", "\ud800"):
            refused = post(instance, body(transaction_id=wrong))
            assert refused.status_code == 400
            assert refused.json()["field"] == f"{prefix}transaction_id"
        if way == "features":
            outer = {"transaction_id": "outer", "ingest_ts": time.time() - 60}
            answer = ask(instance, body() | outer)
            assert answer["event_id"] == "outer"
            assert answer["latency_ms"] >= 60_000

    def test_instances_in_their_order(self, site, instance, event_id):
        """A list is answered by a list, all of one version; of a thousand, too."""
        rows = transactions(5, seed=4)
        ids = [f"{event_id}-{place}" for place in range(5)]
        instances = [
            flat(row, transaction_id=name) for row, name in zip(rows, ids, strict=True)
        ]

        answer = ask(instance, {"use_case": "card_fraud", "instances": instances})
        many = ask(instance, {"instances": [FEATURES] * 1_000})

        assert len(many["predictions"]) == 1_000
        assert answer["model_version"] == 0
        predictions = answer["predictions"]
        assert [row["event_id"] for row in predictions] == ids
        assert [row["probability"] for row in predictions] == pytest.approx(
            [expected(row) for row in rows], abs=1e-9
        )
        assert [row["inference_id"] for row in logged(site, *ids)] == [
            row["inference_id"] for row in predictions
        ]

    @pytest.mark.parametrize("version", [1, "1"])
    def test_a_version_by_its_number(self, instance, version):
        """That very version scores, as a number or as a text."""
        [row] = transactions(1, seed=6)
        answer = ask(instance, flat(row, version=version))

        assert answer["model_version"] == 1
        assert answer["probability"] is None
        score = expected(row, model=fitted()[2])
        assert answer["anomaly_score"] == pytest.approx(score, abs=1e-9)

    def test_a_null_where_training_fills_gaps(self, site, instance, event_id):
        """It is scored as training would have, and logged as null."""
        [row] = transactions(1, seed=7)
        row[3] = np.nan

        body = flat(row, transaction_id=event_id) | {NAMES[3]: None}
        answer = ask(instance, body)

        assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)
        assert json.loads(logged(site, event_id)[0]["features"])[NAMES[3]] is None

    def test_a_transaction_again_under_its_own_name(self, instance, event_id):
        """The same transaction and version is the same inference; others are others."""
        [row] = transactions(1, seed=8)
        body = flat(row, transaction_id=event_id)

        same = {ask(instance, body)["inference_id"] for _ in range(2)}
        other = ask(instance, body | {"version": 1})["inference_id"]
        unnamed = {ask(instance, flat(row))["inference_id"] for _ in range(2)}

        assert len(same) == 1
        assert len(same | {other} | unnamed) == 4

    def test_a_user_by_fresh_features(self, site, instance):
        """What the stream has of a user is what is scored, as long as they are."""
        user = f"user-{uuid.uuid4().hex[:8]}"
        now = datetime.now(UTC)
        first = (now - timedelta(hours=2)).isoformat()
        events = [
            registration(user_id=user, event_time=first),
            bet(user_id=user, event_id="b1", event_time=first),
        ]
        site.append(rows_of(events, received_at=now))

        answer = ask(instance, {"use_case": PLAYERS, "user_id": user, "ingest_ts": 1})

        assert 0 < answer["probability"] < 1
        assert answer["latency_ms"] is None
        assert (answer["use_case"], answer["user_id"]) == (PLAYERS, user)
        [row] = logged(site, answer["event_id"])
        assert row["user_id"] == user
        assert json.loads(row["features"])["bet_count"] == 1

    @pytest.mark.parametrize("late", [None, timedelta(days=3)])
    def test_nobody_for_an_unknown_user(self, site, instance, late):
        """Without features, or after the time that is of interest, it is 404."""
        user = f"user-{uuid.uuid4().hex[:8]}"
        if late:
            moment = (datetime.now(UTC) - late).isoformat()
            events = [registration(user_id=user, event_time=moment)]
            site.append(rows_of(events, received_at=datetime.now(UTC)))

        answer = post(instance, {"use_case": PLAYERS, "user_id": user})

        body = answer.json()
        assert (answer.status_code, body["error"]) == (404, "unknown_user")
        assert body["probability"] is body["model_version"] is None


WRONG: Mapping[str, tuple[Any, int, str | None]] = {
    **{
        f"body {body[:9]!r}": (body, 400, "body")
        for body in (b"", b"[1]", b"3", b'{"a": "\xed\xa0\x80"}', b"[" * 5_000)
    },
    "nothing": ({}, 400, "features"),
    "one feature": ({"V1": 1, "ingest_ts": 1}, 400, "features"),
    "few": ({"features": {"V1": 1}}, 400, f"features.{next(iter(OF_DEFAULT))}"),
    "features of two use cases": (FEATURES | OF_PLAYER, 400, next(iter(OF_DEFAULT))),
    "a missing feature": ({"use_case": "card_fraud"} | without("V3"), 400, "V3"),
    "a missing one of instances": (
        {"instances": [FEATURES, without("V3")]},
        400,
        "instances[1].V3",
    ),
    **{
        f"a number that is {str(value)[:9]}": (FEATURES | {"V3": value}, 400, "V3")
        for value in (
            *("much", "", "NaN", "-Infinity", "1_000", "0x10", "٣", True, {}),
            *(float("nan"), float("inf"), 10**400),
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
        f"an unknown version {version}": (
            FEATURES | {"version": version},
            404,
            "version",
        )
        for version in (99, -1, 10**30, "12")
    },
    **{
        f"no version {version!r}": (FEATURES | {"version": version}, 400, "version")
        for version in (True, 1.0, "new", "", [1])
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
    def test_what_it_cannot_score(self, instance, case):
        """The answer is JSON and names the field at fault."""
        body, status, field = WRONG[case]

        answer = post(instance, body)

        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert answer.json().get("field") == field, answer.text
        assert answer.json()["retryable"] is False

    def test_another_method_path_or_type(self, instance):
        """Only a POST of JSON to the root is served."""
        get = requests.get(instance.url, timeout=DEADLINE_S)
        path = requests.post(f"{instance.url}path", json=FEATURES, timeout=DEADLINE_S)
        text = post(instance, FEATURES, headers={"content-type": "text/plain"})

        assert (get.status_code, get.headers["allow"]) == (405, "POST")
        assert (path.status_code, path.json()["error"]) == (404, "no_such_path")
        assert (text.status_code, text.json()["field"]) == (415, "Content-Type")


class TestLog:
    def test_is_whole_after_a_stop(self, site, every, writes, tmp_path):
        """After SIGTERM the function logs everything that it answered before it ends,
        also where the table is slow."""
        writes.rule = lambda _: time.sleep(0.3)
        prefix = f"stop-{uuid.uuid4().hex[:8]}"
        rows = transactions(300, seed=11)
        with Instance("score", every[1].environment, tmp_path) as short:

            def ask_for_score(place: int) -> int:
                body = flat(rows[place], transaction_id=f"{prefix}-{place}")
                try:
                    return post(short, body).status_code
                except requests.RequestException:
                    return 0

            assert ask_for_score(0) == 200
            with futures.ThreadPoolExecutor(16) as pool:
                pending = [pool.submit(ask_for_score, place) for place in range(1, 300)]
                futures.wait(pending[:150])
                assert short.process is not None
                os.kill(short.process.pid, signal.SIGTERM)
                n_answers = 1 + sum(future.result() == 200 for future in pending)
            eventually(lambda: not short.process.is_running, "it has ended")

        assert n_answers >= 150
        [counted] = site.rows(
            "SELECT COUNT(DISTINCT event_id) AS n "
            "FROM inference_log WHERE STARTS_WITH(event_id, @prefix)",
            prefix=prefix,
        )
        assert counted["n"] >= n_answers


class TestVersions:
    def test_that_are_not_warm_say_so(self, site, instance):
        """Trees that have not seen a window give no score, and say why."""
        trees = HalfSpaceTrees(n_trees=5, height=5, window_size=1000)
        version = publish(site, trees.fit(transactions(10)))

        answer = ask(instance, flat(transactions(1)[0], version=version))

        row = logged(site, answer["event_id"])[0]
        for scored in (answer, row):
            assert scored["model_version"] == version
            assert scored["is_warm"] is False
            assert scored["probability"] is scored["anomaly_score"] is None

    def test_take_over_without_a_restart(self, site, instance):
        """A promotion is followed while the function serves; its answers say so."""
        [row] = transactions(1, seed=12)
        promote(site, 1)

        def answer_of_trees() -> dict[str, Any] | None:
            answer = ask(instance, flat(row))
            return answer if answer["model_version"] == 1 else None

        answer = eventually(answer_of_trees, "the new version serves")
        promote(site, 0)

        score = expected(row, model=fitted()[2])
        assert answer["anomaly_score"] == pytest.approx(score, abs=1e-9)
        eventually(
            lambda: ask(instance, flat(row))["model_version"] == 0, "the old one does"
        )


# Starts the function as the framework does, and says what it has imported by then.
STARTED = """
import json, sys
from functions_framework import aio
aio.create_asgi_app("score", "main.py", "http")
heavy = ["google.cloud.bigquery", "pandas", "pyarrow", "sklearn"]
print(json.dumps([name for name in heavy if name not in sys.modules]))
"""


def test_imports_before_the_instance_listens(tmp_path):
    """No request for a score waits for imports."""
    process = execute(
        [python_of("score"), "-c", STARTED],
        cwd=stage.stage(ROOT / "02-GetProba", tmp_path / "staged"),
        env={"PATH": os.environ["PATH"]},
    )

    assert json.loads(process.stdout) == []
