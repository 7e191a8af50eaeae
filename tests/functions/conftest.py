"""
What tests of functions share: deployments over the small shop, or over other rows.

``borrow_deployment`` makes one on a ground of its own: over the small shop, which is
digested and trained once in a run, or over rows that the test names. What needs
Google's own clients has ``emulated_shop``.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import Any

import numpy as np
import pytest

from propensity.runs import setup
from propensity.tables.models import TRAINING_METADATA
from tests.support import shop, shops
from tests.support.deployment import Deployment
from tests.support.emulated import Emulated
from tests.support.rows import publish
from tests.support.shops import Stage

# The week of a publication that tests write themselves, and how many users it has.
MONDAY = date(2026, 3, 2)
USERS = 200


def borrowed(
    rows: Iterable[shop.Row] | None = None,
    *,
    dataset: str | None = None,
    champion: bool = False,
    **extra: str,
) -> Deployment:
    """
    Return a deployment over the small shop, or over an export of these rows.

    Args:
        dataset: Another dataset of an export; "" for none.
        champion: Whether the small shop's model is live.
    """
    if rows is None and dataset is None:
        return shops.a_shop(Stage.TRAINED if champion else Stage.DIGESTED, **extra)
    if dataset is not None:
        extra["PROPENSITY_GA4_DATASET"] = dataset
    deployment = Deployment(**extra)
    deployment.prepare()
    if rows is not None:
        shop.load(deployment, rows)
    if dataset != "":
        setup.prepare_export(deployment.warehouse, deployment.settings)
    if champion:
        put_model_into(deployment)
    return deployment


def put_model_into(deployment: Deployment) -> None:
    """Leave the record and objects of the small shop's model at a deployment."""
    trained = shops.a_shop(Stage.TRAINED)
    for name in trained.artifacts.names(""):
        if not name.startswith("runs/ga4_export/"):
            deployment.artifacts.create(name, trained.read(name))
    rows = trained.warehouse.table(f"SELECT * FROM {TRAINING_METADATA.name}")
    deployment.warehouse.write(
        TRAINING_METADATA, rows.cast(TRAINING_METADATA.arrow_schema())
    )


@pytest.fixture(scope="session")
def borrow_deployment(shared_folder) -> Callable[..., Deployment]:
    return borrowed


@pytest.fixture(scope="module")
def emulated_shop(emulators, shop_rows) -> Iterator[Emulated]:
    """A deployment in the emulators, over the small shop, without a champion."""
    with contextlib.closing(Emulated(emulators)) as deployment:
        deployment.prepare()
        shop.load(deployment, shop_rows)
        setup.prepare_export(deployment.warehouse, deployment.settings)
        yield deployment


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
def shop_rows() -> list[shop.Row]:
    """The small shop's events: twenty Wednesdays."""
    return shop.weekly(shops.FIRST, shops.WEEKS)


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
