"""
What tests of the scheduled functions share: deployments, a small shop, and its model.

A ``Place`` is a deployment: tables, views and a bucket of its own, and the functions
that work there. ``borrow`` gives one to a test, ``new_place`` to the tests of a module:
over the small shop, or over rows that the test names. The shop's model is trained once
in a run.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import functions_framework
import numpy as np
import pyarrow as pa
import pytest
from msgspec import structs
from xdist import is_xdist_controller

from local.stack.stack import Stack
from local.stack.state import FUNCTIONS, ROOT
from propensity import usecases
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.versions import Registry
from propensity.runs import setup
from propensity.runs.run import clients
from propensity.settings import Settings
from propensity.tables.every import EVALUATION, TABLES, TRAINING_METADATA
from propensity.usecases import UseCase
from tests import shared, shop
from tests.conftest import Workplace, new_workplace, only, start_emulators
from tests.described import check_described
from tests.emptied import empty_bucket, empty_tables
from tests.partitions import of_all_days
from tests.propensity.learning.report_pages import parse
from tests.published import publish

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
# The week of a publication that tests write themselves, and how many users it has.
MONDAY = date(2026, 3, 2)
USERS = 200


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the emulators while test modules are imported, scikit-learn with them."""
    if not (session.config.option.collectonly or is_xdist_controller(session)):
        start_emulators()


@cache
def application(target: str) -> Any:
    """Load a function as the platform does."""
    [folder] = [one.folder for one in FUNCTIONS if one.target == target]
    return functions_framework.create_app(target, str(ROOT / folder / "main.py"))


@contextlib.contextmanager
def entered(environment: Mapping[str, str]) -> Iterator[None]:
    """Hold exactly these settings in the environment, and no client opened before."""
    with only(environment):
        clients.cache_clear()
        try:
            yield
        finally:
            if clients.cache_info().currsize:
                for client in clients()[1:]:
                    client.close()
            clients.cache_clear()


@dataclass
class Place:
    """A deployment, and the functions that work in it."""

    workplace: Workplace
    warehouse: Warehouse
    registry: Registry
    extra: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=lambda: SMALL)
    # A training fits the first candidate alone: most tests are not about the model.
    fits_all: bool = False

    @property
    def environment(self) -> dict[str, str]:
        return {**self.workplace.environment, **self.extra}

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(self.environment)

    def with_settings(self, **extra: str) -> Place:
        """Return the same place for functions with other settings."""
        return replace(self, extra={**self.extra, **extra})

    def with_constants(self, **constants: float) -> Place:
        """Return the same place for functions with other constants."""
        return replace(self, constants={**self.constants, **constants})

    def post(self, target: str, body: object = None, **arguments: Any) -> Any:
        """Call a function in this process, with this place's settings alone."""
        client = application(target).test_client()
        if body is not None:
            arguments["data"] = json.dumps(body, default=str)
        request = {"method": "POST", **arguments}
        with (
            entered(self.environment),
            patch.multiple(Settings, **self.constants),
            patch.object(usecases, "load", self._use_case(usecases.load)),
        ):
            answer = client.open("/", **request)
        return check_described(target, answer, method=request["method"])

    def _use_case(self, load: Callable[[str], UseCase]) -> Callable[[str], UseCase]:
        def loaded(name: str) -> UseCase:
            use_case = load(name)
            fitted = use_case.candidates if self.fits_all else use_case.candidates[:1]
            return structs.replace(use_case, candidates=fitted)

        return loaded

    def run(self, target: str, as_of: date, **body: object) -> dict[str, Any]:
        """Call a function that must succeed; return its answer."""
        answer = self.post(target, {"as_of": as_of, **body})
        assert answer.status_code == 200, answer.text
        return dict(answer.json)

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run a query in the place's dataset, of all days."""
        rows = self.warehouse.rows(of_all_days(sql), parameters)
        return [dict(row.items()) for row in rows]

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        return bytes(self.registry.artifacts.read(name).data)

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
        absent = dict.fromkeys(column.name for column in EVALUATION.in_json)
        return [
            {**absent, **row, **json.loads(row["metrics"] or "{}")}
            for row in self.rows(sql)
        ]


@dataclass(frozen=True)
class Trained:
    """The results of a training: its answer, objects, and the row about its model."""

    answer: dict[str, Any]
    objects: dict[str, bytes]
    record: pa.Table

    def put_into(self, place: Place) -> None:
        """Leave the record and objects at another place, as if it had trained."""
        for name, data in self.objects.items():
            place.registry.artifacts.create(name, data)
        rows = self.record.cast(TRAINING_METADATA.arrow_schema())
        place.warehouse.write(TRAINING_METADATA, rows)


@dataclass
class Places:
    """
    Places that tests have one after another, each without a row or an object.

    A table that a test drops, or gives other columns, stays so: no test does that.
    """

    emulators: Stack
    shop_dataset: str
    made: list[Place] = field(default_factory=list)
    idle: list[Place] = field(default_factory=list)

    def _new(self) -> Place:
        workplace = new_workplace(self.emulators)
        with entered(workplace.environment):
            settings = Settings.from_environment()
            warehouse, artifacts = Warehouse.open(settings), Artifacts.open(settings)
        setup.prepare(warehouse, replace(settings, ga4_dataset=""))
        self.made.append(
            Place(workplace, warehouse, Registry(artifacts, "ga4_purchase"))
        )
        return self.made[-1]

    @contextlib.contextmanager
    def lending(self) -> Iterator[Callable[..., Place]]:
        """Lend places, until the end."""
        lent: list[Place] = []

        def lend(
            rows: Iterable[shop.Row] | None = None,
            *,
            dataset: str | None = None,
            champion: bool = False,
            **extra: str,
        ) -> Place:
            """Lend one over an export of these rows, or of a dataset ("" for none)."""
            lent.append(self.idle.pop() if self.idle else self._new())
            place = lent[-1]
            empty_tables(place.warehouse, TABLES)
            empty_bucket(place.registry.artifacts)
            if rows is not None:
                dataset = place.workplace.ga4_dataset
                for table in place.warehouse.tables_of(dataset):
                    place.warehouse.client.delete_table(f"{dataset}.{table}")
                shop.load(place.workplace, rows)
            elif dataset is None:
                dataset = self.shop_dataset
            place = place.with_settings(PROPENSITY_GA4_DATASET=dataset, **extra)
            if dataset:
                setup.prepare_export(place.warehouse, place.settings)
            if champion:
                self.first_model.put_into(place)
            return place

        yield lend
        self.idle += lent

    @cached_property
    def first_model(self) -> Trained:
        """The model that is trained on the small shop, once in a run of the tests."""

        def train(folder: Path) -> None:
            with self.lending() as lend:
                place = replace(lend(), fits_all=True)
                answer = place.run("model_training", TRAINED)
                artifacts = place.registry.artifacts
                objects = {
                    name: artifacts.read(name).data for name in artifacts.names("")
                }
                sql = f"SELECT * FROM {TRAINING_METADATA.name}"
                record = place.warehouse.table(sql)
            model = Trained(answer, objects, record)
            (folder / "model").write_bytes(pickle.dumps(model))

        return pickle.loads((shared.once("model", train) / "model").read_bytes())


@pytest.fixture(scope="session")
def shop_rows() -> list[shop.Row]:
    """The small shop's events: twenty Wednesdays."""
    return shop.weekly(FIRST, WEEKS)


@pytest.fixture(scope="session")
def shop_dataset(emulators, shop_rows) -> str:
    """The dataset that holds the small shop's export."""
    workplace = new_workplace(emulators)
    shop.load(workplace, shop_rows)
    return workplace.ga4_dataset


@pytest.fixture(scope="session")
def places(emulators, shop_dataset) -> Iterator[Places]:
    """Places that are used again."""
    places = Places(emulators, shop_dataset)
    yield places
    for place in places.made:
        place.warehouse.close()
        place.registry.artifacts.close()


@pytest.fixture
def borrow(places) -> Iterator[Callable[..., Place]]:
    """Lend places to one test."""
    with places.lending() as lend:
        yield lend


@pytest.fixture(scope="module")
def new_place(places) -> Iterator[Callable[..., Place]]:
    """Lend places to the tests of one module."""
    with places.lending() as lend:
        yield lend


@pytest.fixture
def place(borrow) -> Place:
    """A place over the small shop for one test, without a champion."""
    return borrow()


@pytest.fixture
def champion_place(borrow) -> Place:
    """The same, with a champion."""
    return borrow(champion=True)


@pytest.fixture
def log_lines(capfd) -> Callable[[], list[dict[str, Any]]]:
    """Return the JSON lines that were written since the last call."""

    def lines() -> list[dict[str, Any]]:
        output = capfd.readouterr().err.splitlines()
        return [json.loads(line) for line in output if line.startswith("{")]

    return lines


@pytest.fixture(scope="session")
def scores() -> dict[str, float]:
    """A probability for each of many users; some share one."""
    generator = np.random.default_rng(3)
    drawn = np.round(generator.beta(1, 4, USERS), 2)
    return {f"u{number}": float(value) for number, value in enumerate(drawn)}


@pytest.fixture(scope="session")
def converters(scores) -> list[str]:
    """The users who buy: each by its probability."""
    generator = np.random.default_rng(4)
    return [user for user, p in scores.items() if generator.random() < p]


@pytest.fixture
def monday(borrow, scores, converters) -> Place:
    """A place with a publication of Monday and the outcomes of its week."""
    place = borrow([shop.purchase(user, MONDAY + shop.DAY) for user in converters])
    publish(place.warehouse, MONDAY, scores)
    return place


@pytest.fixture
def user() -> str:
    """A user of one test alone."""
    return f"user-{uuid.uuid4().hex[:8]}"
