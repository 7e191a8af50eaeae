"""
What tests of the scheduled functions share: deployments, a small shop, and its model.

``borrow_deployment`` lends one to a test, ``borrow_module_deployment`` to the tests of
a module: over the small shop, or over rows that the test names. The shop's model is
trained once in a run.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from local.stack.stack import Stack
from propensity.runs import setup
from propensity.tables.every import TABLES
from propensity.tables.export import DIGEST
from propensity.tables.models import TRAINING_METADATA
from tests.conftest import is_emulated
from tests.support import shared, shop, shops
from tests.support.deployment import Deployment
from tests.support.emulated import Emulated
from tests.support.rows import publish
from tests.support.shops import FIRST, LATER, TRAINED, WEEKS  # noqa: F401 for tests

# The week of a publication that tests write themselves, and how many users it has.
MONDAY = date(2026, 3, 2)
USERS = 200


@dataclass(frozen=True)
class Trained:
    """The results of a training: its answer, objects, and the row about its model."""

    answer: dict[str, Any]
    objects: dict[str, bytes]
    record: pa.Table

    def put_into(self, deployment: Deployment) -> None:
        """Leave the record and objects at another deployment, as if it had trained."""
        for name, data in self.objects.items():
            deployment.registry.artifacts.create(name, data)
        rows = self.record.cast(TRAINING_METADATA.arrow_schema())
        deployment.warehouse.write(TRAINING_METADATA, rows)


@dataclass
class Deployments:
    """
    Deployments that tests have one after another, each without a row or an object.

    A table that a test drops, or gives other columns, stays so: no test does that.
    """

    emulators: Stack
    shop_dataset: str
    made: list[Deployment] = field(default_factory=list)
    # By what their view reads: the emulator translates statements anew for another one.
    idle: dict[str, list[Deployment]] = field(default_factory=lambda: defaultdict(list))

    def _new(self) -> Deployment:
        deployment = Emulated(self.emulators)
        deployment.prepare()
        self.made.append(deployment)
        return deployment

    @contextlib.contextmanager
    def lending(self) -> Iterator[Callable[..., Deployment]]:
        """Lend deployments, until the end."""
        lent: list[tuple[str, Deployment]] = []

        def lend(
            rows: Iterable[shop.Row] | None = None,
            *,
            dataset: str | None = None,
            champion: bool = False,
            **extra: str,
        ) -> Deployment:
            """Lend one over an export of these rows, or of a dataset ("" for none)."""
            exported = "rows" if rows is not None else str(dataset)
            idle = self.idle[exported]
            deployment = idle.pop() if idle else self._new()
            lent.append((exported, deployment))
            # A digest of the small shop stays: nobody changes its export.
            kept = () if rows is not None else DIGEST
            deployment.empty([table for table in TABLES if table not in kept])
            if rows is not None:
                dataset = deployment.ga4_dataset
                for table in deployment.warehouse.tables_of(dataset):
                    deployment.warehouse.client.delete_table(f"{dataset}.{table}")
                shop.load(deployment, rows)
            elif dataset is None:
                dataset = self.shop_dataset
            deployment = deployment.with_settings(
                PROPENSITY_GA4_DATASET=dataset, **extra
            )
            if dataset:
                setup.prepare_export(deployment.warehouse, deployment.settings)
            if champion:
                self.first_model.put_into(deployment)
            return deployment

        yield lend
        for exported, deployment in lent:
            self.idle[exported].append(deployment)

    @cached_property
    def first_model(self) -> Trained:
        """The model that is trained on the small shop, once in a run of the tests."""

        def train(folder: Path) -> None:
            with self.lending() as lend:
                deployment = lend()
                deployment.fits_all = True
                answer = deployment.run("model_training", TRAINED)
                artifacts = deployment.registry.artifacts
                objects = {
                    name: artifacts.read(name).data for name in artifacts.names("")
                }
                sql = f"SELECT * FROM {TRAINING_METADATA.name}"
                record = deployment.warehouse.table(sql)
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
    with contextlib.closing(Emulated(emulators)) as deployment:
        shop.load(deployment, shop_rows)
        return deployment.ga4_dataset


@pytest.fixture(scope="session")
def deployments(emulators, shop_dataset) -> Iterator[Deployments]:
    """Deployments that are used again."""
    deployments = Deployments(emulators, shop_dataset)
    yield deployments
    for deployment in deployments.made:
        deployment.close()


def on_the_ground(
    rows: Iterable[shop.Row] | None = None,
    *,
    dataset: str | None = None,
    champion: bool = False,
    **extra: str,
) -> Deployment:
    """Return one over an export of these rows, or of a dataset ("" for none)."""
    stage = shops.Stage.TRAINED if champion else shops.Stage.DIGESTED
    if rows is None and dataset is None:
        return shops.a_shop(stage, **extra)
    if rows is None:
        extra["PROPENSITY_GA4_DATASET"] = str(dataset)
    deployment = Deployment(**extra)
    deployment.prepare()
    if rows is not None:
        shop.load(deployment, rows)
    if rows is not None or dataset:
        setup.prepare_export(deployment.warehouse, deployment.settings)
    return deployment


@pytest.fixture
def borrow_deployment(request) -> Iterator[Callable[..., Deployment]]:
    """Lend deployments to one test."""
    if is_emulated(request.path):
        with request.getfixturevalue("deployments").lending() as lend:
            yield lend
    else:
        yield on_the_ground


@pytest.fixture(scope="module")
def borrow_module_deployment(request) -> Iterator[Callable[..., Deployment]]:
    """Lend deployments to the tests of one module."""
    if is_emulated(request.path):
        with request.getfixturevalue("deployments").lending() as lend:
            yield lend
    else:
        yield on_the_ground


@pytest.fixture
def shop_deployment(borrow_deployment) -> Deployment:
    """A deployment over the small shop for one test, without a champion."""
    return borrow_deployment()


@pytest.fixture
def champion_deployment(borrow_deployment) -> Deployment:
    """The same, with a champion."""
    return borrow_deployment(champion=True)


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
def monday(borrow_deployment, scores, converters) -> Deployment:
    """A deployment with a publication of Monday and the outcomes of its week."""
    rows = [shop.purchase(user, MONDAY + shop.DAY) for user in converters]
    deployment = borrow_deployment([shop.event("u1", MONDAY - shop.DAY)] + rows)
    publish(deployment.warehouse, MONDAY, scores)
    return deployment


@pytest.fixture
def user() -> str:
    """A user of one test alone."""
    return f"user-{uuid.uuid4().hex[:8]}"
