"""
Privacy, specified end to end: nobody is named where nobody need be.

A registration of somebody with a remarkable name goes through all functions, right and
wrong, with events, scores, compaction and exports, and the same user shops in
a GA4 export, is trained on, scored and looked up. Then everything that was written is
searched: every column of every table, every object, every line of every log.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from commands.cli import main
from propensity.runs import setup
from tests.events import bet, registration, written
from tests.functions.conftest import LATER, TRAINED, entered
from tests.functions.instances import Instance, together
from tests.functions.streaming import Site, eventually, new_site

USER = "player-5f1c9e"
# What nobody may find again; the year of the birth date is the age.
PERSONAL = {
    "name": "Zebediah Quillfeather",
    "street_address": "77 Xylophone Crescent",
    "date_of_birth": "1987-11-23",
}
FUNCTIONS = ("stream_features", "score_stream", "get_proba", "score")


@dataclass
class Searched:
    """All that was written: texts by where they are."""

    tables: Mapping[str, str]
    objects: Mapping[str, bytes]
    logs: Mapping[str, str]


def cells(value: Any) -> str:
    """A value as text, bytes as what they say."""
    if isinstance(value, bytes):
        return value.replace(b"\0", b"").decode("utf-8", "replace")
    return str(value)


def wrong_registrations() -> list[bytes]:
    """Registrations of the same person, as JSON, that no function takes."""
    right = registration(user_id=USER, **PERSONAL)
    return [
        written({**right, "label": "perhaps"}),
        written({**right, "event_time": "at noon"}),
        written({**right, "event_type": "new_regstration"}),
        written({**right, "date_of_birth": "23.11.1987"}),
    ]


@pytest.fixture(scope="module")
def site(emulators) -> Iterator[Site]:
    """Tables, topics and a bucket."""
    with new_site(emulators) as site:
        setup.prepare(site.warehouse, site.settings)
        yield site


@pytest.fixture(scope="module")
def searched(site, tmp_path_factory) -> Searched:
    """Everything after a run of it all."""
    home = tmp_path_factory.mktemp("privacy")
    now = datetime.now(UTC)
    with entered(site.environment):
        main(["load", "model"])
    instances = {
        name: Instance(name, site.environment, home / name) for name in FUNCTIONS
    }
    with together([*instances.values()]):
        site.subscribe(site.topic("enriched"), endpoint=instances["score_stream"].url)
        at = f"{now - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
        right = registration(user_id=USER, event_time=at, **PERSONAL)
        for event in (right, bet(user_id=USER, event_time=at)):
            instances["stream_features"].post(event)
        for data in wrong_registrations():
            assert instances["stream_features"].post(data).status_code == 200
            assert instances["score_stream"].post(data).status_code == 200
        eventually(lambda: site.count("inference_log"), "the bet is scored")
        site.compact(now + timedelta(days=2), force=True)
        for question in ({"user_id": USER}, {"user_id": "nobody"}):
            requests.get(instances["get_proba"].url, question, timeout=60)
            requests.post(
                instances["score"].url,
                json={**question, "use_case": "first_day_churn"},
                timeout=60,
            )
        requests.get(instances["get_proba"].url, {USER: "x"}, timeout=60)
        body = {"user_id": USER, "features": {}, USER: 1}
        requests.post(instances["score"].url, json=body, timeout=60)
        scored = site.count("inference_log")
        eventually(lambda: site.count("inference_log") >= scored, "scores are logged")
    return Searched(
        tables={
            f"{table.table_id}.{name}": " ".join(cells(row[name]) for row in rows)
            for table in site.warehouse.client.list_tables(site.settings.dataset)
            if (rows := site.rows(f"SELECT * FROM {table.table_id}"))
            for name in rows[0]
        },
        objects={
            name: site.artifacts.read(name).data for name in site.artifacts.names("")
        },
        logs={name: instance.log() for name, instance in instances.items()},
    )


def texts(data: bytes) -> str:
    """What an object says, the columns of a Parquet file as well."""
    if data[:4] == b"PAR1":
        return str(pq.read_table(io.BytesIO(data)).to_pylist())
    return data.decode("utf-8", "replace")


@pytest.mark.long
class TestStream:
    def test_was_searched_where_it_all_is(self, searched):
        """The search would find: the user's id is in tables and exports."""
        holding = {name for name, text in searched.tables.items() if USER in text}
        files = {
            name.split("/")[0]
            for name, data in searched.objects.items()
            if USER in texts(data)
        }

        assert {
            "stream_events.user_id",
            "stream_features_daily.user_id",
            "inference_log.user_id",
            "dead_letters.raw",
            "stream_features.user_id",
        } <= holding
        assert files == {"exports"}
        assert set(searched.logs) == set(FUNCTIONS)
        assert sum('"function"' in text for text in searched.logs.values()) > 1

    @pytest.mark.parametrize("field", PERSONAL)
    def test_stores_and_logs_no_personal_field(self, searched, field):
        """In no table, where it is accepted or refused, and in no object."""
        secret = PERSONAL[field]
        last = secret.split()[-1]
        named = [
            *(name for name, text in searched.tables.items() if last in text),
            *(name for name, text in searched.tables.items() if "23.11.1987" in text),
            *(name for name, data in searched.objects.items() if last in texts(data)),
            *(name for name, text in searched.logs.items() if last in text),
        ]

        assert named == []

    def test_logs_no_user(self, searched):
        assert not [name for name, text in searched.logs.items() if USER in text]


@pytest.mark.long
class TestShop:
    def test_names_nobody_outside_its_tables(self, champion_place, capsys):
        """00, 01 and 03 name no user in a log, an answer or an object."""
        user = "user.004"
        answers = [
            champion_place.run("predictions", TRAINED),
            champion_place.run("model_evaluation", LATER),
            champion_place.run("model_training", LATER),
        ]
        artifacts = champion_place.registry.artifacts
        names = artifacts.names("")

        assert any(name.endswith(".parquet") for name in names)
        assert not [n for n in names if user in texts(artifacts.read(n).data)]
        assert user not in json.dumps(answers) + "".join(capsys.readouterr())
