"""
score and score_stream over HTTP: features or an event in, a score out, and logged.

How numbers are read and who is scored with whom is in ``propensity/online``.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping
from concurrent import futures
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from propensity import usecases
from propensity.gcp.writes import Appends
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.registry.versions import Registry, pickled
from tests.functions.instances import Served, serving
from tests.functions.streaming import a_site, eventually, rows_of
from tests.propensity.registry import versions
from tests.support.deployment import STREAMED, Deployment
from tests.support.events import enriched_card, registration

CARDS = usecases.load("card_fraud")
NAMES = list(CARDS.features)


def transactions(count: int, *, seed: int = 0) -> np.ndarray:
    """Return features of transactions, a row each; amounts are below 1."""
    rows = np.random.default_rng(seed).normal(size=(count, len(NAMES)))
    rows[:, -1] /= 1000
    return rows.round(6)


def flat(row: np.ndarray, **further: Any) -> dict[str, Any]:
    """Return a transaction as an object of its features."""
    return {**dict(zip(NAMES, row.tolist(), strict=True)), **further}


@cache
def fitted() -> tuple[Any, Any, Any]:
    """Return a preprocessor that fills gaps, and two models of what it makes."""
    rows = pd.DataFrame(transactions(600, seed=1), columns=NAMES)
    preprocessor = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NAMES)
    )
    encoded = preprocessor.fit_transform(rows)
    classifier = LogisticRegression().fit(encoded, rows["V14"] + rows["V4"] > 1)
    trees = HalfSpaceTrees(n_trees=5, height=5, window_size=100)
    return preprocessor, classifier, trees.fit(encoded)


def expected(row: np.ndarray, *, model: Any = None) -> float:
    """Return what the pipeline says of one transaction."""
    preprocessor, classifier, _ = fitted()
    frame = pd.DataFrame([row], columns=NAMES)
    scores = (model or classifier).predict_proba(preprocessor.transform(frame))
    return float(scores[0, 1])


SETTINGS = {
    "PROPENSITY_REFRESH_S": "1",
    "PROPENSITY_DEADLINE_S": "60",
    "PROPENSITY_USE_CASE": "ga4_purchase",
}
FEATURES = flat(transactions(1)[0])
PLAYER = {"use_case": STREAMED}
OF_PLAYER = dict.fromkeys(usecases.load(STREAMED).features)
OF_DEFAULT = dict.fromkeys(usecases.load("ga4_purchase").features)


@pytest.fixture(scope="module")
def site() -> Deployment:
    """A champion, which is version 0, and version 1 beside it; and one of players."""
    site = a_site(**SETTINGS)
    for model in fitted()[1:]:
        site.publish_version(
            CARDS.name,
            model=pickled(model),
            preprocessor=pickled(fitted()[0]),
            features=CARDS.features,
        )
    versions.promote(Registry(site.artifacts, CARDS.name), 0)
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


def test_the_payload_of_the_original(site, score, event_id):
    """Features at the top level, as texts, with what else it sends: the score of the
    champion, and a row of the log."""
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
    [champion] = logged(site, event_id)
    for name in ("use_case", "model_version", "probability", "inference_id"):
        assert champion[name] == answer[name]
    assert champion["latency_ms"] == pytest.approx(answer["latency_ms"], abs=1e-3)
    assert champion["event_date"] == ingested.date()
    assert json.loads(champion["features"]) == flat(row)
    assert (champion["source"], champion["user_id"]) == ("online", event_id)


@pytest.mark.parametrize(
    "written",
    [
        lambda own: {"features": own, "use_case": "card_fraud"},
        lambda own: {name: f" {value:+.17e} " for name, value in own.items()},
        lambda own: own | {"Time": "0", "Class": [1], "features_2": {}},
    ],
)
def test_a_transaction_has_one_answer_however_it_is_written(score, written):
    """Named or not, the use case is the one whose features these are; numbers may be
    texts, and what is no feature says nothing."""
    [row] = transactions(1, seed=3)
    answer = scored(score, written(flat(row)))

    assert answer["probability"] == pytest.approx(expected(row), abs=1e-9)


def test_instances_are_scored_in_their_order(site, score, event_id):
    """A list is answered by a list, all of one version; of a thousand, too."""
    rows = transactions(5, seed=4)
    ids = [f"{event_id}-{number}" for number in range(5)]
    named = zip(rows, ids, strict=True)
    instances = [flat(row, transaction_id=name) for row, name in named]
    predictions = scored(score, {"instances": instances})["predictions"]
    many = scored(score, {"instances": [FEATURES] * 1_000})

    assert len(many["predictions"]) == 1_000
    assert [one["event_id"] for one in predictions] == ids
    scores = [one["probability"] for one in predictions]
    assert scores == pytest.approx([expected(row) for row in rows], abs=1e-9)
    assert [row["inference_id"] for row in logged(site, *ids)] == [
        one["inference_id"] for one in predictions
    ]


def test_a_version_is_asked_for_by_its_number(score):
    [row] = transactions(1, seed=6)
    answer = scored(score, flat(row, version="1"))

    assert (answer["model_version"], answer["probability"]) == (1, None)
    trees = expected(row, model=fitted()[2])
    assert answer["anomaly_score"] == pytest.approx(trees, abs=1e-9)


@pytest.mark.parametrize("hours", [2, 72, None])
def test_a_user_is_scored_by_fresh_features(site, score, user, hours):
    """What the stream has of a user is what is scored, as long as that is of interest;
    then, and of a user without features, it is 404."""
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
        assert "a new_registration never came, or the time" in body["message"]


LACKING = {name: value for name, value in FEATURES.items() if name != "V3"}
WRONG: Mapping[str, tuple[Any, int, str | None]] = {
    "not JSON": (b'{"a": "\xed\xa0\x80"}', 400, "body"),
    "features of two use cases": (FEATURES | OF_PLAYER, 400, next(iter(OF_DEFAULT))),
    "one lacks one": ({"instances": [FEATURES, LACKING]}, 400, "instances[1].V3"),
    "beyond any number": (FEATURES | {"V3": 10**400}, 400, "V3"),
    "too many instances": ({"instances": [FEATURES] * 1_001}, 413, "instances"),
    "two ways at once": ({"features": FEATURES, "instances": None}, 400, "instances"),
    "an unknown version": (FEATURES | {"version": 99}, 404, "version"),
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


def test_an_event_that_is_pushed_is_scored_and_its_score_published(site, event_id):
    """By the champion. The time that it took is counted from when the producer took the
    transaction, where the event says when that was. Numbers may be texts."""
    now = datetime.now(UTC)
    [row] = transactions(1, seed=7)
    features = {name: str(value) for name, value in flat(row).items()}
    taken = {
        event_id: (now - timedelta(seconds=1)).timestamp(),
        f"{event_id}-2": "soon",
    }
    site = site.with_settings(PROPENSITY_MAXIMUM_SCORE_DELAY_DAYS="36500")
    with (
        site.pulled("scores") as pull,
        serving("score_stream", site.environment) as scoring,
    ):
        for name, moment in taken.items():
            own = {"event_time": now.isoformat(), "ingest_ts": moment}
            answer = scoring.post(enriched_card(name, **own, **features))
            assert answer.text == '{"outcome":"scored"}\n'
        pulled = pull(2)

    rows = logged(site, *taken)
    for row_of, one in zip(rows, pulled, strict=True):
        message = json.loads(one.data)
        assert dict(one.attributes) == {
            "use_case": "card_fraud",
            "event_id": message["event_id"],
        }
        for name in ("event_id", "probability", "model_version", "inference_id"):
            assert message[name] == row_of[name]
        assert message["probability"] == pytest.approx(expected(row), abs=1e-9)
        assert (row_of["user_id"], row_of["event_time"]) == (row_of["event_id"], now)
    assert rows[0]["latency_ms"] >= 1_000
    assert rows[1]["latency_ms"] is None


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
