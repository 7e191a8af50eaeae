"""A user who is forgotten and one who stays, and rows of both in every table."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offline import forget_user
from offline.forget_report import Report, Request
from propensity import tables
from propensity.gcp.writes import Appends
from propensity.schema import Table
from propensity.tables import TABLES
from tests.emptied import empty_bucket, empty_tables
from tests.functions.streaming import Site, new_deployment

KEY = "a key of the tests, long enough for one"
GONE, KEPT = "player-1", "player-11"
NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
USE_CASE, OTHER = "first_day_churn", "ga4_purchase"


def value_of(kind: str, name: str, user: str) -> Any:
    """Any value that a required column can have."""
    if name == "user_id":
        return user
    if name == "event_id":
        return f"event of {user}"
    kinds = {
        "STRING": f"{name} of {user}" if name == "message_id" else name,
        "INT64": 1,
        "FLOAT64": 0.5,
        "BOOL": True,
        "DATE": NOW.date(),
        "TIMESTAMP": NOW,
    }
    return kinds[kind]


def row_of(table: Table, user: str, **values: Any) -> dict[str, Any]:
    """A row about a user: what must be there, and what a test says."""
    row = {
        column.name: value_of(column.type, column.name, user)
        for column in table.columns
        if column.required or column.name == "user_id"
    }
    if "use_case" in row:
        row["use_case"] = USE_CASE
    return {**row, **values}


def append(site: Site, table: Table, *rows: dict[str, Any]) -> None:
    """Store rows, as the stream does."""
    given = pa.RecordBatch.from_pylist(list(rows), schema=table.arrow_schema())
    asyncio.run(Appends(site.settings).append(table, given))


def fill(site: Site) -> None:
    """Put two rows of both users into every table that has users."""
    for table, told_by in tables.holding_users().items():
        rows = []
        for user in (GONE, KEPT):
            values = {}
            if told_by == "raw":
                raw = f'{{"user_id": "{user}", "event_type": "unheard'
                values = {"raw": raw.encode(), "attributes": "{}"}
            rows += 2 * [row_of(table, user, **values)]
        append(site, table, *rows)


def counts(site: Site) -> dict[str, int]:
    """Rows of every table that has users."""
    return {table.name: site.count(table.name) for table in tables.holding_users()}


def forget(site: Site, *users: str, **how: Any) -> Report:
    """Run the command."""
    asked = Request(user_ids=users or (GONE,), is_quiet=True, **how)
    return forget_user.forget(site.settings, asked)


def users_in(data: bytes) -> list[str]:
    """The users of a file."""
    return pq.read_table(io.BytesIO(data))["user_id"].to_pylist()


@pytest.fixture(scope="module")
def shared(emulators) -> Iterator[Site]:
    """All tables, and a bucket that keeps what is overwritten."""
    extra = {"PROPENSITY_SUPPRESSION_KEY": KEY}
    with new_deployment(emulators, **extra) as made:
        yield made


@pytest.fixture
def site(shared, monkeypatch) -> Site:
    """The same without a row or an object, and its settings in the environment."""
    empty_tables(shared.warehouse, TABLES)
    empty_bucket(shared.artifacts)
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    return shared


def parquet(*users: str, use_case: str = USE_CASE) -> bytes:
    """A file with a row for each user."""
    table = tables.STREAM_EVENTS
    rows = [row_of(table, user, use_case=use_case) for user in users]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.arrow_schema()), file)
    return file.getvalue()
