"""Rows that tests write into tables."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from propensity.gcp.warehouse import Warehouse
from propensity.schema import Table


def append_rows(
    warehouse: Warehouse, table: Table, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Append rows; columns that a row lacks are null."""
    data = pa.Table.from_pylist([*rows], schema=table.arrow_schema())
    if len(data):
        warehouse.append(table, data, job_id=uuid.uuid4().hex)
