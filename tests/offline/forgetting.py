"""Rows and files that name a user who is to be forgotten, and one who stays."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from offline import forget as program
from propensity.registry.versions import parquet_of
from propensity.schema import Table
from propensity.tables.stream import STREAM_EVENTS
from tests.support.deployment import Deployment

GONE = "player-1"
KEPT = "player-11"
OTHER = "ga4_purchase"
EXPORT = "exports/stream_events/date=2026-03-01/run=a/part-000000000000.parquet"
SCORES = "exports/inference_log/date=2026-03-01/run=a/part-000000000000.parquet"
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


def parquet(*users: str) -> bytes:
    """A file with a row for each user."""
    table = STREAM_EVENTS
    rows = [row_of(table, user) for user in users]
    return parquet_of(pa.Table.from_pylist(rows, schema=table.arrow_schema()))


def users_in(data: bytes) -> list[str]:
    return pq.read_table(io.BytesIO(data))["user_id"].to_pylist()


def forget(site: Deployment, *users: str, **how: Any) -> dict[str, Any]:
    return program.run(site.settings, users or (GONE,), **how)


def before(report: dict[str, Any]) -> dict[str, int]:
    return {place["where"]: place["before"] for place in report["places"]}
