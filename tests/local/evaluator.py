"""
What GoogleSQL's reference implementation, Google's own, answers to a statement.

It comes with the analyzer, and lacks what BigQuery has beside GoogleSQL, such as
``APPROX_QUANTILES`` and MERGE. No statement of a deployment asks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from local.ground.fields import fields_of, sql_types
from offline.usecases import googlesql

EPOCH = date(1970, 1, 1)
MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NINE_DECIMALS = Decimal(10) ** 9
# Fields of a whole number of a DATETIME, each with its bits, the last one first.
DATETIME_BITS = (6, 6, 5, 5, 4, 14)


class NotJudged(Exception):
    """The evaluator lacks what a statement uses."""


def rows_of(
    sql: str, tables: Mapping[str, pa.Table], given: Mapping[str, tuple[str, Any]]
) -> list[tuple[Any, ...]]:
    """
    Return the rows of a query, STRUCTs as tuples of their fields.

    Args:
        tables: By their names in the statement.
        given: Type and value of each parameter, by its name.

    Raises:
        Refused: BigQuery would refuse it, or fail of a value.
        NotJudged: The evaluator cannot say.
    """
    from zetasql.core.exceptions import ServerError, StatusCode
    from zetasql.core.local_service import local_service_pb2
    from zetasql.types.proto_model.generated import EvaluateQueryRequest

    types = {name: sql_types(fields_of(one.schema)) for name, one in tables.items()}
    kinds = {name: kind for name, (kind, _) in given.items()}
    request = EvaluateQueryRequest(
        sql=sql,
        options=googlesql.options_of(kinds),
        simple_catalog=googlesql.catalog_of(types),
    ).to_proto()
    for name, table in tables.items():
        content = request.table_content[name].table_data
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
            cells = content.row.add().cell
            for value, kind in zip(row, types[name].values(), strict=True):
                _write(cells.add(), value, googlesql.type_of(kind))
    for name, (kind, value) in given.items():
        parameter = request.params.add(name=name)
        _write(parameter.value, value, googlesql.type_of(kind))
    try:
        answer = googlesql.service().wasm_client.call_grpc_func(
            "ZetaSqlLocalService_EvaluateQuery",
            request,
            local_service_pb2.EvaluateQueryResponse,
        )
    except ServerError as error:
        if error.code in (StatusCode.INVALID_ARGUMENT, StatusCode.OUT_OF_RANGE):
            lacks = "has no evaluator" in error.message
            if not lacks and not googlesql.is_unknown(error.message):
                raise googlesql.Refused(error.message) from None
        raise NotJudged(error.message) from None
    columns = answer.prepared.columns
    return [
        tuple(
            _read(cell, column.type)
            for cell, column in zip(row.cell, columns, strict=True)
        )
        for row in answer.content.table_data.row
    ]


def _write(cell: Any, value: Any, kind: Any) -> None:
    """Write a value into a cell, which is null without one."""
    from zetasql.types import TypeKind

    if value is None:
        return
    match TypeKind(kind.type_kind).name.removeprefix("TYPE_"):
        case "ARRAY":
            cell.array_value.SetInParent()
            for one in value:
                part = cell.array_value.element.add()
                _write(part, one, kind.array_type.element_type)
        case "STRUCT":
            cell.struct_value.SetInParent()
            for field in kind.struct_type.field:
                part = cell.struct_value.field.add()
                _write(part, value[field.field_name], field.field_type)
        case "DATE":
            cell.date_value = (value - EPOCH).days
        case "TIMESTAMP":
            micros = (value - MOMENT) // MICROSECOND
            cell.timestamp_value.seconds = micros // 1_000_000
            cell.timestamp_value.nanos = micros % 1_000_000 * 1_000
        case "DATETIME":
            bits = 0
            parts = value.timetuple()[:6]
            for part, size in zip(parts, reversed(DATETIME_BITS), strict=True):
                bits = bits << size | part
            cell.datetime_value.bit_field_datetime_seconds = bits
            cell.datetime_value.nanos = value.microsecond * 1_000
        case "NUMERIC":
            scaled = int(value * NINE_DECIMALS)
            size = scaled.bit_length() // 8 + 1
            cell.numeric_value = scaled.to_bytes(size, "little", signed=True)
        case name:
            setattr(cell, f"{name.lower()}_value", value)


def _read(cell: Any, kind: Any) -> Any:
    """Return the value of a cell."""
    from zetasql.types import TypeKind

    has = cell.WhichOneof("value")
    if has is None:
        return None
    value = getattr(cell, has)
    match TypeKind(kind.type_kind).name.removeprefix("TYPE_"):
        case "ARRAY":
            part = kind.array_type.element_type
            return [_read(one, part) for one in value.element]
        case "STRUCT":
            fields = zip(value.field, kind.struct_type.field, strict=True)
            return tuple(_read(part, field.field_type) for part, field in fields)
        case "DATE":
            return EPOCH + timedelta(days=value)
        case "TIMESTAMP":
            micros = value.seconds * 1_000_000 + value.nanos // 1_000
            return MOMENT + micros * MICROSECOND
        case "DATETIME":
            bits = value.bit_field_datetime_seconds
            parts = list[int]()
            for size in DATETIME_BITS:
                parts.insert(0, bits & (1 << size) - 1)
                bits >>= size
            year, month, day, hour, minute, second = parts
            at = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001
            return at + value.nanos // 1_000 * MICROSECOND
        case "NUMERIC":
            return int.from_bytes(value, "little", signed=True) / NINE_DECIMALS
        case "INT64" | "DOUBLE" | "BOOL" | "STRING" | "BYTES" | "JSON":
            return value
        case name:
            raise NotJudged(f"values of {name}")
