"""
score beside its answers, specified: what it refuses and logs, and by which version.
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent import futures
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from propensity.models.anomaly import AnomalyModel
from propensity.models.half_space_trees import HalfSpaceTrees
from tests.events import bet, registration
from tests.functions.instances import Instance
from tests.functions.scored import (
    CARDS,
    FEATURES,
    OF_DEFAULT,
    OF_PLAYER,
    PLAYER,
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

# Fixtures.
__all__ = ["event_id", "every", "instance", "site", "writes"]


@pytest.fixture(scope="module")
def stream(every, tmp_path_factory) -> Iterator[Instance]:
    """Scores the same events on the stream, by the same versions."""
    home = tmp_path_factory.mktemp("score_stream")
    with Instance("score_stream", every[0].environment, home) as started:
        yield started


@pytest.mark.long
class TestOneInference:
    """
    The same event, scored by HTTP and on the stream, is logged as one inference.

    ``tests/propensity/registry/test_inference_log.py`` has the ids alone.
    """

    def test_of_a_transaction(self, site, instance, stream, event_id):
        """The id is the same, whatever the event's time and user."""
        body = flat(transactions(1, seed=9)[0], transaction_id=event_id)
        enriched = {
            "event_id": event_id,
            "user_id": f"holder of {event_id}",
            "use_case": CARDS.name,
            "event_type": "card_transaction",
            "event_time": "2026-03-01T12:00:00Z",
        }

        answer = ask(instance, body)
        assert stream.post(body | enriched).status_code == 200

        rows = logged(site, event_id, rows=2)
        assert {row["source"] for row in rows} == {"online", "stream"}
        assert {row["inference_id"] for row in rows} == {answer["inference_id"]}

    def test_of_a_user_s_event(self, site, instance, stream):
        """An event id names one event of one user on one day."""
        user = f"user-{uuid.uuid4().hex[:8]}"
        now = datetime.now(UTC)
        first = now - timedelta(minutes=1)
        event = bet(user_id=user, event_id=user, event_time=first.isoformat())
        events = [registration(user_id=user, event_time=first.isoformat()), event]
        site.append(rows_of(events, received_at=now))

        body = PLAYER | {"user_id": user, "event_id": user}
        answer = ask(instance, body | {"ingest_ts": first.isoformat()})
        assert stream.post(event).status_code == 200

        online, streamed = logged(site, user, rows=2)
        assert {online["source"], streamed["source"]} == {"online", "stream"}
        assert online["inference_id"] == streamed["inference_id"]
        assert online["inference_id"] == answer["inference_id"]


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
    "features of two use cases": (FEATURES | OF_PLAYER, 400, next(iter(OF_DEFAULT))),
    "a missing feature": ({"use_case": "card_fraud"} | without("V3"), 400, "V3"),
    "a missing one of features": (
        {"use_case": "card_fraud", "features": without("V3")},
        400,
        "features.V3",
    ),
    "a missing one of instances": (
        {"instances": [FEATURES, without("V3")]},
        400,
        "instances[1].V3",
    ),
    "a text": (FEATURES | {"V3": "much"}, 400, "V3"),
    "no text": (FEATURES | {"V3": ""}, 400, "V3"),
    "NaN": (FEATURES | {"V3": float("nan")}, 400, "V3"),
    "infinity": (FEATURES | {"V3": float("inf")}, 400, "V3"),
    "a huge number": (
        json.dumps(FEATURES | {"V3": 0}).replace('"V3": 0', '"V3": 1e999').encode(),
        400,
        "V3",
    ),
    "a huge whole number": (FEATURES | {"V3": 10**400}, 400, "V3"),
    "NaN as a text": (FEATURES | {"V3": "NaN"}, 400, "V3"),
    "infinity as a text": (FEATURES | {"V3": "-Infinity"}, 400, "V3"),
    "a boolean": (FEATURES | {"V3": True}, 400, "V3"),
    "a nested value": ({"features": FEATURES | {"V3": [1]}}, 400, "features.V3"),
    "one of instances": (
        {"instances": [FEATURES, FEATURES, FEATURES | {"V3": "x"}]},
        400,
        "instances[2].V3",
    ),
    "an instance that is none": ({"instances": [FEATURES, 3]}, 400, "instances[1]"),
    "no instances": ({"instances": []}, 400, "instances"),
    "too many instances": ({"instances": [FEATURES] * 1_001}, 413, "instances"),
    "two ways at once": ({"features": FEATURES, "instances": None}, 400, "instances"),
    "features and a user": ({"features": FEATURES, "user_id": "u"}, 400, "user_id"),
    "instances and a user": ({"instances": [FEATURES], "user_id": "u"}, 400, "user_id"),
    "an empty user": (PLAYER | {"user_id": ""}, 400, "user_id"),
    "a user that is none": (PLAYER | {"user_id": None}, 400, "user_id"),
    "features that are none": ({"features": 3}, 400, "features"),
    "an unknown version": (FEATURES | {"version": 99}, 404, "version"),
    "a version below all": (FEATURES | {"version": -1}, 404, "version"),
    "a version beyond all": (FEATURES | {"version": 10**30}, 404, "version"),
    "an unknown one as a text": (FEATURES | {"version": "12"}, 404, "version"),
    **{
        f"version {version!r}": (FEATURES | {"version": version}, 400, "version")
        for version in (True, 1.0, "1.5", "new", "", [1])
    },
    "an unknown use case": (FEATURES | {"use_case": "no_such"}, 400, "use_case"),
    "a use case that is none": (FEATURES | {"use_case": 3}, 400, "use_case"),
    "a user of events": ({"use_case": "card_fraud", "user_id": "u"}, 400, "user_id"),
    "a value beyond computing": (FEATURES | {"Amount": 1e308}, 400, "Amount"),
    "a feature twice": (json.dumps(FEATURES).encode()[:-1] + b', "V3": 1}', 400, "V3"),
    "a user twice": (
        b'{"user_id": "u", "use_case": 1, "user_id": "w"}',
        400,
        "user_id",
    ),
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
    def test_take_over_without_a_restart(self, site, instance):
        """A promotion is followed while the function serves; its answers say so."""
        [row] = transactions(1, seed=12)
        promote(site, 1)

        answer = eventually(
            lambda: (
                reply
                if (reply := ask(instance, flat(row)))["model_version"] == 1
                else None
            ),
            "the new version serves",
        )
        promote(site, 0)

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
        for scored in (answer, row):
            assert scored["model_version"] == version
            assert scored["is_warm"] is False
            assert scored["probability"] is scored["anomaly_score"] is None
