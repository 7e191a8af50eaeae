"""
Google's own reading of SQL, asked in a process of its own; see ``googlesql_process``.

``zetasql`` is on the package index, so tests that ask are among those that install.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp

from local.exports import ga4_schema
from propensity import tables
from propensity.edges.columns import query_parameter

PACKAGES = ["zetasql==0.1.5", "wasmtime==50.0.1", "protobuf==7.36.2", "tzdata"]
PROCESS = Path(__file__).with_name("googlesql_process.py")
DIALECT = "bigquery"

Columns = dict[str, str]
Rows = list[list[Any]]

_TYPE = re.compile(r"(ARRAY<\w+>|STRING|INT64|FLOAT64|NUMERIC|BOOL|DATE|TIMESTAMP)")
_TRANSACTION = re.compile(r"(BEGIN|COMMIT)( TRANSACTION)?", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")
_EXPORTED = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


class Refused(Exception):
    """GoogleSQL refuses a statement, in its own words."""


class GoogleSQL:
    """A process that analyses statements, and runs queries."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [python, PROCESS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def columns(
        self, sql: str, relations: Mapping[str, Columns], parameters: Mapping[str, str]
    ) -> Columns:
        """
        Return the types of a statement's columns; of a script, those of its last one.

        Args:
            sql: Of BigQuery.
            relations: Columns of tables and views, by name.
            parameters: Types by name.

        Raises:
            Refused: It is no GoogleSQL.
        """
        known, found = dict(relations), Columns()
        for one in statements(sql):
            found = self._ask(
                sql=one,
                tables={
                    name: {"columns": known[name], "rows": []}
                    for name in tables_of(one)
                    if name in known
                },
                parameters={name: (kind, None) for name, kind in parameters.items()},
                rows=False,
            )["columns"]
            # What a script has made, those after it read.
            created = sqlglot.parse_one(one, read=DIALECT)
            if isinstance(created, exp.Create) and created.expression:
                known[created.this.name] = found
        return found

    def rows(
        self,
        sql: str,
        relations: Mapping[str, tuple[Columns, Rows]],
        parameters: Mapping[str, Any],
    ) -> list[dict[str, Any]]:
        """Run a query over rows of JSON; ``plain`` says how values come back."""
        given = {
            name: (_kind(name, value), plain(value))
            for name, value in parameters.items()
            if f"@{name}" in sql
        }
        answer = self._ask(
            sql=sql,
            tables={
                name: {"columns": relations[name][0], "rows": relations[name][1]}
                for name in tables_of(sql)
                if name in relations
            },
            parameters=given,
            rows=True,
        )
        return [
            dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]
        ]

    def _ask(self, **question: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, but for the borders of a transaction."""
    start = 0
    for token in sqlglot.tokenize(script + ";", read=DIALECT):
        if token.token_type is sqlglot.TokenType.SEMICOLON:
            one, start = script[start : token.start], token.end + 1
            code = _COMMENT.sub("", one).strip()
            if code and not _TRANSACTION.fullmatch(code):
                yield one


def tables_of(sql: str) -> set[str]:
    """Return the names of the tables that a statement reads or changes."""
    return {
        ".".join(part.name for part in table.parts)
        for table in sqlglot.parse_one(sql, read=DIALECT).find_all(exp.Table)
        if isinstance(table.this, exp.Identifier)
    }


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


def types_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the types of parameters by their values."""
    return {name: _kind(name, value) for name, value in values.items()}


def _code(sql: str) -> str:
    return _COMMENT.sub("", sql)


def _kind(name: str, value: Any) -> str:
    given = query_parameter(name, value).to_api_repr()["parameterType"]
    is_array = given["type"] == "ARRAY"
    return f"ARRAY<{given['arrayType']['type']}>" if is_array else str(given["type"])


def plain(value: Any) -> Any:
    """Return a value as JSON has it: days, moments and money as texts."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    if isinstance(value, Decimal):
        return f"{value:.9f}"
    return str(value) if isinstance(value, date | datetime) else value


def _exported(column: ga4_schema.Column) -> str:
    kind = _EXPORTED.get(column.field_type, column.field_type)
    if column.fields:
        inside = ", ".join(f"{one.name} {_exported(one)}" for one in column.fields)
        kind = f"STRUCT<{inside}>"
    return f"ARRAY<{kind}>" if column.mode == "REPEATED" else kind


TABLES = {
    **{one.name: {c.name: c.sql_type for c in one.columns} for one in tables.TABLES},
    # What people and Google have: the export, names of tables, addresses.
    "events_*": {
        **{one.name: _exported(one) for one in ga4_schema.SCHEMA},
        "_TABLE_SUFFIX": "STRING",
    },
    "INFORMATION_SCHEMA.TABLES": {"table_name": "STRING", "table_type": "STRING"},
    "audience_contacts": dict.fromkeys(
        (
            *("user_id", "email", "phone", "first_name", "last_name"),
            *("country_code", "postal_code"),
        ),
        "STRING",
    )
    | {"has_ads_consent": "BOOL"},
}
