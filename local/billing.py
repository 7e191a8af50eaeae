"""
How many bytes BigQuery would bill for a query, from its tables' sizes.

BigQuery bills every column that a statement reads, whole, and once however often the
statement names it. Conditions on rows change nothing. Those that compare a wildcard's
suffix, or a partition column, with constants leave out the tables or partitions.

Source:
    https://cloud.google.com/bigquery/pricing#data-size-calculation
    https://support.google.com/analytics/answer/9823238: a gigabyte of the export is
    about 600,000 events. The shares of its columns, in ``ga4_sizes.json``, are those
    of Google's public sample, bigquery-public-data.ga4_obfuscated_sample_ecommerce.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import resources
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.optimizer.pushdown_predicates import pushdown_predicates
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope

from local.exports import ga4_schema
from offline import costs
from propensity.schema import Table
from propensity.settings import Settings
from propensity.statements import statement
from propensity.tables import every as tables
from propensity.tables.export import (
    CONVERSIONS,
    DIGESTED_DAYS,
    REFUSALS,
    USER_DAYS,
    VIEW,
)
from propensity.usecases import UseCase

BYTES_AN_EVENT = 1e9 / 600_000
# Events of a user and day, and days of users for each purchase or refund: fewer than in
# that sample. Who clicks more does not buy more.
EVENTS_A_USER_DAY = 10
USER_DAYS_A_CONVERSION = 10
# Bytes of a value of the digest, by type and by column; of texts, means of that sample.
WIDTHS = {"STRING": 14, "INT64": 8, "DATE": 8, "TIMESTAMP": 8, "NUMERIC": 16}
ID_WIDTH = 24
TEXT_WIDTHS = {
    "event_digest": 34,
    "source": 10.1,
    "medium": 9.0,
    "device_category": 8.6,
    "operating_system": 6.6,
    "country": 11.9,
    # Two ids, as purchases of the generated shop have.
    "item_ids": 2 * 14,
}
# The name that the view of the export has for the tables of all days.
EXPORT = "shards"


@dataclass(frozen=True)
class Contents:
    """
    A table's size, and its bytes by column and partition.

    Attributes:
        partition: The column whose values are partitions, or tables of a wildcard.
        sizes: Mean bytes of a row by column; by field of structs: ``geo.country``.
        rows: Number of rows by partition.
    """

    partition: str
    sizes: Mapping[str, float]
    rows: Mapping[date | str, int]


@dataclass(frozen=True)
class Scan:
    """
    One reading of a table.

    Attributes:
        columns: The columns that are read; of structs, the fields: ``geo.country``.
        conditions: On the partition column, in BigQuery's SQL.
    """

    table: str
    columns: frozenset[str]
    conditions: tuple[exp.Expression, ...]


def bytes_read(
    scans: Sequence[Scan],
    contents: Mapping[str, Contents],
    parameters: Mapping[str, Any],
) -> dict[str, float]:
    """Return the bytes that a statement bills, by table."""
    billed: dict[str, float] = {}
    for table in {scan.table for scan in scans}:
        table_contents = contents[table]
        # A column of a partition is billed once, however many scans read it.
        columns: dict[date | str, frozenset[str]] = {}
        for scan in scans:
            if scan.table == table:
                for partition in _partitions(scan, table_contents, parameters):
                    columns[partition] = (
                        columns.get(partition, frozenset()) | scan.columns
                    )
        sizes = {
            read: _size(read, table_contents.sizes) for read in set(columns.values())
        }
        billed[table] = sum(
            table_contents.rows[partition] * sizes[read]
            for partition, read in columns.items()
        )
    return billed


def _size(columns: frozenset[str], sizes: Mapping[str, float]) -> float:
    """Return the bytes of a row in these columns, or in the fields of them."""
    return sum(
        size
        for name, size in sizes.items()
        if any(f"{name}.".startswith(f"{column}.") for column in columns)
    )


def _partitions(
    scan: Scan, contents: Contents, parameters: Mapping[str, Any]
) -> set[date | str]:
    """Return the partitions that a scan's conditions leave in."""
    values = list(contents.rows)
    kind = "DATE" if isinstance(values[0], date) else "VARCHAR"
    where = exp.and_(*scan.conditions, copy=True) if scan.conditions else exp.true()
    for column in where.find_all(exp.Column):
        column.set("table", None)
    for division in where.find_all(exp.IntDiv):
        # sqlglot writes DIV(a + b, c) as a + b // c.
        division.set("this", exp.paren(division.this))
    sql = where.sql("duckdb")
    named = {parameter.name for parameter in where.find_all(exp.Parameter)}
    given = {name: parameters[name] for name in named}
    all_partitions = f"(SELECT UNNEST($values::{kind}[]) AS {contents.partition})"
    query = f"SELECT {contents.partition} FROM {all_partitions} WHERE {sql}"
    rows = _database().execute(query, {**given, "values": values}).fetchall()
    return {value for (value,) in rows}


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """Open what computes conditions, once: that takes as long as thirty of them."""
    return duckdb.connect()


def a_month(
    use_case: UseCase,
    settings: Settings,
    *,
    a_day: int,
    a_user_day: int = EVENTS_A_USER_DAY,
) -> costs.Month:
    """Return what a month bills of an export with so many events a day."""
    as_of = date(2026, 3, 2)
    days = [as_of + timedelta(days=n) for n in range(-1_000, 30)]
    rows: dict[date | str, int] = {f"{day:%Y%m%d}": a_day for day in days}
    contents = {EXPORT: Contents("table_suffix", event_sizes(), rows)}
    for table, count in digest_rows(a_day, a_user_day).items():
        by_day: dict[date | str, int] = {}
        for day in days:
            by_day[day] = count
        contents[table.name] = Contents(table.partition, digest_sizes(table), by_day)

    def billed(name: str, window: Mapping[str, Any]) -> float:
        all_scans = scans(use_case.statement(name))
        read = [scan for scan in all_scans if scan.table in contents]
        return sum(bytes_read(read, contents, window).values())

    return costs.month(use_case, settings, as_of=as_of, billed=billed)


def digest_rows(a_day: int, a_user_day: int) -> dict[Table, int]:
    """Return the rows of a day in the digest's tables."""
    user_days = a_day // a_user_day
    return {
        USER_DAYS: user_days,
        CONVERSIONS: user_days // USER_DAYS_A_CONVERSION,
        REFUSALS: 0,
        DIGESTED_DAYS: 1,
    }


def digest_sizes(table: Table) -> dict[str, float]:
    """Return the mean bytes of a row of the digest by column."""
    sizes = {}
    for column in table.columns:
        width = TEXT_WIDTHS.get(column.name, WIDTHS[column.type])
        if column.name.endswith("_id"):
            width = ID_WIDTH
        sizes[column.name] = float(width)
    return sizes


def stored_a_day(a_day: int) -> float:
    """Return the bytes that the digest has of a day with so many events."""
    stored = 0.0
    for table, count in digest_rows(a_day, EVENTS_A_USER_DAY).items():
        stored += count * sum(digest_sizes(table).values())
    return stored


def event_sizes() -> dict[str, float]:
    """Return the mean bytes of an event of the export by column."""
    file = resources.files(ga4_schema.__package__) / "ga4_sizes.json"
    sizes: dict[str, float] = json.loads(file.read_text())
    total = sum(sizes.values())
    return {name: BYTES_AN_EVENT * size / total for name, size in sizes.items()}


@cache
def _catalogue() -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """Return columns and partition columns by table, and views, parsed."""
    columns = {table.stored: dict(table.types) for table in tables.TABLES}
    columns[EXPORT] = {column.name: column.sql_type for column in ga4_schema.COLUMNS}
    columns[EXPORT]["table_suffix"] = "STRING"
    partitions = {table.stored: table.partition for table in tables.TABLES}
    words = {"analytics_storage": "'Yes'", "ads_storage": "'Yes'"}
    texts = {VIEW: statement(VIEW, columns_of_use_cases="", **words)}
    texts |= tables.views("")
    views = {name: _parsed(text) for name, text in texts.items()}
    return columns, partitions | {EXPORT: "table_suffix"}, views


@cache
def scans(sql: str) -> list[Scan]:
    """Return how a query reads the tables of a deployment."""
    types, partitions, views = _catalogue()
    tree = exp.expand(_parsed(sql), views, dialect="bigquery")
    tree = qualify(
        tree, schema=types, dialect="bigquery", validate_qualify_columns=False
    )
    tree = pushdown_predicates(pushdown_projections(tree))
    table_scans: list[Scan] = []
    for scope in traverse_scope(tree):
        for alias, (_, source) in scope.selected_sources.items():
            if isinstance(source, exp.Table):
                partition = partitions[source.name]
                columns = frozenset(_columns(scope.expression, alias))
                conditions = _conditions(scope.expression, alias, partition)
                table_scans.append(Scan(source.name, columns, tuple(conditions)))
    return table_scans


def _parsed(sql: str) -> Any:
    """Return a query whose tables are named without project and dataset."""
    tree = sqlglot.parse_one(sql, read="bigquery")
    for table in tree.find_all(exp.Table):
        table.set("db", None)
        table.set("catalog", None)
    return tree


def _columns(select: Any, alias: str) -> Iterator[str]:
    """Yield what a SELECT reads of a table, also in subqueries of its columns."""
    for column in select.find_all(exp.Column):
        if column.table == alias:
            yield from _paths(column)


def _paths(column: Any) -> Iterator[str]:
    """Yield the read parts of a column: itself, a field, or fields of its elements."""
    if not isinstance(column.parent, exp.Unnest):
        yield _path(column)
        return
    [element] = column.parent.alias_column_names
    select = column.parent.find_ancestor(exp.Select)
    if select is None:
        return
    for inner in select.find_all(exp.Column):
        if inner.name == element:
            _, _, field = _path(inner).partition(".")
            yield f"{column.name}.{field}" if field else column.name


def _path(column: Any) -> str:
    parts = [column.name]
    node = column
    while isinstance(node.parent, exp.Dot) and node.parent.this is node:
        node = node.parent
        parts.append(node.expression.name)
    return ".".join(parts)


def _conditions(select: Any, alias: str, column: str) -> Iterator[Any]:
    """Yield the conditions of a SELECT on a column alone, which all must hold."""
    where = select.args.get("where")
    pending = [where.this] if where is not None else []
    while pending:
        condition = pending.pop().unnest()
        if isinstance(condition, exp.And):
            pending += [condition.left, condition.right]
        elif not condition.find(exp.Select):
            columns = {
                (reference.table, reference.name)
                for reference in condition.find_all(exp.Column)
            }
            if columns == {(alias, column)}:
                yield condition
