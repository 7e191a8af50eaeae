"""A dataset with an empty table of scores, and rows of runs as 01 appends them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pytest

from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.tables import models

DAY = date(2026, 3, 2)
# Rows of all days at once.
SCORES = replace(models.SCORES, requires_filter=False)


def staged(*users: str) -> pa.Table:
    """Return a row a user."""
    row = {
        "use_case": "u",
        "run_id": "r",
        "as_of": DAY,
        "probability": 0.5,
        "effects": [],
    }
    rows = [{**row, "user_id": user} for user in users]
    return pa.Table.from_pylist(rows, SCORES.arrow_schema())


def of_run(users: int) -> pa.Table:
    """Return the rows of a run of so many users."""
    return staged(*(f"u{number}" for number in range(users)))


def counted(warehouse: Warehouse) -> tuple[int, int]:
    """Return how many rows there are, and of how many users."""
    sql = f"SELECT COUNT(*), COUNT(DISTINCT user_id) FROM {SCORES.name}"
    [row] = warehouse.rows(sql)
    return row[0], row[1]


@pytest.fixture(scope="module")
def settings(module_emulated) -> Settings:
    return module_emulated.settings


@pytest.fixture(scope="module")
def warehouse(settings) -> Iterator[Warehouse]:
    """A dataset with an empty table of scores."""
    opened = Warehouse.open(settings)
    opened.create(SCORES)
    yield opened
    opened.close()
