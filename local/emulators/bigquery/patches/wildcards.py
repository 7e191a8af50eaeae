"""
Wildcards: all tables of a prefix, columns matched by name.

They are kept as one table beside them. A query of a year of days would be planned for
365 tables each time, which takes longer than to run it.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

# Rows that are worth compressing.
MANY = 50_000


# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.engine.database": ("def writing(",),
    "local_bigquery.catalog.tabledata": ("def insert_all(",),
    "local_bigquery.catalog.metadata": (
        "def save[R: Resource](",
        "def delete(model:",
    ),
    "local_bigquery.sql.rules.tables": ("def wildcard_table(",),
    "local_bigquery.jobs.query": (
        "from local_bigquery.sql.translate import Context, parse, translate",
    ),
    "local_bigquery.sql.script": (
        "from local_bigquery.sql.translate import Context, parse, translate",
    ),
    "local_bigquery.grpc.read": (
        "from local_bigquery.sql.translate import Context, parse, translate",
    ),
    "local_bigquery.jobs.merge": (
        "from local_bigquery.sql.translate import Context, translate",
    ),
}


class Gathered:
    """
    The tables of each wildcard as one, in memory, compressed.

    A table is read again once something was written to it: data by way of
    ``database.writing`` or of ``insert_all``, a definition by way of ``metadata``.
    """

    def __init__(self, database: Any) -> None:
        from local_bigquery.catalog import metadata, tabledata

        self._database = database
        self._writes = Counter[tuple[str, ...]]()
        # Changes of each dataset, and its names then, which DuckDB lists slowly.
        self._changes = Counter[tuple[str, ...]]()
        self._names: dict[tuple[str, str], tuple[int, dict[str, str]]] = {}
        # The writes of each table when it was read, by project, dataset and prefix.
        self._read: dict[tuple[str, str, str], dict[str, int]] = {}
        self._lock = threading.Lock()
        database.execute("ATTACH ':memory:' AS wildcards (COMPRESS)")
        writing = database.writing

        @contextlib.contextmanager
        def noticed(*reference: str) -> Iterator[None]:
            with writing(*reference):
                yield
            self._note(reference)

        def noticing(function: Callable[..., Any], named: slice) -> Any:
            @functools.wraps(function)
            def inner(*arguments: Any, **options: Any) -> Any:
                try:
                    return function(*arguments, **options)
                finally:
                    self._note(arguments[named])

            return inner

        database.writing = noticed
        tabledata.insert_all = noticing(tabledata.insert_all, slice(3))
        metadata.save = noticing(metadata.save, slice(1, None))
        metadata.delete = noticing(metadata.delete, slice(1, None))

    def _note(self, reference: tuple[str, ...]) -> None:
        self._writes[reference] += 1
        self._changes[reference[:2]] += 1

    def names(self, project: str, dataset: str) -> dict[str, str]:
        """Return a dataset's tables and views with their kinds."""
        changes = self._changes[project, dataset]
        entry = self._names.get((project, dataset))
        if entry is None or entry[0] != changes:
            listed = self._database.objects(project, dataset)
            entry = changes, {name: kind for name, kind, _ in listed}
            self._names[project, dataset] = entry
        return entry[1]

    def table(self, project: str, dataset: str, prefix: str, names: list[str]) -> str:
        """Return the name of the table that has the rows of all these tables."""
        key = project, dataset, prefix
        kept = str(self._database.quote("wildcards", "main", ":".join(key)))

        def rows(shards: Iterable[str]) -> str:
            return " UNION ALL BY NAME ".join(
                f"SELECT *, '{name[len(prefix) :]}' AS _TABLE_SUFFIX "
                f"FROM {self._database.quote(project, dataset, name)}"
                for name in shards
            )

        with self._lock, self._database.cursor() as cursor:
            now = {name: self._writes[project, dataset, name] for name in names}
            read = self._read.get(key, {})
            changed = [name for name in names if read.get(name) != now[name]]
            gone = [name for name in read if now.get(name) != read[name]]
            if gone or changed:
                if read and changed and _fits(cursor, f"({rows(changed)})", into=kept):
                    suffixes = [f"'{name[len(prefix) :]}'" for name in gone]
                    # A list without an element is no SQL.
                    old = ", ".join(suffixes) if suffixes else "NULL"
                    cursor.execute("BEGIN")
                    cursor.execute(f"DELETE FROM {kept} WHERE _TABLE_SUFFIX IN ({old})")
                    cursor.execute(f"INSERT INTO {kept} BY NAME {rows(changed)}")
                    cursor.execute("COMMIT")
                else:
                    sql = f"CREATE OR REPLACE TABLE {kept} AS {rows(names)}"
                    [(count,)] = cursor.execute(sql).fetchall()
                    if count > MANY:
                        # DuckDB compresses a table when it is written to the file.
                        cursor.execute("CHECKPOINT wildcards")
                self._read[key] = now
        return kept


def _fits(cursor: Any, rows: str, *, into: str) -> bool:
    """Return whether rows have the columns of a table, and of the same types."""
    relations = [cursor.sql(f"SELECT * FROM {name} LIMIT 0") for name in (rows, into)]
    new, kept = (
        dict(zip(relation.columns, relation.types, strict=True))
        for relation in relations
    )
    return bool(new == kept)


@dataclass(frozen=True)
class Wildcard:
    """
    A wildcard of a statement, which is translated as if it were one table.

    ``text`` is what stands in the translation: a SELECT of the table ``mark``, which is
    no table's name.
    """

    project: str
    dataset: str
    name: str
    mark: str
    text: str

    def put_into(self, sql: str, gathered: Gathered) -> str:
        """Return the translation with all tables for the one."""
        from local_bigquery.catalog import names
        from local_bigquery.errors import BigQueryError

        prefix = self.name.rstrip("*")
        label = names.label(self.project, self.dataset, self.name)
        matches = {
            name: kind
            for name, kind in gathered.names(self.project, self.dataset).items()
            if name.startswith(prefix)
        }
        if not matches:
            raise BigQueryError("invalid", f"{label} does not match any table.")
        if views := [name for name, kind in matches.items() if kind != "TABLE"]:
            label = names.label(self.project, self.dataset, views[0])
            reason = "Views cannot be queried through prefix. Matched views are: "
            raise BigQueryError("invalidQuery", f"{reason}{label}")
        kept = gathered.table(self.project, self.dataset, prefix, list(matches))
        return sql.replace(self.text, f"SELECT * FROM {kept}")


def union_wildcards(database: Any) -> None:
    """
    Read ``events_*`` as all rows of all its tables, columns matched by name.

    The emulator takes a distinct union by position: it drops an event that was
    exported twice, and fails where a newer table has one more column.
    """
    from local_bigquery.catalog import names
    from local_bigquery.grpc import read
    from local_bigquery.jobs import merge, query
    from local_bigquery.sql import rules, script
    from local_bigquery.sql.dialect import DuckDBDialect
    from sqlglot import exp

    def wildcard(node: Any, context: Any) -> Any:
        if not isinstance(node, exp.Table) or not node.name.endswith("*"):
            return node
        project, dataset, _ = names.reference(
            node, context.project_id, context.dataset_id
        )
        for column in _columns(node):
            if star := _star(column, node.alias_or_name):
                star.append("except_", exp.column("_TABLE_SUFFIX"))
        mark = f"*{len(context.wildcards)}"
        suffix = exp.alias_(exp.Literal.string(mark), "_TABLE_SUFFIX")
        select = exp.select("*", suffix).from_(
            exp.table_(mark, db=dataset, catalog=project, quoted=True)
        )
        text = select.sql(dialect=DuckDBDialect)
        context.wildcards += (Wildcard(project, dataset, node.name, mark, text),)
        alias = node.args.get("alias")
        if not alias:
            name = node.name.rstrip("*")
            name = name if name else node.name
            alias = exp.TableAlias(this=exp.to_identifier(name, quoted=True))
        return exp.Subquery(this=select, alias=alias)

    translate = query.translate
    gathered = Gathered(database)

    def translate_whole(tree: Any, context: Any) -> tuple[str, dict[str, Any]]:
        context.wildcards = ()
        sql, bound = translate(tree, context)
        for pattern in context.wildcards:
            sql = pattern.put_into(sql, gathered)
        return sql, bound

    rules.NODE_RULES[rules.NODE_RULES.index(rules.tables.wildcard_table)] = wildcard
    for module in (query, script, read, merge):
        module.translate = translate_whole


def _columns(table: Any) -> list[Any]:
    """Return the select list of the query that reads a table."""
    from sqlglot import exp

    query = table.find_ancestor(exp.Select)
    return query.expressions if query is not None else []


def _star(column: Any, table: str) -> Any:
    """Return the star of ``*`` or ``table.*``, None for any other column."""
    from sqlglot import exp

    if isinstance(column, exp.Column) and column.table in ("", table):
        column = column.this
    return column if isinstance(column, exp.Star) else None
