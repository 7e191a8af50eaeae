"""
What a statement reads, by its own text: tables, columns, conditions on partitions.

Read as BigQuery does it before it runs one: columns that no result needs fall out, and
only what is compared with constants leaves partitions out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope

from offline.partitions import EXPORT
from propensity import tables, usecases
from propensity.statements import statement

DIALECT = "bigquery"
VIEW = "ga_events"
FEATURES = "stream_features"
# In the place of what the compaction puts into that view.
BOUNDS = {
    "received_on >= DATE '1970-01-01'": "received_on >= @watermark_day",
    "month >= DATE '1970-01-01'": "month >= @watermark_month",
}


@dataclass(frozen=True, order=True)
class Reads:
    """What is read of one table under one condition; ``changes`` all its columns."""

    table: str
    where: str
    columns: tuple[str, ...]
    changes: bool = False


def path_of(column: exp.Column) -> str:
    """Return a column as it is named, with the parts of its STRUCT."""
    parts = [part.name for part in column.parts]
    node: exp.Expression = column
    while isinstance(node.parent, exp.Dot) and node.parent.this is node:
        node = node.parent
        parts.append(node.expression.name)
    return ".".join(parts)


def exported(view: str) -> dict[str, frozenset[str]]:
    """Return the columns of the export that each column of the view reads."""
    by_column = {}
    for expression in sqlglot.parse_one(view, read=DIALECT).expressions:
        names = {
            unnest.args["alias"].columns[0].name: unnest.expressions[0].sql()
            for unnest in expression.find_all(exp.Unnest)
        }
        paths = set()
        for column in expression.find_all(exp.Column):
            if not isinstance(column.parent, exp.Unnest):
                first, *rest = path_of(column).split(".")
                path = ".".join([names.get(first, first), *rest])
                # A parameter is one of many in a list, which is read as a whole.
                is_parameter = path.startswith("event_params")
                paths.add("event_params" if is_parameter else path)
        by_column[expression.alias_or_name] = frozenset(paths)
    return by_column


EXPORTED = exported(statement(VIEW))
SCHEMA = {
    **{table.name: table.types for table in tables.TABLES},
    VIEW: dict.fromkeys(EXPORTED, "STRING"),
}
PARTITIONS = {
    **{table.name: table.partition for table in tables.TABLES},
    VIEW: "table_suffix",
}


def read_by(name: str, use_case: str = "") -> list[Reads]:
    """Return what a statement reads, complete with what it includes."""
    text = usecases.load(use_case).statement(name) if use_case else statement(name)
    reads: dict[tuple[str, str, bool], set[str]] = {}
    # What a script has put into tables of its own was read before.
    temporary: dict[str, dict[str, str]] = {}
    for parsed in sqlglot.parse(text, read=DIALECT):
        query = exp.expand(parsed, {FEATURES: _features()}) if parsed else None
        for read in _of_statement(query, temporary):
            if read.table in temporary:
                continue
            key = (read.table, read.where, read.changes)
            reads.setdefault(key, set()).update(read.columns)
    return sorted(_named(*key, columns) for key, columns in reads.items())


@cache
def _features() -> exp.Query:
    """Return the view of the features, as the compaction has bounded it."""
    text = statement(FEATURES)
    for literal, bound in BOUNDS.items():
        text = text.replace(literal, bound)
    view = sqlglot.parse_one(text, read=DIALECT)
    assert isinstance(view, exp.Query)
    return view


def _named(table: str, where: str, changes: bool, columns: set[str]) -> Reads:
    if table == VIEW:
        paths = frozenset().union(*(EXPORTED[column] for column in columns))
        table, columns = EXPORT, set(paths - {"table_suffix"})
        where = where.replace("table_suffix", "_TABLE_SUFFIX")
    # A part of what is read whole is no more.
    whole = {
        column
        for column in columns
        if column.partition(".")[0] not in columns - {column}
    }
    return Reads(table, where, tuple(sorted(whole)), changes)


def _of_statement(
    node: exp.Expression | None, temporary: dict[str, dict[str, str]]
) -> Iterator[Reads]:
    match node:
        case exp.Query():
            yield from _of_query(node, temporary)
        case exp.Export():
            yield from _of_query(node.this, temporary)
        case exp.Create():
            query = node.expression
            yield from _of_query(query, temporary)
            columns = _qualified(query, temporary).named_selects
            temporary[node.find(exp.Table).name] = dict.fromkeys(columns, "STRING")
        case exp.Insert():
            yield from _of_query(node.expression, temporary)
        case exp.Merge():
            yield from _of_query(node.args["using"].this, temporary)
            alias = node.this.alias_or_name
            written = {
                id(pair.this)
                for pair in node.find_all(exp.EQ)
                if isinstance(pair.parent, exp.Update)
            }
            used = [
                column
                for column in node.find_all(exp.Column)
                if column.table == alias and id(column) not in written
            ]
            condition = node.args["on"]
            if condition.sql() == "FALSE":
                # Then rows are changed where a clause says so.
                condition = exp.and_(
                    *(
                        when.args["condition"]
                        for when in node.find_all(exp.When)
                        if when.args.get("condition")
                    )
                )
            yield from _changed(node.this.name, alias, condition, used)
        case exp.Delete() | exp.Update():
            where = node.args["where"].this
            yield from _changed(
                node.this.name, "", where, list(where.find_all(exp.Column))
            )
        case exp.Transaction() | exp.Commit() | None:
            return
        case _:
            raise AssertionError(f"what does {type(node).__name__} read?")


def _changed(
    table: str, alias: str, condition: exp.Expression, used: list[exp.Column]
) -> Iterator[Reads]:
    where = _constant([condition], alias, PARTITIONS[table])
    yield Reads(table, where, tuple({column.name for column in used}))
    yield Reads(table, where, (), changes=True)


def _qualified(
    query: exp.Expression, temporary: dict[str, dict[str, str]]
) -> exp.Expression:
    return pushdown_projections(
        qualify(
            query.copy(),
            schema={**SCHEMA, **temporary},
            dialect=DIALECT,
            quote_identifiers=False,
            validate_qualify_columns=False,
        )
    )


def _of_query(
    query: exp.Expression, temporary: dict[str, dict[str, str]]
) -> Iterator[Reads]:
    query = _qualified(query, temporary)
    for scope in traverse_scope(query):
        for alias, source in scope.sources.items():
            if isinstance(source, exp.Table) and source.name not in temporary:
                columns = tuple(
                    path_of(column).removeprefix(f"{alias}.")
                    for column in scope.source_columns(alias)
                )
                joins = scope.expression.args.get("joins") or ()
                conditions = [
                    scope.expression.args.get("where"),
                    *(join.args.get("on") for join in joins),
                ]
                where = _constant(conditions, alias, PARTITIONS[source.name])
                yield Reads(source.name, where, columns)


def _constant(
    conditions: list[exp.Expression | None], alias: str, partition: str
) -> str:
    """Return the conditions on a partition that hold constants alone, as one text."""
    texts = []
    for condition in conditions:
        if condition is None:
            continue
        whole = condition.this if isinstance(condition, exp.Where) else condition
        for part in whole.flatten() if isinstance(whole, exp.And) else [whole]:
            columns = list(part.find_all(exp.Column))
            named = {(column.table, column.name) for column in columns}
            if named == {(alias, partition)}:
                bare = part.unnest().copy()
                for column in bare.find_all(exp.Column):
                    column.set("table", None)
                texts.append(bare.sql(DIALECT))
    return " AND ".join(sorted(texts))
