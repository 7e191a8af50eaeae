"""
score, specified over HTTP: features in, a score out, every one of them logged.

The function is served from its staged source, in an environment that holds its own
requirements only. Small models of card fraud are published as training publishes them:
a classifier serves, and one of Half-Space Trees can be named.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from deploy import stage
from local.stack.state import ROOT
from tests.events import NO_MOMENTS, bet, registration
from tests.functions.instances import python_of
from tests.functions.scored import (
    FEATURES,
    NAMES,
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
    site,
    transactions,
)
from tests.functions.streaming import rows_of
from tests.programs import execute

# Fixtures.
__all__ = ["event_id", "every", "instance", "site"]

# A request of the system that this replaces, with made-up figures.
ORIGINAL = b"""{"V1": "-1.36", "V2": "-0.0728", "V3": "2.536", "V4": "1.378",
 "V5": "-0.338", "V6": "0.462", "V7": "0.24", "V8": "0.0987", "V9": "0.364",
 "V10": "0.0908", "V11": "-0.552", "V12": "-0.618", "V13": "-0.991", "V14": "-0.311",
 "V15": "1.468", "V16": "-0.47", "V17": "0.208", "V18": "0.0258", "V19": "0.404",
 "V20": "0.251", "V21": "-0.0183", "V22": "0.278", "V23": "-0.11", "V24": "0.0669",
 "V25": "0.129", "V26": "-0.189", "V27": "0.134", "V28": "-0.0211",
 "Amount": "149.62", "ingest_ts": 1, "version": 20}"""
ORIGINAL_IN_NUMBERS = re.sub(rb'": "([^"]*)"', rb'": \1', ORIGINAL)


class TestAnswers:
    def test_the_payload_of_the_original(self, site, instance, event_id):
        """Features at the top level, as texts, with what else it sends: the score of
        the champion, and a row of the log."""
        [row] = transactions(1)
        ingested = datetime.now(UTC) - timedelta(seconds=2)
        texts = {name: str(value) for name, value in flat(row).items()}

        answer = ask(
            instance,
            {
                **texts,
                "Time": "0",
                "transaction_id": event_id,
                "ingest_ts": ingested.timestamp(),
            },
        )

        assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)
        assert answer["anomaly_score"] is None
        assert (answer["use_case"], answer["model_version"]) == ("card_fraud", 0)
        assert answer["is_warm"] is True
        assert answer["event_id"] == event_id
        assert 2_000 <= answer["latency_ms"] < 60_000
        assert 0 < answer["request_ms"] < answer["latency_ms"]
        [champion] = logged(site, event_id)
        assert (champion["use_case"], champion["model_version"]) == ("card_fraud", 0)
        assert champion["event_date"] == ingested.date()
        assert champion["scored_on"] == champion["scored_at"].date()
        assert champion["anomaly_score"] is None
        assert champion["is_warm"] is True
        assert champion["inference_id"] == answer["inference_id"]
        assert champion["probability"] == answer["probability"]
        assert champion["latency_ms"] == pytest.approx(answer["latency_ms"], abs=1e-3)
        assert json.loads(champion["features"]) == flat(row)
        assert champion["source"] == "online"
        assert (champion["event_id"], champion["user_id"]) == (event_id, event_id)
        assert champion["epoch"] >= 0
        assert abs(champion["event_time"] - ingested) < timedelta(milliseconds=1)

    @pytest.mark.parametrize("as_text", [True, False], ids=["texts", "numbers"])
    def test_the_request_of_the_original_as_it_is(self, site, instance, as_text):
        """A senseless moment costs the latency alone; an unknown version is refused by
        its name."""
        literal = ORIGINAL if as_text else ORIGINAL_IN_NUMBERS
        body = json.loads(literal)
        assert (body["ingest_ts"], body["version"]) == (1, 20)

        refused = post(instance, literal)
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

    def test_the_first_rows_of_real_transactions_as_texts(self, instance, data_folder):
        """As the original reads them from its file, with its moment and version."""
        file = data_folder / "creditcard_first3972.parquet"
        if not file.is_file():
            pytest.skip(f"{file} is not in PROPENSITY_DATA")
        for row in pq.read_table(file).slice(0, 5).to_pylist():
            numbers = {name: row[name] for name in NAMES}
            for features in ({n: str(v) for n, v in numbers.items()}, numbers):
                body = {**features, "ingest_ts": 1}
                answer = ask(instance, body)
                refused = post(instance, {**body, "version": 20})

                assert answer["latency_ms"] is None
                assert (refused.status_code, refused.json()["field"]) == (
                    404,
                    "version",
                )

    @pytest.mark.parametrize(
        ("way", "literal"),
        [
            *product(("flat",), (*NO_MOMENTS, "NaN", "-Infinity", '"\\ud800"')),
            *product(("features", "beside", "instances"), ("1", "NaN", '"soon"')),
        ],
    )
    def test_whatever_the_moment_of_a_transaction_is(self, instance, way, literal):
        """Where it makes no sense the latency is null, and the row is scored."""
        plain, moment = json.dumps(FEATURES), f'"ingest_ts": {literal}'
        timed = f"{plain[:-1]}, {moment}}}"
        body = {
            "flat": timed,
            "features": f'{{"features": {timed}}}',
            "beside": f'{{"features": {plain}, {moment}}}',
            "instances": f'{{"instances": [{timed}, {plain}]}}',
        }[way]

        answer = ask(instance, body.encode())

        first, *others = answer.get("predictions", [answer])
        assert first["probability"] is not None
        assert first["latency_ms"] is None
        assert all(other["latency_ms"] > 0 for other in others)

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
        [("", ""), ("features", "features."), ("instances", "instances[0].")],
    )
    def test_an_identity_and_a_moment(self, instance, way, prefix):
        """Beside the features or among them, where a wrong identity is named."""

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

    def test_an_identity_beside_features_before_one_among_them(self, instance):
        """The same holds for the moment."""
        inner = FEATURES | {"transaction_id": "inner", "ingest_ts": 1}
        outer = {"transaction_id": "outer", "ingest_ts": time.time() - 2}

        answer = ask(instance, {"features": inner, **outer})

        assert answer["event_id"] == "outer"
        assert answer["latency_ms"] >= 2_000

    def test_instances_in_their_order(self, site, instance, event_id):
        """A list is answered by a list, all of one version."""
        rows = transactions(5, seed=4)
        ids = [f"{event_id}-{place}" for place in range(5)]
        instances = [
            flat(row, transaction_id=name) for row, name in zip(rows, ids, strict=True)
        ]

        answer = ask(instance, {"use_case": "card_fraud", "instances": instances})

        assert answer["model_version"] == 0
        predictions = answer["predictions"]
        assert [row["event_id"] for row in predictions] == ids
        assert [row["probability"] for row in predictions] == pytest.approx(
            [expected(row) for row in rows], abs=1e-9
        )
        written = logged(site, *ids)
        assert [row["inference_id"] for row in written] == [
            row["inference_id"] for row in predictions
        ]

    def test_as_many_instances_as_are_allowed(self, instance):
        """One more is refused, as below."""
        answer = ask(instance, {"instances": [FEATURES] * 1_000})

        assert len(answer["predictions"]) == 1_000

    def test_a_version_by_its_number(self, instance):
        """That very version scores, as a number or as a text."""
        [row] = transactions(1, seed=6)
        for version in (1, "1"):
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

        answer = ask(instance, {"use_case": PLAYERS, "user_id": user})

        assert 0 < answer["probability"] < 1
        assert (answer["use_case"], answer["user_id"]) == (PLAYERS, user)
        [row] = logged(site, answer["event_id"])
        assert row["user_id"] == user
        assert json.loads(row["features"])["bet_count"] == 1

    def test_a_user_whatever_the_moment_is(self, instance):
        """A senseless moment is no error: the user is unknown."""
        body = f'{{"use_case": "{PLAYERS}", "user_id": "u", "ingest_ts": 1e400}}'

        assert post(instance, body.encode()).json()["error"] == "unknown_user"

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


# Starts 02-GetProba as the framework does, and says what it has imported by then.
STARTED = """
import json, sys
from functions_framework import aio
aio.create_asgi_app(sys.argv[1], "main.py", "http")
heavy = ["google.cloud.bigquery", "pandas", "pyarrow", "sklearn"]
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


class TestStart:
    @pytest.mark.parametrize(
        ("target", "imported"),
        [
            ("score", ["google.cloud.bigquery", "pandas", "pyarrow", "sklearn"]),
            pytest.param("get_proba", [], marks=pytest.mark.long),
        ],
    )
    def test_imports_before_the_instance_listens(self, target, imported, tmp_path):
        """No request for a score waits for imports; a lookup's instance has none of
        them, even where they are installed."""
        staged = stage.stage(ROOT / "02-GetProba", tmp_path / "staged")
        process = execute(
            [python_of("score"), "-c", STARTED, target],
            cwd=staged,
            env={"PATH": os.environ["PATH"]},
        )

        assert json.loads(process.stdout) == imported
