"""Rows and files about users, to be forgotten."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from propensity.schema import Table
from propensity.tables import every as tables

USE_CASE = "first_day_churn"
NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)


def row_of(table: Table, user: str, **values: Any) -> dict[str, Any]:
    """A row about a user: what must be there, and what a test says."""
    kinds = {"INT64": 1, "FLOAT64": 0.5, "BOOL": True, "DATE": NOW.date()}
    row = {
        column.name: {**kinds, "TIMESTAMP": NOW, "STRING": column.name}[column.type]
        for column in table.columns
        if column.required or column.name == "user_id"
    }
    own = {
        "user_id": user,
        "event_id": f"event of {user}",
        "message_id": f"message of {user}",
        "use_case": USE_CASE,
    }
    return {**row, **{name: of for name, of in own.items() if name in row}, **values}


def parquet_of(rows: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(rows, file)
    return file.getvalue()


def parquet(*users: str, use_case: str = USE_CASE) -> bytes:
    """A file with a row for each user."""
    table = tables.STREAM_EVENTS
    rows = [row_of(table, user, use_case=use_case) for user in users]
    return parquet_of(pa.Table.from_pylist(rows, schema=table.arrow_schema()))


def users_in(data: bytes) -> list[str]:
    return pq.read_table(io.BytesIO(data))["user_id"].to_pylist()
