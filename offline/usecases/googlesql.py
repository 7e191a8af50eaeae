"""
Google's own reading of a statement, by the analyzer that BigQuery's SQL is made of.

The emulated BigQuery runs what DuckDB makes of a statement, which takes much that
BigQuery refuses: a TIMESTAMP compared with a DATE, functions of other databases, texts
as numbers. Here Google's C++ reports the fault, in the words and at the place that
BigQuery does.

Source: https://github.com/google/googlesql
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Mapping
from typing import Any

from propensity.statements import statement
from propensity.tables import every as tables
from propensity.tables.audiences import AUDIENCE_LEDGER, AUDIENCE_LISTS
from propensity.tables.models import PREDICTIONS_HISTORY
from propensity.tables.stream import STREAM_FEATURES

Columns = Mapping[str, str]

_POSITION = re.compile(r"\s*\[at (\d+):(\d+)\]")
# The analyzer lacks these aggregates of BigQuery, which return their first argument.
_OF_A_ROW = ("MAX_BY", "MIN_BY")
# BigQuery has these beside its analyzer, and models, and functions of a namespace.
_UNKNOWN = re.compile(
    r"Table-valued function not found: |Function not found: ([^;]*\.|("
    "BAG_OF_WORDS|CONTAINS_SUBSTR|SEARCH|TEXT_ANALYZE|TF_IDF|"
    r"VECTOR_SEARCH)\b)",
    re.IGNORECASE,
)


class Refused(Exception):
    """BigQuery would refuse a statement; places count from 1, 0 is unknown."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def columns(sql: str, relations: Mapping[str, Columns], parameters: Columns) -> Columns:
    """
    Return the types of a statement's columns, by name.

    They are empty where the statement has what BigQuery alone knows, such as models.

    Args:
        relations: Types of columns, by the names of tables and views in the statement.

    Raises:
        Refused: BigQuery would refuse it.
    """
    return output_of(resolve(sql, relations, parameters))


def output_of(resolved: Any) -> Columns:
    """Return the types of the columns of a statement that ``resolve`` gave, by name."""
    from zetasql.types.proto_model.proto_model import parse_proto

    output = map(parse_proto, getattr(resolved, "output_column_list", ()))
    return {column.name: name_of(column.column.type) for column in output}


def resolve(sql: str, relations: Mapping[str, Columns], parameters: Columns) -> Any:
    """
    Return the analyzer's statement, None where it has what BigQuery alone knows.

    It is the message of the analyzer's answer: the library would make an object of each
    of its thousands of nodes, which takes longer than the analysis.

    Raises:
        Refused: BigQuery would refuse it.
    """
    from zetasql.core.exceptions import ServerError, StatusCode
    from zetasql.core.local_service import local_service_pb2
    from zetasql.types import AnalyzeRequest

    read = tables_of(sql)
    read_relations = {name: relations[name] for name in relations if name in read}
    try:
        request = AnalyzeRequest(
            sql_statement=sql,
            options=options_of(parameters),
            simple_catalog=catalog_of(read_relations),
        )
        node = service().wasm_client.call_grpc_func(
            "ZetaSqlLocalService_Analyze",
            request.to_proto(),
            local_service_pb2.AnalyzeResponse,
        )
    except ServerError as error:
        if error.code != StatusCode.INVALID_ARGUMENT or is_unknown(error.message):
            return None
        position = _POSITION.search(error.raw_error)
        text = _POSITION.sub("", error.raw_error).partition("Message: ")[2]
        reasons = []
        for number, line in enumerate(text.splitlines()):
            # The signatures that would do have lines of their own.
            if number == 0:
                reasons.append(line)
            elif "Argument types:" in line:
                reasons.append(line.strip())
        at = map(int, position.groups()) if position else ()
        raise Refused(", ".join(reasons), *at) from None
    node = node.resolved_statement
    # A kind of statement has kinds of its own, such as those of CREATE.
    while "node" in node.DESCRIPTOR.oneofs_by_name:
        node = getattr(node, node.WhichOneof("node"))
    return node


def is_unknown(error: str) -> bool:
    """Return whether a statement is refused for what BigQuery alone has."""
    return _UNKNOWN.match(error) is not None


@functools.cache
def deployment() -> Mapping[str, Columns]:
    """Return the columns of a deployment's tables and views, but for the export."""
    relations: dict[str, Columns] = {}
    for table in tables.TABLES:
        relations |= {table.name: table.types, table.stored: table.types}
    views = {
        PREDICTIONS_HISTORY: "predictions_history",
        STREAM_FEATURES: STREAM_FEATURES,
        AUDIENCE_LEDGER: AUDIENCE_LEDGER,
        AUDIENCE_LISTS: AUDIENCE_LISTS,
    }
    for view, name in views.items():
        relations[view] = columns(statement(name), relations, {})
    return relations


@functools.cache
def tables_of(sql: str) -> frozenset[str]:
    """Return the names of the tables that a statement reads or changes."""
    from zetasql.core.exceptions import ServerError

    try:
        names = service().extract_table_names_from_statement(
            sql_statement=sql, options=language()
        )
    except ServerError:  # no SQL, which the analysis says as well
        return frozenset()
    return frozenset(".".join(name.table_name_segment) for name in names.table_name)


# -- what GoogleSQL calls it -----------------------------------------------------------


@functools.cache
def language() -> Any:
    from zetasql.types import LanguageOptions, ProductMode

    service()
    options = LanguageOptions.maximum_features()
    # BigQuery's types, and not those of Google's own products.
    options.product_mode = ProductMode.PRODUCT_EXTERNAL
    options.reserved_keywords = ["QUALIFY"]
    return options


@functools.cache
def type_of(sql: str) -> Any:
    from zetasql import types
    from zetasql.api import Analyzer

    # A cast needs no function, and to add them all takes longer than the rest.
    empty = types.SimpleCatalog(name="tables")
    analyzer = Analyzer(options_of({}), empty, service())
    query = analyzer.analyze_statement(f"SELECT CAST(NULL AS {sql}) AS x")
    return query.output_column_list[0].column.type


def name_of(kind: Any) -> str:
    from zetasql.types import TypeKind

    if kind.type_kind == TypeKind.TYPE_ARRAY:
        return f"ARRAY<{name_of(kind.array_type.element_type)}>"
    if kind.type_kind == TypeKind.TYPE_STRUCT:
        fields = kind.struct_type.field
        inside = (f"{field.field_name} {name_of(field.field_type)}" for field in fields)
        return f"STRUCT<{', '.join(inside)}>"
    name = TypeKind(kind.type_kind).name.removeprefix("TYPE_")
    return "FLOAT64" if name == "DOUBLE" else name


def options_of(parameters: Columns) -> Any:
    """Return the options of an analysis with parameters of these types."""
    from zetasql.types import AnalyzerOptions, ErrorMessageMode

    options = AnalyzerOptions(language_options=language())
    # Messages include line and column.
    options.error_message_mode = ErrorMessageMode.ERROR_MESSAGE_ONE_LINE
    options.default_timezone = "UTC"
    options.query_parameters = [
        AnalyzerOptions.QueryParameter(name=name, type=type_of(kind))
        for name, kind in parameters.items()
    ]
    return options


def catalog_of(relations: Mapping[str, Columns]) -> Any:
    """
    Return a catalog of tables.

    A name with points is found as one quoted word, and as a path.
    """
    from zetasql import types

    def table(name: str, kinds: Columns) -> Any:
        columns = []
        for column, kind in kinds.items():
            columns.append(
                types.SimpleColumn(
                    name=column,
                    type=type_of(kind),
                    is_writable_column=True,
                    is_pseudo_column=column.startswith("_"),
                )
            )
        return types.SimpleTable(name=name, column=columns)

    def catalog(name: str, tables: Mapping[str, Columns], **more: Any) -> Any:
        inside: dict[str, dict[str, Columns]] = {}
        for path, kinds in tables.items():
            first, _, rest = path.partition(".")
            if rest:
                inside.setdefault(first, {})[rest] = kinds
        return types.SimpleCatalog(
            name=name,
            table=[table(path, kinds) for path, kinds in tables.items()],
            catalog=[catalog(first, rest) for first, rest in inside.items()],
            **more,
        )

    return catalog(
        "tables",
        relations,
        builtin_function_options=types.ZetaSQLBuiltinFunctionOptions(
            language_options=language()
        ),
        custom_function=[_of_a_row(name) for name in _OF_A_ROW],
    )


def _of_a_row(name: str) -> Any:
    """Return an aggregate that gives its first argument of the row with a bound."""
    from zetasql.types import (
        Function,
        FunctionArgumentType,
        FunctionEnums,
        FunctionSignature,
        SignatureArgumentKind,
    )

    value, key = (
        FunctionArgumentType(kind=kind, num_occurrences=1)
        for kind in (
            SignatureArgumentKind.ARG_TYPE_ANY_1,
            SignatureArgumentKind.ARG_TYPE_ANY_2,
        )
    )
    signature = FunctionSignature(argument=[value, key], return_type=value)
    return Function(
        name_path=[name],
        group="BigQuery",
        mode=FunctionEnums.Mode.AGGREGATE,
        signature=[signature],
    )


@functools.cache
def service() -> Any:
    """
    Return the analyzer.

    It comes as WebAssembly. To make machine code of it takes a processor twenty
    seconds, so wasmtime keeps that in the user's cache.
    """
    import wasmtime
    from zetasql.core import local_service, wasm_client

    def config() -> Any:
        made = wasmtime.Config()
        # Without a cache folder each run compiles again.
        with contextlib.suppress(wasmtime.WasmtimeError):
            made.cache = True
        return made

    # The client makes its engine by this name.
    wasm_client.Config = config
    return local_service.ZetaSqlLocalService.get_instance()
