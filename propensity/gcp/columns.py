"""
The tables' columns as BigQuery's: schemas, query parameters, rows.

02-GetProba imports this, so Arrow is imported by the calls that need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from google.cloud import bigquery

from propensity.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.schema import Table

_DAY_MS = 24 * 3600 * 1000


def query_parameter(name: str, value: Any) -> Any:
    """
    Return ``value`` as the query parameter ``@name``.

    Raises:
        TypeError: The value has no BigQuery type here, or is an empty list.
    """
    if isinstance(value, (list, tuple)):
        if not value:
            raise TypeError(f"@{name} is an empty list, which has no type")
        return bigquery.ArrayQueryParameter(name, _kind(name, value[0]), list(value))
    return bigquery.ScalarQueryParameter(name, _kind(name, value), value)


def type_of_parameter(name: str, value: Any) -> str:
    """Return the type of ``query_parameter``, as SQL names it."""
    if isinstance(value, (list, tuple)):
        return f"ARRAY<{_kind(name, value[0])}>"
    return _kind(name, value)


def _kind(name: str, value: object) -> str:
    # bool before int and datetime before date: each is a subclass of the other.
    for types, kind in (
        (bool, "BOOL"),
        (int, "INT64"),
        (float, "FLOAT64"),
        (Decimal, "NUMERIC"),
        (str, "STRING"),
        (datetime, "TIMESTAMP"),
        (date, "DATE"),
    ):
        if isinstance(value, types):
            return kind
    raise TypeError(f"@{name} has no BigQuery type: {type(value).__name__}")


def schema_of(table: Table) -> Sequence[bigquery.SchemaField]:
    """Return a table's columns as BigQuery's schema."""

    def field(column: Any) -> bigquery.SchemaField:
        mode = "REQUIRED" if column.required else "NULLABLE"
        return bigquery.SchemaField(
            column.name,
            column.type,
            mode="REPEATED" if column.repeated else mode,
            description=column.description,
            fields=[field(part) for part in column.fields],
        )

    return [field(column) for column in table.columns]


def definition_of(table: Table, table_id: str) -> bigquery.Table:
    """Return a table's definition for the API."""
    definition = bigquery.Table(table_id, schema=schema_of(table))
    definition.description = table.description
    definition.clustering_fields = list(table.clustering)
    definition.require_partition_filter = table.requires_filter or None
    definition.time_partitioning = bigquery.TimePartitioning(
        field=table.partition,
        expiration_ms=table.expiration_days * _DAY_MS or None,
    )
    return definition


def conforming(rows: pa.Table, table: Table) -> pa.Table:
    """Return the rows in the table's own column order, or raise SchemaError."""
    schema = table.arrow_schema()
    missing = sorted(set(schema.names) - set(rows.column_names))
    extra = sorted(set(rows.column_names) - set(schema.names))
    if missing or extra:
        raise SchemaError(
            f"rows for {table.name} lack {missing or 'nothing'} "
            f"and have {extra or 'nothing'} too many"
        )
    return rows.select(schema.names).cast(schema)


def record(values: Mapping[str, object], table: Table) -> pa.Table:
    """
    Return one row of ``table`` from values by column name; missing ones are null.

    Raises:
        SchemaError: A value belongs to no column.
    """
    import pyarrow as pa

    schema = table.arrow_schema()
    unknown = sorted(set(values) - set(schema.names))
    if unknown:
        raise SchemaError(f"{table.name} has no column {', '.join(unknown)}")
    return pa.Table.from_pylist([dict(values)], schema=schema)
