"""
The prediction index over HTTP: published by 01, answered from by 02, without a query
between.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from datetime import timedelta
from pathlib import Path

from deploy import stage
from local.stack.state import ROOT
from propensity.gcp.artifacts import Artifacts, content_of
from propensity.registry import index, suppressed_list
from propensity.registry.index import (
    INDEXES,
    Index,
    IndexPointer,
    pointer_name,
)
from tests.functions.conftest import LATER, TRAINED
from tests.functions.instances import python_of, serving
from tests.functions.looked_up import ANA, BEN, TODAY, lookups_sent, publish
from tests.support.deployment import Deployment
from tests.support.programs import execute

USE_CASE = "ga4_purchase"


def publish_index(deployment: Deployment, *, use_case: str = USE_CASE) -> IndexPointer:
    """Publish the index of what the table has; return its pointer."""
    index.publish(deployment.warehouse, deployment.artifacts, use_case, days=60)
    return pointer(deployment.artifacts, use_case)


def pointer(artifacts: Artifacts, use_case: str = USE_CASE) -> IndexPointer:
    name = pointer_name(use_case)
    return content_of(artifacts.read(name), IndexPointer, name=name)


def opened(data: bytes, folder: Path) -> Index:
    path = folder / uuid.uuid4().hex
    path.write_bytes(data)
    return Index(path)


def files(artifacts: Artifacts) -> list[str]:
    """All generations of indexes that the bucket has."""
    every = artifacts.generations(INDEXES)
    return [entry.name for entry in every if entry.name.endswith(".sqlite")]


def test_an_index_has_the_users_of_the_newest_days(deployment, tmp_path):
    """Those who were not scored for a lookback are unknown to lookups."""
    old, kept = (str(TODAY - timedelta(days=days)) for days in (60, 59))
    cyd = ANA | {"user_id": "cyd.3", "prediction_date": kept}
    publish(deployment, [ANA, BEN | {"prediction_date": old}, cyd])
    data = deployment.artifacts.read(publish_index(deployment).name).data
    index = opened(data, tmp_path)

    assert [bool(index.find(user)) for user in ("ana.1", BEN["user_id"], "cyd.3")] == [
        True, False, True,
    ]  # fmt: skip


class TestLookups:
    def test_lookups_answer_as_from_the_table_without_a_query(self, deployment):
        """Known users, unknown ones, and many at once; of two use cases."""
        publish(deployment, [ANA, BEN])
        publish(deployment, [ANA | {"probability": 0.5}], use_case="first_day_churn")
        questions = [
            {"user_id": user, "use_case": name}
            for user in ("ana.1", BEN["user_id"], "nobody", "é" * 256)
            for name in (USE_CASE, "first_day_churn")
        ]
        users = {"user_ids": ["nobody", "ana.1", BEN["user_id"], "ana.1"]}
        answers = {}
        for source in ("bigquery", "index"):
            with serving("get_proba", deployment.environment) as lookups:
                replies = [lookups.get(**question) for question in questions]
                replies.append(lookups.ask(users))
            answers[source] = [(answer.status_code, answer.text) for answer in replies]
            if source == "bigquery":
                publish_index(deployment)
                publish_index(deployment, use_case="first_day_churn")
                queries = len(lookups_sent(deployment))

        assert answers["index"] == answers["bigquery"]
        assert len(lookups_sent(deployment)) == queries

    def test_lookups_import_no_bigquery_nor_anything_heavy(self, deployment, tmp_path):
        """From the staged source the index answers, and no client of BigQuery is
        loaded: it would import Arrow and pandas, so these are not installed either."""
        publish(deployment, [ANA])
        publish_index(deployment)
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
            cwd=stage.stage(ROOT / "02-GetProba", tmp_path / "staged"),
            env={"PATH": os.environ["PATH"], **deployment.environment},
        )

        assert json.loads(process.stdout.splitlines()[-1]) == [ANA, []]
        locked = (ROOT / "deploy/locks/02-GetProba/requirements.txt").read_text()
        assert not {"pandas", "pyarrow", "numpy"} & {*re.findall(r"[\w-]+", locked)}


class TestPublication:
    def test_a_publication_leaves_one_index(self, deployment):
        """A file is written once; older ones are deleted for good."""
        publish(deployment, [ANA])
        for _ in range(3):
            newest = publish_index(deployment)

        assert pointer(deployment.artifacts) == newest
        assert files(deployment.artifacts) == [newest.name]

    def test_the_index_of_the_slower_of_two_has_what_both_published(
        self, deployment, monkeypatch, tmp_path
    ):
        """Who read the table before the other one published builds once more, and
        leaves no other file."""
        publish(deployment, [ANA])
        artifacts = deployment.artifacts
        create = artifacts.create_from
        others = []

        def late(*arguments):
            create(*arguments)
            if not others:
                others.append(None)
                publish(deployment, [BEN])
                others.append(publish_index(deployment))

        monkeypatch.setattr(artifacts, "create_from", late)
        entry = publish_index(deployment)

        newest = opened(artifacts.read(entry.name).data, tmp_path)
        assert newest.find("ana.1")
        assert newest.find(BEN["user_id"])
        assert pointer(artifacts) == entry
        assert files(artifacts) == [entry.name]


class TestPredictions:
    def test_predictions_say_that_the_index_was_not_published(
        self, champion_deployment
    ):
        """Predictions are, and the list of suppressed users before it; the index of
        before stays, and a retry heals."""
        first = champion_deployment.run("predictions", TRAINED)
        artifacts = champion_deployment.registry.artifacts
        before = pointer(artifacts)
        row = {"user_id": "twice", "probability": 0.5, "percentile": 1}
        row |= {"prediction_date": str(TRAINED), "model_version": 0}
        publish(champion_deployment, [row, row])
        artifacts.delete(suppressed_list.FILE)
        answer = champion_deployment.post(
            "predictions", {"as_of": LATER, "force": True}
        )
        rows = champion_deployment.rows(
            "SELECT MAX(as_of) AS day FROM ma_predictions_table"
        )

        assert first["index_users"] == before.users == 160
        assert artifacts.find(suppressed_list.FILE) is not None
        assert answer.status_code == 409
        assert "predictions were published" in answer.json["message"]
        assert rows == [{"day": LATER}]
        assert before == pointer(artifacts)
        assert files(artifacts) == [before.name]

        champion_deployment.warehouse.execute(
            "DELETE FROM ma_predictions_table "
            "WHERE user_id = 'twice' AND as_of > '2000-01-01'"
        )
        champion_deployment.run("predictions", LATER, force=True)
        assert pointer(artifacts) != before
