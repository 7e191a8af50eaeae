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

# bool before int and datetime before date: each is a subclass of the other.
_TYPES = {
    bool: "BOOL",
    int: "INT64",
    float: "FLOAT64",
    Decimal: "NUMERIC",
    str: "STRING",
    datetime: "TIMESTAMP",
    date: "DATE",
}


def query_parameter(name: str, value: Any) -> Any:
    """
    Return ``value`` as the query parameter ``@name``.

    Raises:
        TypeError: The value has no BigQuery type here, or is an empty list.
    """
    is_array = isinstance(value, (list, tuple))
    if is_array and not value:
        raise TypeError(f"@{name} is an empty list, which has no type")
    sample = value[0] if is_array else value
    kind = next((name for of, name in _TYPES.items() if isinstance(sample, of)), None)
    if kind is None:
        raise TypeError(f"@{name} has no BigQuery type: {type(sample).__name__}")
    if is_array:
        return bigquery.ArrayQueryParameter(name, kind, list(value))
    return bigquery.ScalarQueryParameter(name, kind, value)


def type_of_parameter(name: str, value: Any) -> str:
    """Return the type of ``query_parameter``, as SQL names it."""
    parameter = query_parameter(name, value)
    if isinstance(parameter, bigquery.ArrayQueryParameter):
        return f"ARRAY<{parameter.array_type}>"
    return str(parameter.type_)


def schema_of(table: Table) -> Sequence[bigquery.SchemaField]:
    """Return a table's columns as BigQuery's schema."""
    of_api = bigquery.SchemaField.from_api_repr
    return [of_api(column.in_api) for column in table.columns]


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
    if others := {*schema.names} ^ {*rows.column_names}:
        names = ", ".join(sorted(others))
        raise SchemaError(f"rows for {table.name} lack these or have too many: {names}")
    return rows.select(schema.names).cast(schema)


def record(values: Mapping[str, object], table: Table) -> pa.Table:
    """
    Return one row of ``table`` from values by column name; missing ones are null.

    Raises:
        SchemaError: A value belongs to no column.
    """
    import pyarrow as pa

    schema = table.arrow_schema()
    if unknown := {*values} - {*schema.names}:
        names = ", ".join(sorted(unknown))
        raise SchemaError(f"{table.name} has no column {names}")
    return pa.Table.from_pylist([dict(values)], schema=schema)
