"""
The GA4 export's columns, for BigQuery, DuckDB and Arrow.

``ga4_schema.json`` lists them as BigQuery does. Left out of it are the columns of ad
platforms in session_traffic_source_last_click and the ad revenue of apps in publisher:
the emulator's every shard pays for each column.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from google.cloud import bigquery

_JSON: list[dict[str, Any]] = json.loads(
    resources.files(__package__).joinpath("ga4_schema.json").read_text()
)
_TYPES: dict[str, tuple[str, pa.DataType]] = {
    "STRING": ("VARCHAR", pa.string()),
    "INTEGER": ("BIGINT", pa.int64()),
    "FLOAT": ("DOUBLE", pa.float64()),
    "BOOLEAN": ("BOOLEAN", pa.bool_()),
}


@dataclass(frozen=True)
class Column:
    """A column, as BigQuery's client describes it, which takes seconds to import."""

    name: str
    field_type: str
    mode: str
    fields: tuple[Column, ...]


def _columns(described: Sequence[dict[str, Any]]) -> tuple[Column, ...]:
    return tuple(
        Column(
            one["name"],
            one["type"],
            one.get("mode", "NULLABLE"),
            _columns(one.get("fields", ())),
        )
        for one in described
    )


def _arrow_type(column: Column) -> pa.DataType:
    if column.fields:
        kind = pa.struct([(inner.name, _arrow_type(inner)) for inner in column.fields])
    else:
        kind = _TYPES[column.field_type][1]
    return pa.list_(kind) if column.mode == "REPEATED" else kind


def duckdb_type(column: Column) -> str:
    """Return the type of a column in DuckDB."""
    if column.fields:
        fields = (f'"{inner.name}" {duckdb_type(inner)}' for inner in column.fields)
        kind = f"STRUCT({', '.join(fields)})"
    else:
        kind = _TYPES[column.field_type][0]
    return f"{kind}[]" if column.mode == "REPEATED" else kind


def bigquery_schema() -> list[bigquery.SchemaField]:
    """Return the export's columns for BigQuery's client."""
    from google.cloud.bigquery import SchemaField

    return [SchemaField.from_api_repr(one) for one in _JSON]


SCHEMA = _columns(_JSON)
ARROW_SCHEMA = pa.schema([(column.name, _arrow_type(column)) for column in SCHEMA])
