"""Rows that tests write into tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from propensity.gcp.warehouse import Warehouse
from propensity.schema import Table
from propensity.tables.models import EVALUATION, TRAINING_METADATA, Evaluation

# Of a version that was trained on nothing, as much as whoever loads it reads.
CARD = {
    "features": {},
    "statement_parameters": {},
    "lookback_days": 60,
    "horizon_days": 7,
    "files": {},
}


def evaluation(row: Mapping[str, Any]) -> Evaluation:
    """Return an evaluation; what a row does not say is that of a mature week."""
    week = row.get("week", date(2026, 1, 1))
    given = {
        "week": week,
        "model_version": 0,
        "run_id": "run",
        "as_of": week,
        "week_end": week,
        "status": "final",
        "outcome": "evaluated",
        "evaluated_at": datetime(2026, 1, 1, tzinfo=UTC),
        "bytes_billed": 0,
        "data_until": None,
    }
    return Evaluation.of({**given, **row})


def rows_of(table: Table, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows; of an evaluation, metrics may be named as if they were columns."""
    if table is EVALUATION:
        rows = [evaluation(row).stored() for row in rows]
    if table is TRAINING_METADATA:
        rows = [{"card": json.dumps(CARD), **row} for row in rows]
    return pa.Table.from_pylist([*rows], schema=table.arrow_schema())


def append_rows(
    warehouse: Warehouse, table: Table, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Append rows; columns that a row lacks are null."""
    if len(data := rows_of(table, rows)):
        warehouse.write(table, data)
