"""What a dataset holds, by name and from memory."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

_CATALOG_CHANGE = re.compile(r"\s*(CREATE|DROP|ALTER)\b", re.IGNORECASE)


class Catalog:
    """
    Names of a dataset's tables and views, cached while nobody changes them.

    ``changing`` is held by a writer that may create or drop; nothing is cached then,
    and no cache is used.
    """

    def __init__(self, listed: Callable[[str, str], list[Any]]) -> None:
        self._listed = listed
        self._lock = threading.Lock()
        self._generation = 0
        self._writers = 0
        self._known: dict[tuple[str, str], list[Any]] = {}

    def objects(self, project: str, dataset: str) -> list[Any]:
        """Return (name, kind, rows) of a dataset's tables and views; rows are rough."""
        with self._lock:
            generation = self._generation
            if not self._writers and (project, dataset) in self._known:
                return self._known[project, dataset]
        tables = self._listed(project, dataset)
        with self._lock:
            if not self._writers and generation == self._generation:
                self._known[project, dataset] = tables
        return tables

    @property
    def generation(self) -> int | None:
        """A number that is another one after every change; None during a change."""
        with self._lock:
            return None if self._writers else self._generation

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Clear the cache, now and at the end."""
        self._forget(1)
        try:
            yield
        finally:
            self._forget(-1)

    def _forget(self, writers: int) -> None:
        with self._lock:
            self._writers += writers
            self._generation += 1
            self._known.clear()


def look_up_by_name(database: Any) -> Catalog:
    """Replace scans of DuckDB's catalogue, which grow with it, by look-ups."""
    import duckdb
    from local_bigquery.catalog import tables
    from local_bigquery.sql.rules import partitions

    missing = (duckdb.CatalogException, duckdb.BinderException)
    fetch, execute, quote = database.fetch, database.execute, database.quote
    scanned = database.objects
    catalog = Catalog(scanned)

    def objects(
        project: str, dataset: str, table: str | None = None
    ) -> list[tuple[str, str, int]]:
        if table is None:
            return catalog.objects(project, dataset)
        views: list[tuple[str, str, int]] = fetch(
            "SELECT view_name, 'VIEW', 0 FROM duckdb_views() WHERE database_name = ? "
            "AND schema_name = ? AND view_name = ? AND NOT internal",
            [project, dataset, table],
        )
        if views:
            return views
        try:
            [(rows,)] = fetch(f"SELECT count(*) FROM {quote(project, dataset, table)}")
        except missing:
            return []
        return [(table, "TABLE", rows)]

    def columns(name: str, condition: str, parameters: list[str]) -> list[Any]:
        try:
            names: list[Any] = fetch(
                f"SELECT name FROM pragma_table_info(?) WHERE {condition}",
                [name, *parameters],
            )
        except missing:
            return []
        return names

    def fetch_by_name(sql: str, parameters: list[Any] | None = None) -> list[Any]:
        if sql.startswith("SELECT column_name FROM duckdb_columns()"):
            return columns(quote(*(parameters or [])), '"notnull"', [])
        if sql.startswith("SELECT 1 FROM duckdb_columns()"):
            *table, column = parameters or []
            return columns(quote(*table), "name = ?", [column])
        rows: list[Any] = fetch(sql, parameters)
        return rows

    def execute_and_forget(sql: str, parameters: list[Any] | None = None) -> None:
        changes = bool(_CATALOG_CHANGE.match(sql))
        with catalog.changing() if changes else contextlib.nullcontext():
            execute(sql, parameters)

    database.objects = objects
    database.fetch = fetch_by_name
    database.execute = execute_and_forget
    assert tables.database is database
    assert partitions.database is database
    return catalog


def keep_metadata_in_memory(catalog: Catalog) -> None:
    """
    Answer what is asked of datasets, tables and the like from memory.

    Their file is read at the first question and written with every change, for later.
    """
    from local_bigquery.catalog import metadata

    save, delete = metadata.save, metadata.delete
    keys_of = metadata.RESOURCES
    lock = threading.RLock()
    known: dict[Any, dict[tuple[str, ...], Any]] = {}

    def stored(model: Any) -> dict[tuple[str, ...], Any]:
        if model not in known:
            kind = metadata.KINDS[model]
            columns = ", ".join(keys_of[kind])
            rows = metadata.fetch(f"SELECT {columns}, resource FROM emulator.{kind}")
            known[model] = {
                tuple(keys): model.model_validate_json(resource)
                for *keys, resource in rows
            }
        return known[model]

    def listed_from_memory(model: Any, *keys: str) -> list[Any]:
        with lock:
            resources = stored(model)
            if len(keys) == len(keys_of[metadata.KINDS[model]]):
                return [resources[keys]] if keys in resources else []
            return [
                resource
                for key, resource in resources.items()
                if key[: len(keys)] == keys
            ]

    def save_in_both(resource: Any, *keys: str) -> Any:
        with lock:
            known = stored(type(resource)).get(keys)
            if known is not None and is_same(known, resource):
                return type(resource).model_validate(known.dump())
        with lock, catalog.changing():
            resources = stored(type(resource))
            saved = save(resource, *keys)
            resources[keys] = type(resource).model_validate(saved.dump())
            return saved

    def is_same(known: Any, resource: Any) -> bool:
        return bool({**known.dump(), "etag": None} == {**resource.dump(), "etag": None})

    def delete_in_both(model: Any, *keys: str) -> None:
        with lock, catalog.changing():
            resources = stored(model)
            deleted = [key for key in resources if key[: len(keys)] == keys]
            delete(model, *keys)
            for key in deleted:
                del resources[key]

    metadata.list_, metadata.save = listed_from_memory, save_in_both
    metadata.delete = delete_in_both


# What INFORMATION_SCHEMA.TABLES says of one table, in a line of texts between tabs.
_LISTED = """
SELECT
    split_part(line, chr(9), 1) AS table_catalog,
    split_part(line, chr(9), 2) AS table_schema,
    split_part(line, chr(9), 3) AS table_name,
    split_part(line, chr(9), 4) AS table_type,
    split_part(line, chr(9), 5) AS is_insertable_into,
    'NO' AS is_typed,
    make_timestamp(CAST(split_part(line, chr(9), 6) AS BIGINT) * 1000) AS creation_time
FROM (SELECT unnest(string_split({lines}, chr(10))) AS line)
WHERE line <> ''
"""


def list_tables_at_once() -> None:
    """
    Answer INFORMATION_SCHEMA.TABLES of a dataset by names, as its list has them.

    The emulator loads every table, counts its rows, and translates a row of constants
    for each: seconds for a year of days.
    """
    import sqlglot
    from local_bigquery.catalog import tables
    from local_bigquery.sql.rules import information_schema as rule
    from sqlglot import exp

    values = rule._values

    def listed(project: str, dataset: str | None) -> Any:
        if dataset is None:
            return rule.table_list(project, dataset)
        lines = []
        for table in tables.list_(project, dataset):
            kind = rule.TABLE_TYPES.get(table.type, table.type)
            can_insert = "YES" if table.type == "TABLE" else "NO"
            name = table.tableReference.tableId
            created = table.creationTime or "0"
            lines.append("\t".join((project, dataset, name, kind, can_insert, created)))
        text = exp.Literal.string("\n".join(lines)).sql("duckdb")
        return sqlglot.parse_one(_LISTED.format(lines=text), dialect="duckdb"), None

    def values_or_listed(columns: Any, rows: Any) -> Any:
        return columns if rows is None else values(columns, rows)

    rule.VIEWS["TABLES"] = listed
    rule._values = values_or_listed
