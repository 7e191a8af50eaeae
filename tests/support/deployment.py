"""
A deployment in this process: the one class that tests work with.

Its tables, objects and topics are on a ground of its own, behind no HTTP. Functions are
called in this process (``run``, ``post``), commands by their words (``command``), and
``rows``, ``read`` and ``published`` say what they have left. Settings are given by
name; ``with_settings`` gives the same deployment to what is set differently.
``emulated`` has one whose statements and messages go to the emulators.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import functions_framework
import pyarrow as pa
import pytest
from msgspec import structs

from commands.cli import main
from local.ground import Ground
from local.stack.state import FUNCTIONS, ROOT
from offline import load_model
from propensity import usecases
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.learning import importance
from propensity.registry.versions import Registry
from propensity.runs import setup
from propensity.runs.run import clients
from propensity.schema import Table
from propensity.settings import Settings, is_setting
from propensity.suppression import EVERYWHERE, key_id, user_hash
from propensity.tables import every as tables
from propensity.tables.models import TRAINING_METADATA
from propensity.tables.stream import STREAM_EVENTS, SUPPRESSED_USERS
from propensity.usecases import UseCase
from tests.propensity.learning.report_pages import parse
from tests.propensity.registry.versions import store
from tests.support.clocks import ManualClock
from tests.support.described import check_described
from tests.support.doors import address_of, check_parameters
from tests.support.rows import append_rows, of_all_days
from tests.support.traces import traces

# The use case whose events are streamed.
STREAMED = "first_day_churn"
# The settings of a deployment that has only events from the stream.
OF_A_STREAM = {
    "PROPENSITY_GA4_DATASET": "",
    "PROPENSITY_USE_CASE": STREAMED,
    "PROPENSITY_DEADLINE_S": "30",
}
# Tests with a list of suppressed users hash them with this key.
KEY = "a key of the tests, long enough for one"
DEADLINE_S = 120.0  # nothing that works waits as long, also on a busy machine
# A shop of 80 users has fewer rows than a training needs.
SMALL = {
    "training_snapshots": 4,
    "minimum_training_rows": 100,
    "minimum_conversions": 10,
}

# As local mode has them: its events happened long ago.
ENVIRONMENT = {
    "PROPENSITY_DATASET": "propensity",
    "PROPENSITY_GA4_DATASET": "analytics_1",
    "PROPENSITY_BUCKET": "bucket",
    "PROPENSITY_DEADLINE_S": "30",
    "PROPENSITY_REFRESH_S": "1",
    "PROPENSITY_MAXIMUM_LATENESS_DAYS": "36500",
    "PROPENSITY_MAXIMUM_SCORE_DELAY_DAYS": "36500",
}

# Use cases with their first candidate alone, by what they are made of.
_QUICK: dict[int, tuple[UseCase, UseCase]] = {}

check_parameters()


@cache
def application(target: str) -> Any:
    """Load a function as the platform does."""
    [folder] = [one.folder for one in FUNCTIONS if one.target == target]
    return functions_framework.create_app(target, str(ROOT / folder / "main.py"))


@contextlib.contextmanager
def entered(environment: Mapping[str, str]) -> Iterator[None]:
    """Hold exactly these settings in the environment, and no client opened before."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if is_setting(name)]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        clients.cache_clear()
        try:
            yield
        finally:
            if clients.cache_info().currsize:
                for client in clients()[1:]:
                    client.close()
            clients.cache_clear()


def with_one_candidate(use_case: UseCase) -> UseCase:
    """Return a use case whose statements are read once, however often it is asked."""
    if id(use_case) not in _QUICK:
        quick = structs.replace(use_case, candidates=use_case.candidates[:1])
        _QUICK[id(use_case)] = use_case, quick
    return _QUICK[id(use_case)][1]


class Deployment:
    """
    A project, datasets and a bucket on a ground, and what tests do there.

    Its datasets and its bucket are made, and empty: there is no table yet.

    Args:
        ground: One that has them already.
        settings: Of its functions and commands, beyond where all that is.
    """

    def __init__(self, ground: Ground | None = None, **settings: str) -> None:
        self._begin(**settings)
        # The topics' names begin with it.
        self.name = "tests"
        self.dataset = "propensity"
        self.ga4_dataset = "analytics_1"
        self.ground = Ground(self.project) if ground is None else ground
        self.address = address_of(self.ground)
        if ground is None:
            for dataset in (self.dataset, self.ga4_dataset):
                self.ground.bigquery.create_dataset(dataset)
            self.ground.storage.create_bucket("bucket")

    def _begin(self, **settings: str) -> None:
        self.project = "my-project"
        self.extra: Mapping[str, str] = settings
        self.constants: Mapping[str, float] = SMALL
        # A training fits the first candidate alone: most tests are not about the model.
        self.fits_all = False
        # Tests move it, for what they begin with it.
        self.clock = ManualClock()

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a function that works here."""
        own = os.environ.get("PROPENSITY_USE_CASES")
        folder = {"PROPENSITY_USE_CASES": own} if own else {}
        return {**self._environment(), **folder, **self.extra}

    def _environment(self) -> Mapping[str, str]:
        return {**ENVIRONMENT, **self.address}

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(self.environment)

    @cached_property
    def warehouse(self) -> Warehouse:
        return Warehouse.open(self.settings)

    @cached_property
    def bucket(self) -> Any:
        return self.ground.storage.bucket("bucket")

    @cached_property
    def artifacts(self) -> Artifacts:
        return Artifacts(self.bucket, self.settings)

    @cached_property
    def registry(self) -> Registry:
        return Registry(self.artifacts, self.settings.use_case)

    def close(self) -> None:
        """Close what was opened."""

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Have functions and commands of this process work here."""
        with entered(self.environment):
            yield

    def prepare(self) -> None:
        """Create all tables and views but that of the export."""
        setup.prepare(self.warehouse, replace(self.settings, ga4_dataset=""))

    def with_settings(self, **extra: str) -> Self:
        """Return the same deployment for what has other settings."""
        twin = copy.copy(self)
        twin.extra = {**self.extra, **extra}
        return twin

    # Functions and commands

    def command(self, *words: str) -> int:
        """Run a command; return its exit status."""
        with entered(self.environment):
            return main(words)

    def post(self, target: str, body: object = None, **arguments: Any) -> Any:
        """Call a function in this process, with these settings alone."""
        client = application(target).test_client()
        if body is not None:
            arguments["data"] = json.dumps(body, default=str)
        request = {"method": "POST", **arguments}
        with entered(self.environment), self.trains_quickly():
            answer = client.open("/", **request)
        return check_described(target, answer, method=request["method"])

    @contextlib.contextmanager
    def trains_quickly(self) -> Iterator[None]:
        """Have trainings of few rows, one candidate, and features shuffled once."""
        load = usecases.load
        loaded = load if self.fits_all else lambda name: with_one_candidate(load(name))
        with (
            patch.multiple(Settings, **self.constants),
            patch.object(usecases, "load", loaded),
            patch.object(importance, "REPEATS", 1),
        ):
            yield

    def run(self, target: str, as_of: date, **body: object) -> dict[str, Any]:
        """Call a function that must succeed; return its answer."""
        answer = self.post(target, {"as_of": as_of, **body})
        assert answer.status_code == 200, answer.text
        return dict(answer.json)

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run a query of all days."""
        # It asks once, which is quicker than to have a job, to wait and to read.
        rows = self.warehouse.lookup(of_all_days(sql), parameters)
        return [dict(row.items()) for row in rows]

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        return bytes(self.artifacts.read(name).data)

    def page(self, name: str) -> str:
        """Return the text of an HTML page, its spaces as one."""
        return " ".join(" ".join(parse(self.read(name).decode()).words).split())

    def published(self) -> dict[str, list[tuple[str, ...]]]:
        """Return all that 01 has published, without run times."""
        return {
            name: sorted(
                tuple(str(row[column]) for column in row if column != "scored_at")
                for row in self.rows(f"SELECT * FROM {name}")
            )
            for name in ("ma_predictions_table", "ma_predictions_history")
        }

    def versions(self) -> list[dict[str, Any]]:
        """Return the trained versions, the oldest first; ``card`` is read."""
        sql = "SELECT * FROM ma_model_training_metadata ORDER BY model_version"
        return [{**row, "card": json.loads(row["card"])} for row in self.rows(sql)]

    def evaluations(self) -> list[dict[str, Any]]:
        """Return the evaluated weeks, with their metrics as if these were columns."""
        sql = "SELECT * FROM ma_model_evaluation ORDER BY week, model_version"
        return [{**row, **row["metrics"]} for row in self.rows(sql)]

    # Tables

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self.rows(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"])

    def append(self, table: Table, *rows: Mapping[str, Any]) -> None:
        """Append rows; columns that a test does not name are null."""
        append_rows(self.warehouse, table, rows)

    def store(self, rows: pa.Table) -> None:
        """Store rows of ``stream_events``."""
        self.warehouse.write(STREAM_EVENTS, rows)

    def suppress(
        self, user: str, *, use_case: str = EVERYWHERE, at: datetime | None = None
    ) -> None:
        """Put a user on the list under the tests' key."""
        at = at or datetime.now(UTC)
        row = {
            "use_case": use_case,
            "user_hash": user_hash(KEY, user),
            "key_id": key_id(KEY),
            "suppressed_at": at,
            "suppressed_on": at.date(),
        }
        self.append(SUPPRESSED_USERS, row)

    def empty(self, of: Iterable[Table] = tables.TABLES) -> None:
        """Remove all rows of tables, and all objects."""
        self.empty_tables(of)
        self.empty_bucket()

    def empty_tables(self, of: Iterable[Table]) -> None:
        """Remove all rows of tables."""
        place = f"{self.project}.{self.dataset}"
        client = self.warehouse.client
        for name in [table.stored for table in of]:
            if client.get_table(f"{place}.{name}").num_rows:
                self.warehouse.execute(f"TRUNCATE TABLE {name}")

    def traces(self, *users: str) -> set[str]:
        """Return the tables and objects that have one of some users."""
        return traces(self.warehouse.client, self.dataset, self.bucket, *users)

    # Objects

    def empty_bucket(self) -> None:
        """Remove all objects, with the generations that a versioned bucket keeps."""
        for entry in self.artifacts.generations():
            self.artifacts.delete(entry.name, generation=entry.generation)

    @contextlib.contextmanager
    def putting_objects_back(self) -> Iterator[None]:
        """Delete what the block makes; write anew what it changes or deletes."""
        artifacts = self.artifacts
        data = {name: artifacts.read(name).data for name in artifacts.names("")}
        kept = {*artifacts.generations()}
        yield
        there = {*artifacts.generations()}
        for entry in there - kept:
            artifacts.delete(entry.name, generation=entry.generation)
        for name in {entry.name for entry in kept - there}:
            artifacts.create(name, data[name])

    def load_model(self, folder: Path = load_model.MODELS) -> load_model.Outcome:
        """Load the model that ships, or that of a folder."""
        return load_model.load(
            self.warehouse, self.artifacts, self.settings, folder=folder
        )

    def publish_version(self, use_case: str, **files: Any) -> int:
        """Store and record a fitted model, as training does; return its version."""
        version, row = store(Registry(self.artifacts, use_case), **files)
        self.warehouse.write(TRAINING_METADATA, row)
        return version

    def damage(self, name: str, data: bytes) -> None:
        """Give an object other bytes than those of its checksum."""
        self.bucket.live(name).data = data

    # Topics

    def topic(self, name: str) -> str:
        """Return the deployment's own name of a topic."""
        return f"{self.name}-{name}"

    def create_topic(self, name: str) -> None:
        self.ground.topics.create(name)

    def subscribe(self, topic: str) -> tuple[str, int]:
        """Subscribe to a topic: to what comes from now on."""
        return topic, len(self.ground.topics.messages[topic])

    def pull(self, subscription: tuple[str, int], count: int) -> list[Any]:
        """Return this many messages of a subscription, or fewer."""
        topic, start = subscription
        return self.ground.topics.messages[topic][start : start + count]

    @contextlib.contextmanager
    def pulled(self, topic: str) -> Iterator[Callable[[int], list[Any]]]:
        """What comes to a topic from now on: so many messages."""
        subscription = self.subscribe(self.topic(topic))
        yield lambda count: self.pull(subscription, count)
