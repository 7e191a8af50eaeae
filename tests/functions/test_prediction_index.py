"""
The prediction index, specified over HTTP: published by 01, answered from by 02, without
a query between.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from pathlib import Path

import pytest
import requests

from deploy import stage
from offline import forget
from propensity.errors import SchemaError
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.privacy import suppression
from propensity.privacy.suppression import OBJECT, user_hash
from propensity.registry.index import (
    INDEXES,
    Index,
    IndexPointer,
    folder_of,
    pointer_name,
)
from propensity.runs import index
from propensity.settings import Settings
from tests.functions.conftest import LATER, TRAINED, entered
from tests.functions.instances import Instance, python_of
from tests.functions.looked_up import (
    ANA,
    BEN,
    FOLDER,
    ask,
    lookups_sent,
    post,
    publish,
    serving,
)
from tests.functions.streaming import Site, eventually, new_deployment
from tests.functions.test_suppression import KEY, suppress
from tests.programs import execute

USE_CASE = "ga4_purchase"
FAST = {"PROPENSITY_REFRESH_S": "1"}


@pytest.fixture
def clients(workplace, environment):
    """The table and the bucket of one test alone."""
    settings = Settings.from_environment()
    warehouse, artifacts = Warehouse.open(settings), Artifacts.open(settings)
    yield warehouse, artifacts
    warehouse.close()
    artifacts.close()


def publish_index(clients, *, use_case: str = USE_CASE) -> IndexPointer:
    """Publish the index of what the table has; return its pointer."""
    index.publish(*clients, use_case, run_id=uuid.uuid4().hex)
    return IndexPointer.parse(clients[1].read(pointer_name(use_case)).data)


def pointer(artifacts: Artifacts) -> IndexPointer:
    """The index that answers."""
    return IndexPointer.parse(artifacts.read(pointer_name(USE_CASE)).data)


def opened(data: bytes, folder: Path) -> Index:
    """An index of its bytes."""
    path = folder / uuid.uuid4().hex
    path.write_bytes(data)
    return Index(path)


def files(artifacts: Artifacts) -> list[str]:
    """All generations of indexes that the bucket has."""
    every = artifacts.generations(INDEXES)
    return [entry.name for entry in every if entry.name.endswith(".sqlite")]


class TestLookups:
    def test_answer_as_from_the_table_without_a_query(self, workplace, clients):
        """Known users, unknown ones, and many at once; of two use cases."""
        publish(workplace, [ANA, BEN])
        publish(workplace, [ANA | {"probability": 0.5}], use_case="first_day_churn")
        questions = [
            {"user_id": user, "use_case": name}
            for user in ("ana.1", BEN["user_id"], "nobody", "é" * 256)
            for name in (USE_CASE, "first_day_churn")
        ]
        users = {"user_ids": ["nobody", "ana.1", BEN["user_id"], "ana.1"]}
        answers = {}
        for source in ("bigquery", "index"):
            with serving(workplace.environment) as url:
                replies = [ask(url, **question) for question in questions]
                replies.append(post(url, users))
            answers[source] = [(answer.status_code, answer.text) for answer in replies]
            if source == "bigquery":
                publish_index(clients)
                publish_index(clients, use_case="first_day_churn")
                queries = len(lookups_sent(workplace))

        assert answers["index"] == answers["bigquery"]
        assert len(lookups_sent(workplace)) == queries

    def test_import_no_bigquery_nor_anything_heavy(self, workplace, clients, tmp_path):
        """From the staged source, with its own requirements only: the index answers,
        and no client of BigQuery is loaded."""
        publish(workplace, [ANA])
        publish_index(clients)
        program = """
import asyncio, json, sys, main
from starlette.requests import Request
async def receive(): return {}
scope = {"type": "http", "method": "GET", "path": "/", "headers": [],
         "query_string": b"user_id=ana.1"}
answer = asyncio.run(main.get_proba(Request(scope, receive)))
heavy = ["google.cloud.bigquery", "pandas", "pyarrow", "sklearn", "numpy"]
print(json.dumps([json.loads(answer.body), [n for n in heavy if n in sys.modules]]))
"""
        process = execute(
            [python_of("get_proba"), "-c", program],
            cwd=stage.stage(FOLDER, tmp_path / "staged"),
            env={"PATH": os.environ["PATH"], **workplace.environment},
        )

        assert json.loads(process.stdout.splitlines()[-1]) == [ANA, []]


class TestPublication:
    def test_leaves_one_file_to_which_the_pointer_leads(self, workplace, clients):
        """A file is written once; older ones are deleted for good."""
        publish(workplace, [ANA])
        for _ in range(3):
            newest = publish_index(clients)

        assert pointer(clients[1]) == newest
        assert files(clients[1]) == [newest.name]

    def test_of_the_slower_of_two_has_what_both_published(
        self, workplace, clients, monkeypatch, tmp_path
    ):
        """Who read the table before the other one published builds once more, and
        leaves no other file."""
        publish(workplace, [ANA])
        artifacts = clients[1]
        create, others = artifacts.create_from, []

        def late(*arguments):
            create(*arguments)
            if not others:
                others.append(None)
                publish(workplace, [BEN])
                others.append(publish_index(clients))

        monkeypatch.setattr(artifacts, "create_from", late)
        entry = publish_index(clients)

        newest = opened(artifacts.read(entry.name).data, tmp_path)
        assert newest.find("ana.1")
        assert newest.find(BEN["user_id"])
        assert pointer(artifacts) == entry
        assert files(artifacts) == [entry.name]

    def test_refuses_a_table_that_has_a_user_twice(self, workplace, clients):
        """No key helps; the pointer stays as it was, and no file is left."""
        publish(workplace, [ANA])
        before = publish_index(clients)
        publish(workplace, [ANA])

        with pytest.raises(SchemaError, match="twice"):
            publish_index(clients)
        assert files(clients[1]) == [before.name]
        assert pointer(clients[1]) == before


@pytest.mark.long
class TestPredictions:
    def test_say_that_the_index_was_not_published(self, champion_place):
        """Predictions are, the index of before stays, and a retry heals."""
        first = champion_place.run("predictions", TRAINED)
        artifacts = champion_place.registry.artifacts
        before = pointer(artifacts)
        row = {"user_id": "twice", "probability": 0.5, "percentile": 1}
        row |= {"prediction_date": str(TRAINED), "model_version": 0}
        publish(champion_place.workplace, [row, row])
        answer = champion_place.post("predictions", {"as_of": LATER, "force": True})
        rows = champion_place.rows("SELECT MAX(as_of) AS day FROM ma_predictions_table")

        assert first["index_users"] == before.users == 160
        assert artifacts.find(OBJECT) is not None
        assert answer.status_code == 409
        assert "predictions were published" in answer.json["message"]
        assert rows == [{"day": LATER}]
        assert before == pointer(artifacts)

        champion_place.warehouse.execute(
            "DELETE FROM ma_predictions_table "
            "WHERE user_id = 'twice' AND as_of > '2000-01-01'"
        )
        champion_place.run("predictions", LATER, force=True)
        assert pointer(artifacts) != before


@pytest.fixture(scope="module")
def site(emulators):
    """Tables and a bucket with versioning, and a key of the list."""
    extra = {"PROPENSITY_SUPPRESSION_KEY": KEY}
    with new_deployment(emulators, **extra, **FAST) as site:
        yield site


class TestForgottenUsers:
    def test_get_no_answer_and_are_in_no_generation(self, site: Site, tmp_path):
        """The list applies at once though an index in memory has them; then it is
        built anew. Others go on to be answered, and no query is sent for any of it."""
        publish(site.workplace, [ANA, ANA | {"user_id": "kept"}])
        with entered(site.environment):
            artifacts = Artifacts.open(site.settings)
        clients = site.warehouse, artifacts
        suppression.publish(*clients)
        for _ in range(2):
            publish_index(clients)
        environment = site.environment | {"PROPENSITY_USE_CASE": USE_CASE}
        with Instance("get_proba", environment, tmp_path) as instance:

            def status() -> int:
                question = {"user_id": "ana.1"}
                return requests.get(instance.url, question, timeout=60).status_code

            first = status()
            # On the list alone: every generation still has the user.
            suppress(site, "ana.1")
            suppression.publish(*clients)
            eventually(lambda: status() == 404, "the list applies")
            then = {status() for _ in range(5)}
            with_user = [
                name
                for name in files(artifacts)
                if opened(artifacts.read(name).data, tmp_path).find("ana.1")
            ]
            with entered(site.environment):
                report = forget.run(site.settings, ["ana.1"])
            kept = requests.get(instance.url, {"user_id": "kept"}, timeout=60).json()
            log = instance.lines()
        generations = [
            opened(
                artifacts.find(entry.name, generation=entry.generation).data, tmp_path
            )
            for entry in artifacts.generations(INDEXES)
            if entry.name.endswith(".sqlite")
        ]
        places = {
            place["where"]: (place["before"], place["after"])
            for place in report["places"]
        }

        assert (first, then) == (200, {404})
        assert len(with_user) == 1
        assert places[folder_of(USE_CASE).rstrip("/")] == (1, 0)
        assert report["left"] == 0
        [generation] = generations
        assert generation.find("ana.1") is None
        assert generation.find("kept")
        assert kept["probability"] == ANA["probability"]
        assert not [line for line in log if line["message"] == "read predictions"]
        artifacts.close()

    def test_may_come_back(self, site: Site):
        """--allow-again publishes the list, too."""
        suppress(site, "away")
        with entered(site.environment):
            artifacts = Artifacts.open(site.settings)
            suppression.publish(site.warehouse, artifacts)
            before = artifacts.read(OBJECT).data
            forget.allow_again(site.settings, ["away"], use_case="")
        after = artifacts.read(OBJECT).data
        artifacts.close()

        name = user_hash(KEY, "away").encode()
        assert (name in before, name in after) == (True, False)

    def test_stay_away_if_two_write_the_list_at_once(self, site: Site):
        """The one that has read the table before cannot bring the old list back."""
        with entered(site.environment):
            artifacts = Artifacts.open(site.settings)
        suppress(site, "first")
        reads = []

        class Slow:
            settings = site.settings

            def listed(self, *arguments):
                rows = site.warehouse.listed(*arguments)
                reads.append(len(rows))
                if len(reads) == 1:
                    suppress(site, "second")
                    writing = threading.Thread(
                        target=suppression.publish, args=(site.warehouse, artifacts)
                    )
                    writing.start()
                    writing.join()
                return rows

        suppression.publish(Slow(), artifacts)
        data = json.loads(artifacts.read(OBJECT).data)
        artifacts.close()

        assert reads == [reads[0], len(data["users"])] == [reads[0], reads[0] + 1]
