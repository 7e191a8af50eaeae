"""Rows of a run, as 01-Predictions appends them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pyarrow as pa

from propensity.gcp.warehouse import Warehouse
from propensity.tables import every as tables

DAY = date(2026, 3, 2)
# Rows of all days at once.
SCORES = replace(tables.SCORES, requires_filter=False)


def staged(*users: str) -> pa.Table:
    """Return a row a user."""
    row = {"use_case": "u", "run_id": "r", "as_of": DAY, "probability": 0.5}
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
