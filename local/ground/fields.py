"""Columns as BigQuery, DuckDB and Arrow describe them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
from google.cloud import bigquery

from local.ground.functions import Untranslated
from local.ground.sql import TYPES, quoted

# Names of types in BigQuery's schemas, by Arrow's.
KINDS = {
    pa.string(): "STRING",
    pa.int64(): "INTEGER",
    pa.float64(): "FLOAT",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BYTES",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP",
    pa.timestamp("us"): "DATETIME",
    pa.decimal128(38, 9): "NUMERIC",
}


# GoogleSQL's names of types where schemas have others.
IN_SQL = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


def sql_types(fields: Iterable[bigquery.SchemaField]) -> dict[str, str]:
    """Return the types of columns by their names, as GoogleSQL writes them."""
    return {field.name: _sql_type(field) for field in fields}


def _sql_type(field: bigquery.SchemaField) -> str:
    kind = IN_SQL.get(field.field_type, field.field_type)
    if field.fields:
        parts = sql_types(field.fields).items()
        inside = ", ".join(f"`{name}` {of_part}" for name, of_part in parts)
        kind = f"STRUCT<{inside}>"
    return f"ARRAY<{kind}>" if field.mode == "REPEATED" else kind


def column_of(field: bigquery.SchemaField) -> str:
    """Return the definition of a column for DuckDB."""
    column = f"{quoted(field.name)} {type_of(field)}"
    if field.mode == "REPEATED":
        column += " DEFAULT []"
    return f"{column} NOT NULL" if field.mode == "REQUIRED" else column


def type_of(field: bigquery.SchemaField) -> str:
    """Return the type of a column for DuckDB."""
    if field.field_type in ("RECORD", "STRUCT"):
        inside = ", ".join(
            f"{quoted(part.name)} {type_of(part)}" for part in field.fields
        )
        kind = f"STRUCT({inside})"
    else:
        kind = TYPES[field.field_type]
    return f"{kind}[]" if field.mode == "REPEATED" else kind


def fields_of(schema: pa.Schema) -> list[bigquery.SchemaField]:
    """Return the fields of Arrow's schema as BigQuery describes them."""
    return [_field_of(field) for field in schema]


def _field_of(field: pa.Field) -> bigquery.SchemaField:
    kind = field.type
    mode = "NULLABLE"
    if pa.types.is_list(kind):
        mode = "REPEATED"
        kind = kind.value_type
    if pa.types.is_struct(kind):
        inside = [_field_of(part) for part in kind]
        return bigquery.SchemaField(field.name, "RECORD", mode, fields=inside)
    return bigquery.SchemaField(field.name, KINDS[_arrow_type(kind)], mode)


def _arrow_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of Arrow's in which BigQuery answers values of this one."""
    types = pa.types
    answered = kind
    if types.is_list(kind) or types.is_large_list(kind):
        answered = pa.list_(_arrow_type(kind.value_type))
    elif types.is_struct(kind):
        answered = pa.struct([(part.name, _arrow_type(part.type)) for part in kind])
    elif types.is_decimal(kind) and kind.scale:
        answered = pa.decimal128(38, 9)
    elif types.is_integer(kind) or types.is_decimal(kind):
        # DuckDB counts and adds whole numbers in 128 bits.
        answered = pa.int64()
    elif types.is_floating(kind):
        answered = pa.float64()
    elif types.is_large_string(kind) or types.is_null(kind):
        answered = pa.string()
    elif types.is_time(kind) or types.is_interval(kind):
        raise Untranslated("values of TIME or INTERVAL")
    elif types.is_timestamp(kind):
        answered = pa.timestamp("us", tz="UTC" if kind.tz else None)
    return answered


def answered(schema: pa.Schema) -> pa.Schema:
    """Return the schema in which BigQuery answers rows of this one."""
    return pa.schema([(field.name, _arrow_type(field.type)) for field in schema])


def answers(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema
) -> Iterable[pa.RecordBatch]:
    """Yield rows in a schema; BigQuery has no null for a list."""
    for batch in batches:
        columns = []
        for column, field in zip(batch.columns, schema, strict=True):
            cast = column if column.type == field.type else column.cast(field.type)
            if pa.types.is_list(field.type) and cast.null_count:
                cast = pc.coalesce(cast, pa.scalar([], field.type))
            columns.append(cast)
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
