"""
score, specified over HTTP: features in, a score out, every one of them logged.

The function is served from its staged source, in an environment that holds its own
requirements only. Small models of card fraud are published as training publishes them:
a classifier serves, one of Half-Space Trees scores in its shadow.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent import futures
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
import requests
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deploy import stage
from local import venvs
from local.stack.state import FUNCTIONS, LOCAL, ROOT
from offline import load_model
from propensity import usecases
from propensity.edges.columns import record
from propensity.models.anomaly import AnomalyModel
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.registry.champion import ANYTHING
from propensity.registry.versions import Registry, pickled
from propensity.tables import TRAINING_METADATA
from tests.events import bet, registration
from tests.functions.streaming import (
    DEADLINE_S,
    Instance,
    Site,
    WriteProxy,
    eventually,
    new_site,
    rows_of,
)

CARDS = usecases.load("card_fraud")
PLAYERS = "first_day_churn"
NAMES = list(CARDS.features)
NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
SETTINGS = {
    "PROPENSITY_CHAMPION_TTL_S": "1",
    "PROPENSITY_LOOKUP_TIMEOUT_S": "60",
    "PROPENSITY_MAXIMUM_INSTANCES": "20",
    "PROPENSITY_USE_CASE": "ga4_purchase",
}


# As the system that this takes the place of asked, with figures made up.
ORIGINAL = b"""{"V1": "-1.36", "V2": "-0.0728", "V3": "2.536", "V4": "1.378",
 "V5": "-0.338", "V6": "0.462", "V7": "0.24", "V8": "0.0987", "V9": "0.364",
 "V10": "0.0908", "V11": "-0.552", "V12": "-0.618", "V13": "-0.991", "V14": "-0.311",
 "V15": "1.468", "V16": "-0.47", "V17": "0.208", "V18": "0.0258", "V19": "0.404",
 "V20": "0.251", "V21": "-0.0183", "V22": "0.278", "V23": "-0.11", "V24": "0.0669",
 "V25": "0.129", "V26": "-0.189", "V27": "0.134", "V28": "-0.0211",
 "Amount": "149.62", "ingest_ts": 1, "version": 20}"""
ORIGINAL_IN_NUMBERS = re.sub(rb'": "([^"]*)"', rb'": \1', ORIGINAL)

# Of which no latency can be counted, as they stand in JSON.
SENSELESS = (
    *(
        "1",
        "0",
        "-1",
        "-1e300",
        "1e400",
        "9" * 5_000,
        "4e9",
        "1e18",
        "NaN",
        "-Infinity",
    ),
    *(
        "null",
        "true",
        "[1]",
        "{}",
        '""',
        '"soon"',
        '"nan"',
        '"1970-01-01"',
        '"\\ud800"',
    ),
    '"2999-01-01T00:00:00Z"',
)


def transactions(count: int, *, seed: int = 0) -> np.ndarray:
    """Return features of transactions, a row each; amounts are below 1."""
    rows = np.random.default_rng(seed).normal(size=(count, len(NAMES)))
    rows[:, -1] /= 1000
    return rows.round(6)


@cache
def fitted() -> tuple[Any, Any, Any]:
    """Return a preprocessor that fills gaps, and two models of what it makes."""
    import pandas as pd  # as the models' training does

    rows = pd.DataFrame(transactions(600, seed=1), columns=NAMES)
    preprocessor = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NAMES)
    )
    encoded = preprocessor.fit_transform(rows)
    classifier = LogisticRegression().fit(encoded, rows["V14"] + rows["V4"] > 1)
    trees = AnomalyModel(HalfSpaceTrees(n_trees=5, height=5, window_size=100))
    return preprocessor, classifier, trees.fit(encoded)


def expected(row: np.ndarray, *, model: Any = None) -> float:
    """Return what the pipeline says of one transaction."""
    import pandas as pd

    preprocessor, classifier, _ = fitted()
    frame = pd.DataFrame([row], columns=NAMES)
    found = (model or classifier).predict_proba(preprocessor.transform(frame))
    return float(found[0, 1])


def publish(site: Site, model: Any) -> int:
    """Store a model as training does; return its version."""
    registry = Registry(site.artifacts, CARDS.name)
    version = registry.claim(run_id="r", at=NOW)
    published = registry.publish(
        version,
        {
            "model.joblib": (pickled(model), ""),
            "preprocessor.joblib": (pickled(fitted()[0]), ""),
        },
    )
    row: dict[str, Any] = {
        "use_case": CARDS.name,
        "model_version": version,
        "training_date": date(2026, 3, 2),
        "as_of": date(2026, 3, 2),
        "algorithm": type(model).__name__,
        "features": json.dumps(dict(CARDS.features)),
    }
    for part in ("model", "preprocessor"):
        row[f"{part}_object"] = published.objects[f"{part}.joblib"]
        row[f"{part}_sha256"] = published.checksums[f"{part}.joblib"]
    job = uuid.uuid4().hex
    site.warehouse.append(TRAINING_METADATA, record(row, TRAINING_METADATA), job_id=job)
    return version


def promote(site: Site, version: int, *, shadow: int | None = None) -> None:
    """Let a version serve, and another score in its shadow."""
    registry = Registry(site.artifacts, CARDS.name)
    registry.promote(version, model_sha256="0" * 64, at=NOW, instead_of=ANYTHING)
    if shadow is None:
        registry.unshadow()
    else:
        registry.shadow(shadow)


@pytest.fixture(scope="module")
def every(emulators, tmp_path_factory) -> Iterator[tuple[Site, Instance, WriteProxy]]:
    """A site whose champion is version 0, its shadow 1, and the function."""
    with (
        new_site(emulators, **SETTINGS) as made,
        WriteProxy(emulators.address("bigquery_storage")) as writes,
    ):
        _, classifier, trees = fitted()
        publish(made, classifier)
        publish(made, trees)
        promote(made, 0, shadow=1)
        load_model.load(made.warehouse, made.artifacts, made.settings)
        environment = {
            **made.environment,
            "BIGQUERY_STORAGE_EMULATOR_HOST": writes.address,
        }
        home = tmp_path_factory.mktemp("score")
        with Instance("score", environment, home) as started:
            yield made, started, writes


@pytest.fixture
def site(every) -> Site:
    """Where the function works; each test has transactions of its own."""
    return every[0]


@pytest.fixture
def instance(every) -> Instance:
    """The function."""
    return every[1]


@pytest.fixture
def writes(every) -> Iterator[WriteProxy]:
    """What is between the function and the Storage Write API."""
    yield every[2]
    every[2].rule = lambda _: None


@pytest.fixture
def event_id() -> str:
    """A transaction of one test alone."""
    return f"t-{uuid.uuid4().hex[:10]}"


def post(instance: Instance, body: Any, **arguments: Any) -> requests.Response:
    """Ask the function."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(
        instance.url,
        data=data,
        headers={"content-type": "application/json"} | arguments.pop("headers", {}),
        timeout=DEADLINE_S,
        **arguments,
    )


def ask(instance: Instance, body: Any) -> dict[str, Any]:
    """Ask the function what it must answer."""
    answer = post(instance, body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def features_of(use_case: str) -> dict[str, Any]:
    """Return a value for each feature of a use case."""
    features = usecases.load(use_case).features
    return {name: 1 if kind == "number" else "x" for name, kind in features.items()}


def flat(row: np.ndarray, **further: Any) -> dict[str, Any]:
    """Return a transaction as an object of its features."""
    return {**dict(zip(NAMES, row.tolist(), strict=True)), **further}


def logged(
    site: Site, *event_ids: str, rows: int | None = None
) -> list[dict[str, Any]]:
    """Return what was logged of events, once it is there; shadows last."""
    count = len(event_ids) if rows is None else rows

    def found() -> list[dict[str, Any]]:
        return site.rows(
            "SELECT * FROM inference_log WHERE event_id IN UNNEST(@ids) "
            "ORDER BY is_shadow, event_id",
            ids=list(event_ids),
        )

    return eventually(
        lambda: rows if len(rows := found()) >= count else None, "it is logged"
    )


class TestAnswers:
    def test_the_payload_of_the_original(self, site, instance, event_id):
        """Features at the top level, as texts, with what else it sends: the score of
        the champion, and both scores logged."""
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
        champion, shadow = logged(site, event_id, rows=2)
        assert (champion["use_case"], champion["model_version"]) == ("card_fraud", 0)
        assert champion["event_date"] == ingested.date()
        assert champion["scored_on"] == champion["scored_at"].date()
        assert champion["anomaly_score"] is None
        assert champion["is_warm"] is True
        assert champion["inference_id"] == answer["inference_id"]
        assert champion["probability"] == answer["probability"]
        assert champion["latency_ms"] == pytest.approx(answer["latency_ms"], abs=1e-3)
        assert json.loads(champion["features"]) == flat(row)
        assert (champion["source"], champion["is_shadow"]) == ("online", False)
        assert (champion["event_id"], champion["user_id"]) == (event_id, event_id)
        assert champion["epoch"] == shadow["epoch"] > 0
        assert (shadow["model_version"], shadow["is_shadow"]) == (1, True)
        assert shadow["probability"] is None
        score = expected(row, model=fitted()[2])
        assert shadow["anomaly_score"] == pytest.approx(score, abs=1e-9)
        assert abs(champion["event_time"] - ingested) < timedelta(milliseconds=1)

    @pytest.mark.parametrize("as_text", [True, False], ids=["texts", "numbers"])
    def test_the_request_of_the_original_as_it_is(self, site, instance, as_text):
        """Its moment is no moment, which costs the latency alone; of its version there
        is none here, which is said."""
        literal = ORIGINAL if as_text else ORIGINAL_IN_NUMBERS
        given = json.loads(literal)
        assert (given["ingest_ts"], given["version"]) == (1, 20)

        refused = post(instance, literal)
        del given["version"]
        answer = ask(instance, given)

        assert refused.status_code == 404
        assert refused.json()["error"] == "unknown_version"
        assert refused.json()["field"] == "version"
        assert "20" in refused.json()["message"]
        assert (answer["use_case"], answer["model_version"]) == ("card_fraud", 0)
        assert answer["probability"] is not None
        assert answer["latency_ms"] is None
        row = logged(site, answer["event_id"], rows=2)[0]
        assert row["latency_ms"] is None
        assert row["event_time"] == row["scored_at"]

    def test_the_first_rows_of_real_transactions_as_texts(self, instance, data_folder):
        """As the original reads them from its file, with its moment and version."""
        file = data_folder / "creditcard_first3972.parquet"
        if not file.is_file():
            pytest.skip(f"{file} is not in PROPENSITY_DATA")
        for row in pq.read_table(file).slice(0, 5).to_pylist():
            texts = {name: str(row[name]) for name in NAMES}
            for given in (texts, {name: row[name] for name in NAMES}):
                asked = {**given, "ingest_ts": 1}
                answer = ask(instance, asked)
                refused = post(instance, {**asked, "version": 20})

                assert answer["latency_ms"] is None
                assert (refused.status_code, refused.json()["field"]) == (
                    404,
                    "version",
                )

    @pytest.mark.parametrize("literal", SENSELESS)
    @pytest.mark.parametrize("way", ["flat", "features", "beside", "instances"])
    def test_whatever_the_moment_of_a_transaction_is(self, instance, way, literal):
        """Where it makes no sense the latency is null, and the row is scored."""
        plain, moment = json.dumps(GIVEN), f'"ingest_ts": {literal}'
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
        assert all(one["latency_ms"] > 0 for one in others)

    def test_one_transaction_however_it_is_written(self, instance):
        """Named or not, the use case is the one whose features these are; numbers may
        be texts, and what is no feature says nothing."""
        [row] = transactions(1, seed=3)
        given = flat(row)
        for body in (
            {"features": given},
            {"features": given, "use_case": "card_fraud"},
            {"features": given, "use_case": None, "version": None},
            {name: f" {value:+.17e} " for name, value in given.items()},
            given | {"Time": "0", "Class": [1], "features_2": {}},
            given | OF_PLAYER | {"use_case": "card_fraud"},
        ):
            answer = ask(instance, body)

            assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)
            assert len(answer["event_id"]) == 32

    def test_categories_as_they_are(self, site, instance, event_id):
        """A text or null, logged in the order of the features."""
        for country in ("GB", None):
            given = OF_PLAYER | {"country": country, "event_id": f"{event_id}{country}"}
            ask(instance, PLAYER | {"features": given})

        rows = logged(site, f"{event_id}GB", f"{event_id}None")
        features = [json.loads(row["features"]) for row in rows]
        assert [one["country"] for one in features] == ["GB", None]
        assert list(features[0]) == list(OF_PLAYER)

    @pytest.mark.parametrize(
        ("way", "prefix"),
        [("", ""), ("features", "features."), ("instances", "instances[0].")],
    )
    def test_an_identity_and_a_moment(self, instance, way, prefix):
        """Beside the features or among them, where a wrong identity is named."""

        def body(**further: Any) -> dict[str, Any]:
            told = {"transaction_id": 17, "ingest_ts": (time.time() - 2) * 1e3}
            inner = GIVEN | told | further
            whole = {"": inner, "features": {way: inner}, "instances": {way: [inner]}}
            return whole[way]

        answer = ask(instance, body())
        [one] = answer.get("predictions", [answer])

        assert one["event_id"] == "17"
        assert 2_000 <= one["latency_ms"] < 60_000
        for wrong in ("", True, 1.5, "x" * 257, "a\nb", "\ud800"):
            refused = post(instance, body(transaction_id=wrong))

            assert refused.status_code == 400
            assert refused.json()["field"] == f"{prefix}transaction_id"

    def test_an_identity_beside_features_before_one_among_them(self, instance):
        """The same holds for the moment."""
        inner = GIVEN | {"transaction_id": "inner", "ingest_ts": 1}
        outer = {"transaction_id": "outer", "ingest_ts": time.time() - 2}

        answer = ask(instance, {"features": inner, **outer})

        assert answer["event_id"] == "outer"
        assert answer["latency_ms"] >= 2_000

    def test_instances_in_their_order(self, site, instance, event_id):
        """A list is answered by a list, all of one version."""
        rows = transactions(5, seed=4)
        ids = [f"{event_id}-{place}" for place in range(5)]
        given = [
            flat(row, transaction_id=one) for row, one in zip(rows, ids, strict=True)
        ]

        answer = ask(instance, {"use_case": "card_fraud", "instances": given})

        assert answer["model_version"] == 0
        found = answer["predictions"]
        assert [one["event_id"] for one in found] == ids
        assert [one["probability"] for one in found] == pytest.approx(
            [expected(row) for row in rows], abs=1e-9
        )
        written = logged(site, *ids, rows=10)
        assert [one["inference_id"] for one in written[:5]] == [
            one["inference_id"] for one in found
        ]

    def test_as_many_instances_as_are_allowed(self, instance):
        """One more is refused, as below."""
        answer = ask(instance, {"instances": [GIVEN] * 20})

        assert len(answer["predictions"]) == 20

    def test_requests_of_many_at_once(self, instance):
        """Whatever comes together, each gets its own score."""
        rows = transactions(200, seed=5)

        with futures.ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda row: ask(instance, flat(row)), rows))

        assert [one["probability"] for one in found] == pytest.approx(
            [expected(row) for row in rows], abs=1e-9
        )
        assert len({one["inference_id"] for one in found}) == len(rows)

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

        given = flat(row, transaction_id=event_id) | {NAMES[3]: None}
        answer = ask(instance, given)

        assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)
        assert json.loads(logged(site, event_id)[0]["features"])[NAMES[3]] is None

    def test_a_transaction_again_under_its_own_name(self, instance, event_id):
        """The same transaction and version is the same inference; others are others."""
        [row] = transactions(1, seed=8)
        given = flat(row, transaction_id=event_id)

        same = {ask(instance, given)["inference_id"] for _ in range(2)}
        other = ask(instance, given | {"version": 1})["inference_id"]
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

    @pytest.mark.parametrize("moment", ["1e400", "null", '"soon"'])
    def test_a_user_whatever_the_moment_is(self, instance, moment):
        """It is for the latency alone: what is said is that nobody knows the user."""
        body = f'{{"use_case": "{PLAYERS}", "user_id": "u", "ingest_ts": {moment}}}'

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

        told = answer.json()
        assert (answer.status_code, told["error"]) == (404, "unknown_user")
        assert told["probability"] is told["model_version"] is None


@pytest.fixture(scope="module")
def stream(every, tmp_path_factory) -> Iterator[Instance]:
    """Scores the same events on the stream, by the same versions."""
    home = tmp_path_factory.mktemp("score_stream")
    with Instance("score_stream", every[0].environment, home) as started:
        yield started


class TestOneInference:
    """The same event, scored by HTTP and on the stream, is logged as one inference."""

    def test_of_a_transaction(self, site, instance, stream, event_id):
        """By champion and shadow, whenever it happened and whoever it is about."""
        given = flat(transactions(1, seed=9)[0], transaction_id=event_id)
        enriched = {
            "event_id": event_id,
            "user_id": f"holder of {event_id}",
            "use_case": CARDS.name,
            "event_type": "card_transaction",
            "event_time": "2026-03-01T12:00:00Z",
        }

        answer = ask(instance, given)
        assert stream.post(given | enriched).status_code == 200

        rows = logged(site, event_id, rows=4)
        assert {row["source"] for row in rows} == {"online", "stream"}
        for version in (0, 1):
            of_version = [row for row in rows if row["model_version"] == version]
            assert len(of_version) == 2
            assert len({row["inference_id"] for row in of_version}) == 1
        assert answer["inference_id"] in {row["inference_id"] for row in rows}

    def test_of_a_user_s_event(self, site, instance, stream):
        """An event's id is that of one user's on one day."""
        user = f"user-{uuid.uuid4().hex[:8]}"
        now = datetime.now(UTC)
        first = now - timedelta(minutes=1)
        event = bet(user_id=user, event_id=user, event_time=first.isoformat())
        events = [registration(user_id=user, event_time=first.isoformat()), event]
        site.append(rows_of(events, received_at=now))

        asked = PLAYER | {"user_id": user, "event_id": user}
        answer = ask(instance, asked | {"ingest_ts": first.isoformat()})
        assert stream.post(event).status_code == 200

        online, streamed = logged(site, user, rows=2)
        assert {online["source"], streamed["source"]} == {"online", "stream"}
        assert online["inference_id"] == streamed["inference_id"]
        assert online["inference_id"] == answer["inference_id"]


GIVEN = flat(transactions(1)[0])
PLAYER = {"use_case": PLAYERS}
OF_PLAYER = features_of(PLAYERS)
OF_DEFAULT = features_of("ga4_purchase")


def without(name: str) -> dict[str, Any]:
    """Return a transaction that lacks a feature."""
    return {one: value for one, value in GIVEN.items() if one != name}


WRONG: Mapping[str, tuple[Any, int, str | None]] = {
    **{
        f"body {place}": (body, 400, "body")
        for place, body in enumerate(
            (b"", b"{", b"[1]", b"3", b"\xff", b'{"a": "\xed\xa0\x80"}', b"[" * 5_000)
        )
    },
    "nothing": ({}, 400, "features"),
    "one feature": ({"V1": 1, "ingest_ts": 1}, 400, "features"),
    "few features": (
        {"features": {"V1": 1}},
        400,
        f"features.{next(iter(OF_DEFAULT))}",
    ),
    "features of two use cases": (GIVEN | OF_PLAYER, 400, next(iter(OF_DEFAULT))),
    "a missing feature": (without("V3"), 400, "V3"),
    "a missing one of features": ({"features": without("V3")}, 400, "features.V3"),
    "a missing one of instances": (
        {"instances": [GIVEN, without("V3")]},
        400,
        "instances[1].V3",
    ),
    "a text": (GIVEN | {"V3": "much"}, 400, "V3"),
    "no text": (GIVEN | {"V3": ""}, 400, "V3"),
    "NaN": (GIVEN | {"V3": float("nan")}, 400, "V3"),
    "infinity": (GIVEN | {"V3": float("inf")}, 400, "V3"),
    "a huge number": (
        json.dumps(GIVEN | {"V3": 0}).replace('"V3": 0', '"V3": 1e999').encode(),
        400,
        "V3",
    ),
    "a huge whole number": (GIVEN | {"V3": 10**400}, 400, "V3"),
    "NaN as a text": (GIVEN | {"V3": "NaN"}, 400, "V3"),
    "infinity as a text": (GIVEN | {"V3": "-Infinity"}, 400, "V3"),
    "a boolean": (GIVEN | {"V3": True}, 400, "V3"),
    "a nested value": ({"features": GIVEN | {"V3": [1]}}, 400, "features.V3"),
    "one of instances": (
        {"instances": [GIVEN, GIVEN, GIVEN | {"V3": "x"}]},
        400,
        "instances[2].V3",
    ),
    "an instance that is none": ({"instances": [GIVEN, 3]}, 400, "instances[1]"),
    "no instances": ({"instances": []}, 400, "instances"),
    "too many instances": ({"instances": [GIVEN] * 21}, 413, "instances"),
    "two ways at once": ({"features": GIVEN, "instances": None}, 400, "instances"),
    "features and a user": ({"features": GIVEN, "user_id": "u"}, 400, "user_id"),
    "instances and a user": ({"instances": [GIVEN], "user_id": "u"}, 400, "user_id"),
    "an empty user": (PLAYER | {"user_id": ""}, 400, "user_id"),
    "a user that is none": (PLAYER | {"user_id": None}, 400, "user_id"),
    "features that are none": ({"features": 3}, 400, "features"),
    "an unknown version": (GIVEN | {"version": 99}, 404, "version"),
    "a version below all": (GIVEN | {"version": -1}, 404, "version"),
    "a version beyond all": (GIVEN | {"version": 10**30}, 404, "version"),
    "an unknown one as a text": (GIVEN | {"version": "12"}, 404, "version"),
    **{
        f"version {version!r}": (GIVEN | {"version": version}, 400, "version")
        for version in (True, 1.0, "1.5", "new", "", [1])
    },
    "an unknown use case": (GIVEN | {"use_case": "no_such"}, 400, "use_case"),
    "a use case that is none": (GIVEN | {"use_case": 3}, 400, "use_case"),
    "a user of events": ({"use_case": "card_fraud", "user_id": "u"}, 400, "user_id"),
    "a value beyond computing": (GIVEN | {"Amount": 1e308}, 400, "Amount"),
    "no champion": ({"use_case": "ga4_purchase", "features": OF_DEFAULT}, 409, None),
    **{
        f"{name} {str(value)[:8]!r}": (
            PLAYER | {"features": OF_PLAYER | {name: value}},
            400,
            f"features.{name}",
        )
        for name, value in (
            *(("country", wrong) for wrong in (3, "\ud800", "x" * 5_000)),
            *(("age", wrong) for wrong in ("1_000", "0x10", "٣", {})),
        )
    },
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
        got = requests.get(instance.url, timeout=DEADLINE_S)
        path = requests.post(f"{instance.url}path", json=GIVEN, timeout=DEADLINE_S)
        text = post(instance, GIVEN, headers={"content-type": "text/plain"})

        assert (got.status_code, got.headers["allow"]) == (405, "POST")
        assert (path.status_code, path.json()["error"]) == (404, "no_such_path")
        assert (text.status_code, text.json()["field"]) == (415, "Content-Type")


class TestLog:
    def test_holds_up_no_answer(self, site, instance, writes, event_id):
        """While the table takes nothing requests are answered, and logged later."""
        writes.rule = lambda _: grpc.StatusCode.UNAVAILABLE
        rows = transactions(30, seed=10)
        ids = [f"{event_id}-{place}" for place in range(30)]

        for row, one in zip(rows, ids, strict=True):
            ask(instance, flat(row, transaction_id=one))
        writes.rule = lambda _: None

        written = logged(site, *ids, rows=60)
        assert {row["event_id"] for row in written} == set(ids)

    def test_is_whole_after_a_stop(self, site, every, writes, tmp_path):
        """Told to end, the function ends once everything it answered is logged, also
        where the table is slow."""
        writes.rule = lambda _: time.sleep(0.3)
        prefix = f"stop-{uuid.uuid4().hex[:8]}"
        rows = transactions(300, seed=11)
        with Instance("score", every[1].environment, tmp_path) as short:

            def one(place: int) -> int:
                given = flat(rows[place], transaction_id=f"{prefix}-{place}")
                try:
                    return post(short, given).status_code
                except requests.RequestException:
                    return 0

            assert one(0) == 200
            with futures.ThreadPoolExecutor(16) as pool:
                asked = [pool.submit(one, place) for place in range(1, 300)]
                futures.wait(asked[:150])
                assert short.process is not None
                os.kill(short.process.pid, signal.SIGTERM)
                answered = 1 + sum(future.result() == 200 for future in asked)
            eventually(lambda: not short.process.is_running, "it has ended")

        assert answered >= 150
        [counted] = site.rows(
            "SELECT COUNT(DISTINCT event_id) AS n, COUNT(*) AS of_all "
            "FROM inference_log WHERE STARTS_WITH(event_id, @prefix)",
            prefix=prefix,
        )
        assert counted["n"] >= answered
        assert counted["of_all"] >= 2 * answered


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
            ("get_proba", []),
        ],
    )
    def test_imports_before_the_instance_listens(self, target, imported, tmp_path):
        """No request for a score waits for imports; a lookup's instance has none of
        them, even where they are installed."""
        [one] = [one for one in FUNCTIONS if one.target == "score"]
        folder = ROOT / one.folder
        python = venvs.python_of(folder / one.requirements, folder=LOCAL / "venvs")
        done = subprocess.run(
            [str(python), "-c", STARTED, target],
            cwd=stage.stage(folder, tmp_path / "staged"),
            env={"PATH": os.environ["PATH"]},
            check=True,
            capture_output=True,
            text=True,
        )

        assert json.loads(done.stdout) == imported


class TestVersions:
    def test_take_over_without_a_restart(self, site, instance):
        """A promotion is followed while the function serves; its answers say so."""
        [row] = transactions(1, seed=12)
        promote(site, 1)

        answer = eventually(
            lambda: (
                found
                if (found := ask(instance, flat(row)))["model_version"] == 1
                else None
            ),
            "the new version serves",
        )
        promote(site, 0, shadow=1)

        score = expected(row, model=fitted()[2])
        assert answer["anomaly_score"] == pytest.approx(score, abs=1e-9)
        eventually(
            lambda: ask(instance, flat(row))["model_version"] == 0, "the old one does"
        )

    def test_that_are_not_warm_say_so(self, site, instance):
        """Trees that have not seen a window give no score, and say why."""
        trees = AnomalyModel(HalfSpaceTrees(n_trees=5, height=5, window_size=1000))
        version = publish(site, trees.fit(transactions(10)))

        answer = ask(instance, flat(transactions(1)[0], version=version))

        row = logged(site, answer["event_id"])[0]
        for one in (answer, row):
            assert one["model_version"] == version
            assert one["is_warm"] is False
            assert one["probability"] is one["anomaly_score"] is None
