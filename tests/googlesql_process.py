"""
GoogleSQL's analyzer and reference implementation, in a process of their own.

It reads questions from standard input and writes answers to standard output, one JSON
object a line. It runs in an environment with ``zetasql`` alone: Google's C++ compiled
to WebAssembly, which takes a processor twenty seconds to load.

A question has ``sql``, ``parameters`` (type and value by name) and ``tables`` (by
name: ``columns``, types by name, and ``rows``). An answer has ``error``, or ``columns``
and, where the question asks for ``rows``, the rows of a query.

Source: https://github.com/google/googlesql
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from zetasql.api import Analyzer
from zetasql.core import ZetaSqlLocalService
from zetasql.core.exceptions import ServerError
from zetasql.types import (
    AnalyzerOptions,
    LanguageOptions,
    PrepareQueryRequest,
    ProductMode,
    SimpleCatalog,
    SimpleColumn,
    SimpleTable,
    TypeKind,
    ZetaSQLBuiltinFunctionOptions,
)
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.public.value_pb2 import ValueProto

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# NUMERIC has 38 digits, 9 of them behind the point.
EXACT = Context(prec=76)
SERVICE = ZetaSqlLocalService.get_instance()
LANGUAGE = LanguageOptions.maximum_features()
# BigQuery's types, and not those of Google's own products; a word that it reserves.
LANGUAGE.product_mode = ProductMode.PRODUCT_EXTERNAL
LANGUAGE.reserved_keywords = ["QUALIFY"]
FUNCTIONS = ZetaSQLBuiltinFunctionOptions(language_options=LANGUAGE)
_types: dict[str, Any] = {}


def type_of(sql: str) -> Any:
    """Return a type by its name in SQL."""
    if sql not in _types:
        catalog = SimpleCatalog(name="types", builtin_function_options=FUNCTIONS)
        made = Analyzer(AnalyzerOptions(language_options=LANGUAGE), catalog)
        query = made.analyze_statement(f"SELECT CAST(NULL AS {sql}) AS x")
        _types[sql] = query.output_column_list[0].column.type
    return _types[sql]


def name_of(kind: Any) -> str:
    """Return the name of a type in SQL."""
    if kind.type_kind == TypeKind.TYPE_ARRAY:
        return f"ARRAY<{name_of(kind.array_type.element_type)}>"
    if kind.type_kind == TypeKind.TYPE_STRUCT:
        fields = (
            f"{f.field_name} {name_of(f.field_type)}" for f in kind.struct_type.field
        )
        return f"STRUCT<{', '.join(fields)}>"
    name = TypeKind(kind.type_kind).name.removeprefix("TYPE_")
    return {"DOUBLE": "FLOAT64"}.get(name, name)


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


def catalog_of(tables: dict[str, Any]) -> SimpleCatalog:
    """Return tables as a catalog; a name with points is one name."""
    return SimpleCatalog(
        name="tables",
        builtin_function_options=FUNCTIONS,
        table=[
            SimpleTable(
                name=name,
                column=[
                    SimpleColumn(
                        name=column,
                        type=type_of(kind),
                        is_writable_column=True,
                        is_pseudo_column=column.startswith("_"),
                    )
                    for column, kind in table["columns"].items()
                ],
            )
            for name, table in tables.items()
        ],
    )


def options_of(parameters: dict[str, Any]) -> AnalyzerOptions:
    """Return the options of an analysis with typed parameters."""
    options = AnalyzerOptions(language_options=LANGUAGE)
    options.default_timezone = "UTC"
    options.query_parameters = [
        AnalyzerOptions.QueryParameter(name=name, type=type_of(kind))
        for name, (kind, _) in parameters.items()
    ]
    return options


def rows_of(
    question: dict[str, Any], columns: list[tuple[str, Any]]
) -> list[list[Any]]:
    """Run a query over the rows of the tables."""
    options = options_of(question["parameters"])
    catalog = catalog_of(question["tables"])
    request = PrepareQueryRequest(
        sql=question["sql"], options=options, simple_catalog=catalog
    ).to_proto()
    for name, table in question["tables"].items():
        content = request.table_content[name].table_data
        content.SetInParent()
        kinds = [type_of(kind) for kind in table["columns"].values()]
        for given in table["rows"]:
            row = content.row.add()
            for value, kind in zip(given, kinds, strict=True):
                encode(value, kind, row.cell.add())
    call = SERVICE.wasm_client.call_grpc_func
    prepared = call(
        "ZetaSqlLocalService_PrepareQuery", request, service.PrepareQueryResponse
    ).prepared.prepared_query_id
    run = service.EvaluateQueryRequest(prepared_query_id=prepared)
    for name, (kind, value) in question["parameters"].items():
        parameter = run.params.add(name=name)
        encode(value, type_of(kind), parameter.value)
    answer = call(
        "ZetaSqlLocalService_EvaluateQuery", run, service.EvaluateQueryResponse
    )
    SERVICE.unprepare_query(prepared_query_id=prepared)
    return [
        [decode(cell, kind) for cell, (_, kind) in zip(row.cell, columns, strict=True)]
        for row in answer.content.table_data.row
    ]


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Answer a question."""
    analyzer = Analyzer(
        options_of(question["parameters"]), catalog_of(question["tables"])
    )
    try:
        statement = analyzer.analyze_statement(question["sql"])
        columns = [
            (one.name, one.column.type)
            for one in getattr(statement, "output_column_list", ())
        ]
        found: dict[str, Any] = {"columns": {n: name_of(kind) for n, kind in columns}}
        if question["rows"]:
            found["rows"] = rows_of(question, columns)
    except ServerError as error:
        return {"error": error.message}
    return found


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
