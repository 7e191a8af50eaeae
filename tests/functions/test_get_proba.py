"""
get_proba over HTTP, with predictions in the index that 01 publishes, or in the table.

Who waits for which query, and how an index is followed, is in ``propensity/online``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests

from propensity.gcp.artifacts import content_of
from propensity.registry import index
from propensity.registry.index import INDEXES, Index, IndexPointer, pointer_name
from propensity.suppression import suppressed_list
from propensity.tables.models import PREDICTIONS
from tests.functions.instances import Served, serving
from tests.support.deployment import DEADLINE_S, Deployment
from tests.support.shops import LATER, TRAINED

TODAY = datetime.now(UTC).date()
ANA = {
    "user_id": "ana.1",
    "probability": 0.8125,
    "prediction_date": TODAY.isoformat(),
    "model_version": 2,
    "percentile": 99,
    "stale": False,
}
KEYS = tuple(ANA)
BEN = {
    "user_id": "ben 2+ü/&=?",
    "probability": 0.1,
    "prediction_date": (TODAY - timedelta(days=30)).isoformat(),
    "model_version": 1,
    "percentile": None,
    "stale": True,
}
USE_CASE = "ga4_purchase"
NOBODY = dict.fromkeys(KEYS) | {"user_id": "nobody"}


def publish(
    deployment: Deployment,
    predictions: Iterable[Mapping[str, Any]],
    *,
    use_case: str = USE_CASE,
) -> None:
    """Create the table where it is missing, and add rows to it as answers show them."""
    deployment.warehouse.create(PREDICTIONS)
    as_written = ("user_id", "probability", "percentile", "model_version")
    rows = []
    for row in predictions:
        day = date.fromisoformat(row["prediction_date"])
        own = {name: row[name] for name in as_written}
        rows.append({"use_case": use_case, "as_of": day, **own})
    deployment.append(PREDICTIONS, *rows)


@pytest.fixture(scope="module")
def lookups(module_deployment) -> Iterator[Served]:
    """The function, with Ana, Ben and many others published."""
    others = [ANA | {"user_id": f"user.{number}"} for number in range(1_000)]
    publish(module_deployment, [ANA, BEN, *others])
    publish(module_deployment, [ANA | {"probability": 0.5}], use_case="first_day_churn")
    with serving("get_proba", module_deployment.environment) as function:
        yield function


class TestAnswers:
    @pytest.mark.parametrize("user", [ANA, BEN], ids=["plain", "needs encoding"])
    def test_a_lookup_answers_what_was_published(self, lookups, user):
        """The answer is the user's row, with its date, and whether that is stale."""
        answer = lookups.get(user_id=user["user_id"])
        head = requests.head(lookups.url, params={"user_id": user["user_id"]})

        assert answer.status_code == head.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == user
        assert tuple(answer.json()) == KEYS
        assert head.headers["content-length"] == answer.headers["content-length"]
        assert head.content == b""

    @pytest.mark.parametrize("user_id", ["nobody", "' OR '1'='1", "\u202eana.1"])
    def test_a_lookup_of_an_unknown_user_is_404(self, lookups, user_id):
        """With the keys of any answer and null; SQL is an unknown user's name."""
        answer = lookups.get(user_id=user_id)

        body = answer.json()
        assert answer.status_code == 404
        assert (body["error"], body["retryable"]) == ("unknown_user", False)
        assert {key: body[key] for key in KEYS} == NOBODY | {"user_id": user_id}

    def test_a_lookup_of_an_unknown_use_case_says_which_there_are(self, lookups):
        """For one user and for many."""
        body = {"user_ids": ["ana.1"], "use_case": "ga4_purchas"}
        one = lookups.get(user_id="ana.1", use_case="ga4_purchas")
        many = lookups.ask(body)

        for answer in (one, many):
            told = answer.json()
            assert (answer.status_code, told["error"]) == (404, "unknown_use_case")
            assert (told["field"], told["retryable"]) == ("use_case", False)
            assert "'ga4_purchase'" in told["message"]

    def test_a_lookup_of_many_answers_in_the_order_of_the_request(self, lookups):
        """Known, unknown and repeated users each have their answer in their place; a
        thousand are the most."""
        users = [BEN["user_id"], "nobody", "ana.1", BEN["user_id"]]
        answer = lookups.ask({"user_ids": users})
        many = [f"user.{number}" for number in reversed(range(1_000))]
        of_many = lookups.ask({"user_ids": many}).json()

        assert answer.json() == {"predictions": [BEN, NOBODY, ANA, BEN]}
        assert of_many["predictions"] == [ANA | {"user_id": user} for user in many]


REFUSED: list[tuple[str, str, bytes, int, str | None]] = [
    ("GET", "?user_id=a&user_id=a", b"", 400, "user_id"),
    ("GET", "?user_id=%FF", b"", 400, "user_id"),
    ("PUT", "?user_id=ana.1", b"", 405, None),
    ("GET", "get_proba?user_id=ana.1", b"", 404, None),
    ("POST", "?use_case=ga4_purchase", b'{"user_ids": ["ana.1"]}', 400, None),
    ("POST", "", b"[" * 100_000, 400, "body"),
    ("POST", "", json.dumps({"user_ids": ["u"] * 1_001}).encode(), 400, "user_ids"),
    ("POST", "", b'{"user_ids": ["ana.1"]}'.ljust(4 * 1024**2 + 1), 413, None),
    ("POST", "", b'{"user_ids": ["ana.1", 7]}', 400, "user_ids[1]"),
    ("POST", "", b'{"user_ids": ["a"], "user_ids": ["b"]}', 400, "user_ids"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: str(case)[:60])
def test_a_lookup_refuses_what_names_no_users(lookups, case):
    """By the field at fault; 405 names the methods."""
    method, query, body, status, field = case
    headers = {"Content-Type": "application/json"}
    url = lookups.url + query
    answer = requests.request(
        method, url, data=body, headers=headers, timeout=DEADLINE_S
    )

    told = answer.json()
    assert answer.status_code == status
    assert (told.get("field"), told["retryable"]) == (field, False)
    assert answer.headers.get("allow", "GET, HEAD, POST") == "GET, HEAD, POST"
    assert told["message"]


def publish_index(deployment: Deployment, *, use_case: str = USE_CASE) -> IndexPointer:
    """Publish the index of what the table has; return its pointer."""
    index.store_index(deployment.warehouse, deployment.artifacts, use_case, days=60)
    return pointer(deployment, use_case)


def pointer(deployment: Deployment, use_case: str = USE_CASE) -> IndexPointer:
    name = pointer_name(use_case)
    return content_of(deployment.artifacts.read(name), IndexPointer, name=name)


def files(deployment: Deployment) -> list[str]:
    """All generations of indexes that the bucket has."""
    every = deployment.artifacts.generations(INDEXES)
    return [entry.name for entry in every if entry.name.endswith(".sqlite")]


class TestIndex:
    def test_lookups_answer_as_from_the_table_without_it(self, deployment):
        """Known users, unknown ones, and many at once; of two use cases."""
        publish(deployment, [ANA, BEN])
        publish(deployment, [ANA | {"probability": 0.5}], use_case="first_day_churn")
        users = {"user_ids": ["nobody", "ana.1", BEN["user_id"], "é" * 256]}

        def answers() -> list[str]:
            with serving("get_proba", deployment.environment) as lookups:
                replies = [lookups.get(user_id="ana.1"), lookups.get(user_id="nobody")]
                for name in (USE_CASE, "first_day_churn"):
                    replies.append(lookups.ask({**users, "use_case": name}))
            return [reply.text for reply in replies]

        from_table = answers()
        publish_index(deployment)
        publish_index(deployment, use_case="first_day_churn")
        deployment.empty_tables([PREDICTIONS])

        assert answers() == from_table

    def test_an_index_has_the_users_of_the_newest_days(self, deployment, tmp_path):
        """Those who were not scored for a lookback are unknown to lookups. A file is
        written once, and the older one is deleted for good."""
        old, kept = (str(TODAY - timedelta(days=days)) for days in (60, 59))
        cyd = ANA | {"user_id": "cyd.3", "prediction_date": kept}
        publish(deployment, [ANA, BEN | {"prediction_date": old}, cyd])
        publish_index(deployment)
        newest = publish_index(deployment)
        path = tmp_path / uuid.uuid4().hex
        path.write_bytes(deployment.read(newest.name))
        users = ("ana.1", BEN["user_id"], "cyd.3")

        assert [bool(Index(path).find(one)) for one in users] == [True, False, True]
        assert files(deployment) == [newest.name]

    def test_predictions_say_that_the_index_was_not_published(
        self, champion_deployment
    ):
        """Predictions are, and the list of suppressed users before it; the index of
        before stays, and a retry heals."""
        deployment = champion_deployment
        first = deployment.run("predictions", TRAINED)
        before = pointer(deployment)
        row = {"user_id": "twice", "probability": 0.5, "percentile": 1}
        row |= {"prediction_date": str(TRAINED), "model_version": 0}
        publish(deployment, [row, row])
        deployment.artifacts.delete(suppressed_list.FILE)
        again = {"as_of": LATER, "force": True}
        answer = deployment.post("predictions", again)
        [newest] = deployment.rows("SELECT MAX(as_of) AS day FROM ma_predictions_table")

        assert first["index_users"] == before.users == 160
        assert deployment.artifacts.find(suppressed_list.FILE) is not None
        assert answer.status_code == 409
        assert "predictions were published" in answer.json["message"]
        assert newest == {"day": LATER}
        assert before == pointer(deployment)
        assert files(deployment) == [before.name]
        deployment.warehouse.execute(
            "DELETE FROM ma_predictions_table "
            "WHERE user_id = 'twice' AND as_of > '2000-01-01'"
        )
        deployment.run("predictions", LATER, force=True)
        assert pointer(deployment) != before
