"""
GoogleSQL's reference implementation, and its reading of scripts, for tests.

``offline.usecases.googlesql`` has the analyzer. Rows are of JSON: days, moments and
money are texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import sqlglot
from sqlglot import exp
from zetasql.types import PrepareQueryRequest, TypeKind
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as local
from zetasql.wasi._pb2.zetasql.public.value_pb2 import ValueProto

from local.exports import ga4_schema
from offline.usecases import googlesql
from offline.usecases.googlesql import Columns
from propensity import tables
from propensity.gcp.columns import type_of_parameter
from propensity.schema import Column, in_sql

DIALECT = "bigquery"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# NUMERIC has 38 digits, 9 of them behind the point.
EXACT = Context(prec=76)

Rows = list[list[Any]]

_TYPE = re.compile(r"(ARRAY<\w+>|STRING|INT64|FLOAT64|NUMERIC|BOOL|DATE|TIMESTAMP)")
_TRANSACTION = re.compile(r"(BEGIN|COMMIT)( TRANSACTION)?", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")


def columns(
    script: str, relations: Mapping[str, Columns], parameters: Columns
) -> Columns:
    """
    Return the types of a statement's columns; of a script, those of its last one.

    Args:
        script: Of BigQuery.
        relations: Types of the columns of tables and views, by name.
        parameters: Types by name.

    Raises:
        Refused: It is no GoogleSQL.
    """
    known: dict[str, Columns] = dict(relations)
    found: Columns = {}
    for statement in statements(script):
        found = googlesql.columns(statement, known, parameters)
        # What a script has made, those after it read.
        created = sqlglot.parse_one(statement, read=DIALECT)
        if isinstance(created, exp.Create) and created.expression:
            known[created.this.name] = found
    return found


def rows(
    sql: str,
    relations: Mapping[str, tuple[Columns, Rows]],
    parameters: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Run a query by the reference implementation; ``plain`` has what comes back."""
    known = {
        name: relations[name] for name in googlesql.tables_of(sql) if name in relations
    }
    given = {name: one for name, one in parameters.items() if f"@{name}" in sql}
    types = {name: type_of_parameter(name, one) for name, one in given.items()}
    catalog = {name: of for name, (of, _) in known.items()}
    request = PrepareQueryRequest(
        sql=sql,
        options=googlesql.options_of(types),
        simple_catalog=googlesql.catalog_of(catalog),
    ).to_proto()
    for name, (of, stored) in known.items():
        content = request.table_content[name].table_data
        content.SetInParent()
        kinds = [googlesql.type_of(kind) for kind in of.values()]
        for values in stored:
            row = content.row.add()
            for value, kind in zip(values, kinds, strict=True):
                encode(value, kind, row.cell.add())
    service = googlesql.service()
    call = service.wasm_client.call_grpc_func
    prepared = call(
        "ZetaSqlLocalService_PrepareQuery", request, local.PrepareQueryResponse
    ).prepared.prepared_query_id
    run = local.EvaluateQueryRequest(prepared_query_id=prepared)
    for name, value in given.items():
        parameter = run.params.add(name=name)
        encode(plain(value), googlesql.type_of(types[name]), parameter.value)
    answer = call("ZetaSqlLocalService_EvaluateQuery", run, local.EvaluateQueryResponse)
    service.unprepare_query(prepared_query_id=prepared)
    found = googlesql.columns(sql, catalog, types)
    return [
        {
            name: decode(cell, googlesql.type_of(kind))
            for cell, (name, kind) in zip(row.cell, found.items(), strict=True)
        }
        for row in answer.content.table_data.row
    ]


def encode(value: Any, kind: Any, into: ValueProto) -> None:
    """Write a value of JSON as a value of GoogleSQL."""
    name = TypeKind(kind.type_kind).name.removeprefix("TYPE_")
    if name == "ARRAY":
        into.array_value.SetInParent()
        for one in value or ():
            encode(one, kind.array_type.element_type, into.array_value.element.add())
    elif value is None:
        return
    elif name == "STRUCT":
        into.struct_value.SetInParent()
        for field in kind.struct_type.field:
            part = into.struct_value.field.add()
            encode(value.get(field.field_name), field.field_type, part)
    elif name == "DATE":
        into.date_value = (date.fromisoformat(value) - EPOCH.date()).days
    elif name == "TIMESTAMP":
        since = datetime.fromisoformat(value) - EPOCH
        into.timestamp_value.seconds = since // timedelta(seconds=1)
        into.timestamp_value.nanos = since.microseconds * 1000
    elif name == "NUMERIC":
        units = int(Decimal(value).scaleb(9, EXACT))
        size = units.bit_length() // 8 + 1
        into.numeric_value = units.to_bytes(size, "little", signed=True)
    else:
        kinds = {"INT64": int, "BOOL": bool, "DOUBLE": float, "STRING": str}
        setattr(into, f"{name.lower()}_value", kinds[name](value))


def decode(value: ValueProto, kind: Any) -> Any:
    """Return a value of GoogleSQL as one of JSON."""
    name = TypeKind(kind.type_kind).name.removeprefix("TYPE_")
    which = value.WhichOneof("value")
    if name == "ARRAY":
        of = kind.array_type.element_type
        return [decode(one, of) for one in value.array_value.element]
    if which is None:
        return None
    if name == "STRUCT":
        fields = zip(kind.struct_type.field, value.struct_value.field, strict=True)
        return {
            field.field_name: decode(one, field.field_type) for field, one in fields
        }
    read = _READ.get(name)
    return getattr(value, which) if read is None else read(value)


def _moment(value: ValueProto) -> str:
    at = value.timestamp_value
    return str(EPOCH + timedelta(seconds=at.seconds, microseconds=at.nanos // 1000))


def _money(value: ValueProto) -> str:
    units = int.from_bytes(value.numeric_value, "little", signed=True)
    return format(Decimal(units).scaleb(-9, EXACT), "f")


_READ = {
    "DATE": lambda value: str(EPOCH.date() + timedelta(days=value.date_value)),
    "TIMESTAMP": _moment,
    "NUMERIC": _money,
}


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, but for the borders of a transaction."""
    start = 0
    for token in sqlglot.tokenize(script + ";", read=DIALECT):
        if token.token_type is sqlglot.TokenType.SEMICOLON:
            one, start = script[start : token.start], token.end + 1
            code = _COMMENT.sub("", one).strip()
            if code and not _TRANSACTION.fullmatch(code):
                yield one


def parameters_of(sql: str) -> dict[str, str]:
    """Return the types of a statement's parameters, as its comments have them."""
    comments = " ".join(
        line[2:].strip() for line in sql.splitlines() if line[:2] == "--"
    )
    # Of the statement itself, and of those that it includes.
    comments = " ".join(comments.split("Parameters:")[1:])
    types: dict[str, str] = {}
    for name in re.finditer(r"@(\w+)", comments):
        if kind := _TYPE.search(comments, name.end()):
            types.setdefault(name[1], kind[1])
    return {name: kind for name, kind in types.items() if f"@{name}" in _code(sql)}


def _code(sql: str) -> str:
    return _COMMENT.sub("", sql)


def plain(value: Any) -> Any:
    """Return a value as JSON has it: days, moments and money as texts."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    if isinstance(value, Decimal):
        return f"{value:.9f}"
    return str(value) if isinstance(value, date | datetime) else value


def _exported(column: ga4_schema.Column) -> Column:
    return Column(
        column.name,
        in_sql(column.field_type),
        "of the export",
        repeated=column.mode == "REPEATED",
        fields=tuple(map(_exported, column.fields)),
    )


TABLES = {
    **{one.name: one.types for one in tables.TABLES},
    # What people and Google have: the export, names of tables, addresses.
    "events_2*": {
        **{one.name: _exported(one).sql_type for one in ga4_schema.SCHEMA},
        "_TABLE_SUFFIX": "STRING",
    },
    "INFORMATION_SCHEMA.TABLES": {"table_name": "STRING", "table_type": "STRING"},
}
