"""
What GoogleSQL's reference implementation, Google's own, answers to a statement.

It comes with the analyzer, and lacks what BigQuery has beside GoogleSQL, such as
``APPROX_QUANTILES`` and MERGE. No statement of a deployment asks it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from offline.usecases import googlesql
from offline.usecases.googlesql import Columns

EPOCH = date(1970, 1, 1)
MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NINE_DECIMALS = Decimal(10) ** 9
# It lacks these, which are short for the others.
OF_A_ROW = re.compile(r"\b(MAX|MIN)_BY\((.+?),\s*(\w+)\s*\)", re.DOTALL)
# Fields of a whole number of a DATETIME, each with its bits, the last one first.
DATETIME_BITS = (6, 6, 5, 5, 4, 14)


class NotJudged(Exception):
    """The evaluator lacks what a statement uses."""


def rows_of(
    sql: str,
    tables: Mapping[str, pa.Table],
    types: Mapping[str, Columns],
    given: Mapping[str, tuple[str, Any]],
) -> list[tuple[Any, ...]]:
    """
    Return the rows of a query, STRUCTs as tuples of their fields.

    Args:
        tables: By their names in the statement.
        types: Those of their columns, in the order of theirs.
        given: Type and value of each parameter, by its name.

    Raises:
        Refused: BigQuery would refuse it, or fail of a value.
        NotJudged: The evaluator cannot say.
    """
    from zetasql.core.exceptions import ServerError, StatusCode
    from zetasql.core.local_service import local_service_pb2
    from zetasql.types.proto_model.generated import EvaluateQueryRequest

    sql = OF_A_ROW.sub(r"ANY_VALUE(\2 HAVING \1 \3)", sql)
    read = googlesql.tables_of(sql)
    kinds = {name: kind for name, (kind, _) in given.items()}
    request = EvaluateQueryRequest(
        sql=sql,
        options=googlesql.options_of(kinds),
        simple_catalog=googlesql.catalog_of({name: types[name] for name in read}),
    ).to_proto()
    for name in read:
        content = request.table_content[name].table_data
        # A table without rows has its content, too.
        content.SetInParent()
        columns = [column.to_pylist() for column in tables[name].columns]
        for row in zip(*columns, strict=True):
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


def texts_of(rows: Iterable[tuple[Any, ...]], *, are_sets: bool = False) -> list[str]:
    """
    Return rows as texts; the last digits of floats are an engine's own.

    Args:
        are_sets: Sort lists, whose order a statement may leave open.
    """
    return [repr(_plain(row, are_sets)) for row in rows]


def difference(here: pa.Table, expected: Iterable[tuple[Any, ...]]) -> str:
    """Say the first row that one answer has alone, in whatever order; "" for none."""
    columns = [column.to_pylist() for column in here.columns]
    ours = Counter(texts_of(zip(*columns, strict=True), are_sets=True))
    googles = Counter(texts_of(expected, are_sets=True))
    if ours == googles:
        return ""
    rows = []
    for only in (googles - ours, ours - googles):
        rows.append(min(only) if only else "no such row")
    return f"{', '.join(here.column_names)}: Google {rows[0]}, this machine {rows[1]}"


def _plain(value: Any, are_sets: bool) -> Any:
    match value:
        case dict():
            return tuple(_plain(one, are_sets) for one in value.values())
        case []:
            # BigQuery answers no null for a list; the evaluator does.
            return None
        case list():
            parts = [_plain(one, are_sets) for one in value]
            return sorted(parts, key=repr) if are_sets else parts
        case tuple():
            return tuple(_plain(one, are_sets) for one in value)
        case float():
            return float(f"{value:.12g}")
        case Decimal():
            return value.normalize()
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC)
    return value


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
