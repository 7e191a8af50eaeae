"""
What tests of the scheduled functions share: a small shop, and a model trained on it.

The shop is loaded once in a process, and the model is trained once in a run. A
``place`` reads that shop and has tables, view and bucket of its own; a
``champion_place`` has the model as champion.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import functions_framework
import numpy as np
import pyarrow as pa
import pytest
from xdist import is_xdist_controller

from local.stack.state import ROOT
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.versions import Registry
from propensity.runs import setup
from propensity.runs.run import clients
from propensity.settings import Settings
from propensity.tables.every import TABLES, TRAINING_METADATA
from tests import shared, shop
from tests.conftest import Workplace, new_workplace, start_emulators
from tests.described import check_described
from tests.emptied import Objects, empty_tables
from tests.functions.evaluated import MONDAY, USERS
from tests.partitions import of_all_days
from tests.propensity.registry.versions import overwrite
from tests.published import publish

FOLDERS = {
    "model_training": "00-ModelTraining",
    "predictions": "01-Predictions",
    "model_evaluation": "03-ModelEvaluation",
}
FIRST = date(2026, 1, 7)
WEEKS = 20
# Everybody's visits are on Wednesdays, and these are Mondays.
TRAINED = date(2026, 4, 20)
LATER = date(2026, 4, 27)
# A shop of 80 users has fewer rows than a training needs.
SMALL = {
    "training_snapshots": 4,
    "minimum_training_rows": 100,
    "minimum_conversions": 10,
}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the emulators while test modules are imported, scikit-learn with them."""
    if not (session.config.option.collectonly or is_xdist_controller(session)):
        start_emulators()


@cache
def application(target: str) -> Any:
    """Load a function as the platform does."""
    return functions_framework.create_app(
        target, str(ROOT / FOLDERS[target] / "main.py")
    )


@dataclass
class Place:
    """A workplace with tables, and the functions that work in it."""

    workplace: Workplace
    extra: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=lambda: SMALL)

    @property
    def environment(self) -> dict[str, str]:
        return {**self.workplace.environment, **self.extra}

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(self.environment)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The edge to the place's tables; closed with the place."""
        return Warehouse.open(self.settings)

    @cached_property
    def registry(self) -> Registry:
        """The registry in the place's bucket; closed with the place."""
        with entered(self.environment):
            artifacts = Artifacts.open(self.settings)
        return Registry(artifacts, "ga4_purchase")

    def close(self) -> None:
        """Close what was opened."""
        if "warehouse" in vars(self):
            self.warehouse.close()
        if "registry" in vars(self):
            self.registry.artifacts.close()

    def prepare(self) -> None:
        """Create the tables and views."""
        setup.prepare(self.warehouse, self.settings)

    def with_settings(self, **extra: str) -> Place:
        """Return the same place for functions with other settings."""
        return self.changed(extra)

    def with_constants(self, **constants: float) -> Place:
        """Return the same place for functions with other constants."""
        return self.changed({}, constants)

    def changed(
        self, extra: Mapping[str, str], constants: Mapping[str, float] | None = None
    ) -> Place:
        """Return the same place, its clients as well, with more of either."""
        constants = {**self.constants, **(constants or {})}
        place = replace(self, extra={**self.extra, **extra}, constants=constants)
        vars(place).update(warehouse=self.warehouse, registry=self.registry)
        return place

    def post(self, target: str, body: object = None, **arguments: Any) -> Any:
        """Call a function in this process, with this place's settings alone."""
        client = application(target).test_client()
        if body is not None:
            arguments["data"] = json.dumps(body, default=str)
        request = {"method": "POST", **arguments}
        with entered(self.environment), patch.multiple(Settings, **self.constants):
            answer = client.open("/", **request)
        return check_described(target, answer, method=request["method"])

    def run(self, target: str, as_of: date, **body: object) -> dict[str, Any]:
        """Call a function that must succeed; return its answer."""
        answer = self.post(target, {"as_of": as_of, **body})
        assert answer.status_code == 200, answer.text
        return dict(answer.json)

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run a query in the place's dataset, of all days."""
        rows = self.warehouse.rows(of_all_days(sql), parameters)
        return [dict(row.items()) for row in rows]


class entered:  # noqa: N801
    """Hold exactly these settings in the environment, and no client opened before."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        for name in [name for name in os.environ if name.startswith("PROPENSITY_")]:
            self.patch.delenv(name)
        for name, value in self.environment.items():
            self.patch.setenv(name, value)
        clients.cache_clear()

    def __exit__(self, *_: object) -> None:
        if clients.cache_info().currsize:
            for client in clients()[1:]:
                client.close()
        clients.cache_clear()
        self.patch.undo()


@pytest.fixture(scope="session")
def shop_rows() -> list[shop.Row]:
    """The small shop's events: twenty Wednesdays."""
    return shop.weekly(FIRST, WEEKS)


@pytest.fixture(scope="session")
def shop_dataset(emulators, bigquery_emulator, shop_rows) -> str:
    """The dataset that holds the small shop's export."""
    workplace = new_workplace(emulators, bigquery_emulator)
    shop.load(workplace, shop_rows)
    return workplace.ga4_dataset


class Places:
    """
    Places that tests have one after another, each as it was made.

    A table that a test drops, or gives other columns, stays so: such a test makes a
    place of its own, by ``new``.
    """

    def __init__(self, new_workplace: Callable[[], Workplace]) -> None:
        self._new_workplace = new_workplace
        self._made: list[Place] = []
        self._idle: dict[str, list[tuple[Place, Objects]]] = defaultdict(list)

    def new(self, ga4_dataset: str) -> Place:
        """Make a place: tables and a bucket of its own, over some dataset's export."""
        workplace = self._new_workplace()
        environment = {**workplace.environment, "PROPENSITY_GA4_DATASET": ga4_dataset}
        place = Place(replace(workplace, environment=environment))
        self._made.append(place)
        place.prepare()
        return place

    def close(self) -> None:
        """Close what was opened."""
        for place in self._made:
            place.close()

    @contextlib.contextmanager
    def lending(self) -> Iterator[Callable[..., Place]]:
        """Lend places over a dataset's export, until the end."""
        lent: list[tuple[Place, Objects]] = []

        def lend(ga4_dataset: str, **extra: str) -> Place:
            if self._idle[ga4_dataset]:
                place, objects = self._idle[ga4_dataset].pop()
                empty_tables(place.warehouse, TABLES)
                objects.put_back()
            else:
                place = self.new(ga4_dataset)
                objects = Objects(place.registry.artifacts)
            lent.append((place, objects))
            return place.changed(extra)

        yield lend
        for place, objects in lent:
            self._idle[place.workplace.ga4_dataset].append((place, objects))


@pytest.fixture(scope="session")
def places(emulators, bigquery_emulator) -> Iterator[Places]:
    """Places that are used again."""
    places = Places(partial(new_workplace, emulators, bigquery_emulator))
    yield places
    places.close()


@pytest.fixture
def borrow(places) -> Iterator[Callable[..., Place]]:
    """Return a place over a dataset's export for one test."""
    with places.lending() as lend:
        yield lend


@pytest.fixture(scope="module")
def new_place(places, shop_dataset) -> Iterator[Callable[..., Place]]:
    """Return a place over the small shop's export for the tests of one module."""
    with places.lending() as lend:
        yield partial(lend, shop_dataset)


@pytest.fixture(scope="session")
def new_export(emulators, bigquery_emulator) -> Callable[[list[shop.Row]], Workplace]:
    """Load rows into a dataset of their own; its workplace has no tables yet."""

    def make(rows: list[shop.Row]) -> Workplace:
        workplace = new_workplace(emulators, bigquery_emulator)
        shop.load(workplace, rows)
        return workplace

    return make


@dataclass(frozen=True)
class Trained:
    """The results of a training: its answer, objects, and the row about its model."""

    answer: dict[str, Any]
    objects: dict[str, bytes]
    record: pa.Table

    @classmethod
    def at(cls, place: Place) -> Trained:
        """Train at a place."""
        answer = place.run("model_training", TRAINED)
        artifacts = place.registry.artifacts
        objects = {name: artifacts.read(name).data for name in artifacts.names("")}
        rows = place.warehouse.batches(f"SELECT * FROM {TRAINING_METADATA.name}", {})
        return cls(answer, objects, pa.Table.from_batches(rows))

    def put_into(self, place: Place, *, prefix: str = "") -> None:
        """Leave the record and objects at another place, as if it had trained."""
        for name, data in self.objects.items():
            if name.startswith(prefix):
                place.registry.artifacts.create(name, data)
        rows = self.record.cast(TRAINING_METADATA.arrow_schema())
        place.warehouse.write(TRAINING_METADATA, rows)


@pytest.fixture(scope="session")
def first_model(places, shop_dataset) -> Trained:
    """The model that is trained on the small shop, once in a run of the tests."""

    def train(folder: Path) -> None:
        model = Trained.at(places.new(shop_dataset))
        (folder / "model").write_bytes(pickle.dumps(model))

    return pickle.loads((shared.once("model", train) / "model").read_bytes())


@pytest.fixture(scope="session")
def training(places, shop_dataset, first_model) -> tuple[Place, dict[str, Any]]:
    """A place whose first model was trained, and the answer of the training."""
    place = places.new(shop_dataset)
    first_model.put_into(place)
    return place, first_model.answer


@pytest.fixture(scope="session")
def with_champion(first_model) -> Callable[[Place], Place]:
    """Give a place the trained model as its champion, as if it had trained it."""

    def copy(place: Place) -> Place:
        first_model.put_into(place, prefix="models/")
        return place

    return copy


@pytest.fixture
def place(borrow, shop_dataset) -> Place:
    """A place for one test, without a champion."""
    return borrow(shop_dataset)


@pytest.fixture
def champion_place(place, with_champion) -> Place:
    """A place for one test, with a champion."""
    return with_champion(place)


@pytest.fixture
def log_lines(capfd) -> Callable[[], list[dict[str, Any]]]:
    """Return the JSON lines that were written since the last call."""

    def lines() -> list[dict[str, Any]]:
        output = capfd.readouterr().err.splitlines()
        return [json.loads(line) for line in output if line.startswith("{")]

    return lines


@pytest.fixture(scope="module")
def own_export(new_export) -> Workplace:
    """An export that each test fills."""
    return new_export([shop.event("u1", MONDAY)])


@pytest.fixture
def shop_of(own_export, borrow) -> Callable[[list[shop.Row]], Place]:
    """Return the place of one test, whose export holds these rows."""

    def make(rows: list[shop.Row]) -> Place:
        name = own_export.ga4_dataset
        with own_export.bigquery.client() as client:
            for table in client.list_tables(name):
                client.delete_table(table)
        shop.load(own_export, rows)
        return borrow(name)

    return make


@pytest.fixture(scope="module")
def scores() -> dict[str, float]:
    """A probability for each of many users; some share one."""
    generator = np.random.default_rng(3)
    drawn = np.round(generator.beta(1, 4, USERS), 2)
    return {f"u{number}": float(value) for number, value in enumerate(drawn)}


@pytest.fixture(scope="module")
def converters(scores) -> list[str]:
    """The users who buy: each by its probability."""
    generator = np.random.default_rng(4)
    return [user for user, p in scores.items() if generator.random() < p]


@pytest.fixture
def monday(shop_of, scores, converters) -> Place:
    """A place with a publication of Monday and the outcomes of its week."""
    place = shop_of([shop.purchase(user, MONDAY + shop.DAY) for user in converters])
    publish(place.warehouse, MONDAY, scores)
    return place


@pytest.fixture(scope="module")
def published_once(new_place, with_champion) -> tuple[Place, dict[str, Any]]:
    """A place with one publication, and the answer of its run."""
    place = with_champion(new_place())
    return place, place.run("predictions", TRAINED)


def let_the_lease_end(place: Place, kind: str, as_of: date) -> None:
    """Write a lease as it would stand had its time passed."""
    name = f"runs/ga4_purchase/{kind}/{as_of}.json"
    lease = json.loads(place.registry.artifacts.read(name).data)
    lease["expires_at"] = "2026-01-01T00:00:00.000000+00:00"
    overwrite(place.registry, name, json.dumps(lease).encode())


@pytest.fixture
def user() -> str:
    """A user of one test alone."""
    return f"user-{uuid.uuid4().hex[:8]}"
