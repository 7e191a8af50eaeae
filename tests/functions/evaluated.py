"""Shops with published probabilities and known outcomes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np
import pytest

from propensity import tables
from tests import shop
from tests.conftest import Workplace
from tests.functions.conftest import Place
from tests.rows import append_rows
from tests.shop import event

MONDAY = date(2026, 3, 2)
USERS = 200


def published(
    place: Place,
    as_of: date,
    probabilities: dict[str, float],
    *,
    version: int = 0,
    use_case: str = "ga4_purchase",
    scored_at: datetime = datetime(2026, 3, 2, tzinfo=UTC),
) -> None:
    """Add a publication to the history."""
    rows = [
        {
            "use_case": use_case,
            "user_id": user,
            "as_of": as_of,
            "probability": probability,
            "percentile": 50,
            "model_version": version,
            "scored_at": scored_at,
        }
        for user, probability in probabilities.items()
    ]
    append_rows(place.warehouse, tables.PREDICTIONS_HISTORY, rows)


def evaluations(place: Place) -> list[dict]:
    return place.rows("SELECT * FROM ma_model_evaluation ORDER BY week, model_version")


@pytest.fixture(scope="module")
def own_export(new_export) -> Workplace:
    """An export that each test fills."""
    return new_export([event("u1", MONDAY)])


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
