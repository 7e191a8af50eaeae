"""Rows that tests write into tables, and what 01-Predictions leaves in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import pyarrow as pa

from propensity.gcp.warehouse import Warehouse
from propensity.schema import Table
from propensity.tables import every as tables
from propensity.tables.audiences import AUDIENCE_REQUESTS
from propensity.tables.models import (
    EVALUATION,
    PREDICTIONS,
    PREDICTIONS_HISTORY,
    PUBLICATIONS,
    SCORES,
    TRAINING_METADATA,
    Evaluation,
)

# The column of which a query must say something, by the table; the last is a view.
DAY_OF = {one.name: one.partition for one in tables.TABLES if one.requires_filter}
DAY_OF[PREDICTIONS_HISTORY] = "as_of"

# The card of a version that learned nothing: whatever loads it reads no more.
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


def log_request(
    warehouse: Warehouse, *users: str, address: str | None = None, **columns: Any
) -> None:
    """Log a request of an audience to its users."""
    recipients = [{"user_id": user, "address": address} for user in users]
    row = {"destination": "crm", "action": "add", "request": "r", **columns}
    append_rows(warehouse, AUDIENCE_REQUESTS, [{**row, "recipients": recipients}])


def append_rows(
    warehouse: Warehouse, table: Table, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Append rows; columns that a row lacks are null."""
    if len(data := rows_of(table, rows)):
        warehouse.write(table, data)


def publish(
    warehouse: Warehouse,
    as_of: date,
    probabilities: Mapping[str, float],
    *,
    version: int = 0,
    use_case: str = "ga4_purchase",
    scored_at: datetime = datetime(2026, 3, 2, tzinfo=UTC),
    values: Mapping[str, float] = MappingProxyType({}),
    categories: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """
    Publish users' probabilities in the place of those of the date, if any.
    """
    key = {"use_case": use_case, "as_of": as_of, "run_id": uuid4().hex}
    scores = [
        {
            **key,
            "user_id": user,
            "probability": probability,
            "expected_value": Decimal(str(values[user])) if user in values else None,
            "categories": categories.get(user),
            "effects": [],
        }
        for user, probability in probabilities.items()
    ]
    append_rows(warehouse, SCORES, scores)
    ordered = sorted(probabilities.values())
    row = {
        **key,
        "model_version": version,
        "scored_at": scored_at,
        "published_at": datetime.now(UTC),
        "users": len(scores),
        "mean_probability": sum(ordered) / len(ordered),
        "quantiles": [ordered[n * (len(ordered) - 1) // 100] for n in range(101)],
    }
    if values:
        # All users are one group by money.
        mean = Decimal(sum(values.values()) / len(values)).quantize(Decimal("0.01"))
        row["value_deciles"] = [{"least": Decimal(0), "mean": mean}]
    append_rows(warehouse, PUBLICATIONS, [row])


def put(warehouse: Warehouse, user: str, **fields: object) -> None:
    """Write a user's row of ``ma_predictions_table`` as an earlier run would have."""
    row = {
        "use_case": "ga4_purchase",
        "user_id": user,
        "probability": 0.25,
        "percentile": 60,
        "model_version": 0,
        "scored_at": datetime(2026, 4, 13, tzinfo=UTC),
        **fields,
    }
    append_rows(warehouse, PREDICTIONS, [row])


def of_all_days(sql: str) -> str:
    """Return a query with all days of those tables that ask which are meant."""

    def every_day(found: re.Match[str]) -> str:
        day = f"{DAY_OF[found[1]]} >= DATE '1970-01-01'"
        return f"FROM (SELECT * FROM {found[1]} WHERE {day})"

    return re.sub(rf"(?<!DELETE )\bFROM ({'|'.join(DAY_OF)})\b", every_day, sql)
