"""What BigQuery asks of a query on a table that requires a partition filter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import sqlglot
from sqlglot import exp

from propensity.tables.every import PREDICTIONS_HISTORY, TABLES

# The column that a query must say something of, by the table.
REQUIRED = {table.name: table.partition for table in TABLES if table.requires_filter}
# A view of one of them.
REQUIRED[PREDICTIONS_HISTORY] = "as_of"

_COMPARED = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In)


def of_all_days(sql: str) -> str:
    """Return a test's query with all days of those tables that ask which are meant."""
    return re.sub(
        rf"(?<!DELETE )\bFROM ({'|'.join(REQUIRED)})\b",
        lambda found: (
            f"FROM (SELECT * FROM {found[1]} "
            f"WHERE {REQUIRED[found[1]]} >= DATE '1970-01-01')"
        ),
        sql,
    )


@cache
def unfiltered(sql: str) -> list[str]:
    """
    Return the tables of REQUIRED that a script reads, or changes rows of, unfiltered.

    A filter is a comparison of the partitioning column with something that no row has
    a part in, in the WHERE of the very SELECT or DELETE that names the table. BigQuery
    takes a little more than that.
    """
    named = "|".join(REQUIRED)
    if not re.search(rf"\b({named})\b", sql):
        return []
    return [
        name
        for tree in sqlglot.parse(_plain(sql), read="bigquery")
        if tree is not None
        for name, table in _read(tree)
        if not _is_filtered(table, REQUIRED[name])
    ]


def _plain(sql: str) -> str:
    # What sqlglot has no grammar for, and says nothing of what is read.
    without = re.sub(r"\b(BEGIN|COMMIT) TRANSACTION;", "", sql)
    return re.sub(r"EXPORT DATA\s+OPTIONS\s*\([^)]*\)\s*AS", "", without)


def _read(tree: exp.Expression) -> Iterator[tuple[str, exp.Table]]:
    for table in tree.find_all(exp.Table):
        holder = table.find_ancestor(exp.Insert, exp.Select, exp.Create)
        is_target = isinstance(holder, exp.Insert | exp.Create)
        if table.name in REQUIRED and not is_target:
            yield table.name, table


def _is_filtered(table: exp.Table, column: str) -> bool:
    scope = table.find_ancestor(exp.Select, exp.Delete, exp.Update, exp.Merge)
    where = scope.args.get("where") if scope else None
    if where is None:
        return False
    every = where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
    return any(_says(one, column) for one in every)


def _says(condition: exp.Expression, column: str) -> bool:
    if not isinstance(condition, _COMPARED):
        return False
    columns = [node.name for node in condition.find_all(exp.Column)]
    is_first = isinstance(condition.this, exp.Column)
    return is_first and columns == [column]
