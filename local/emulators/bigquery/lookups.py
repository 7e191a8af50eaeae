"""Tables looked up by their names."""

from __future__ import annotations

from types import FunctionType
from typing import Any


def look_up_by_name(database: Any) -> None:
    """
    Look a table up by its name.

    The emulator scans DuckDB's whole catalog for each, which grows with it.
    """
    import duckdb
    from local_bigquery.catalog import metadata, tables
    from local_bigquery.models import Table
    from local_bigquery.sql.rules import information_schema, partitions

    missing = (duckdb.CatalogException, duckdb.BinderException)
    fetch, quote, scan = database.fetch, database.quote, database.objects

    def objects(
        project: str, dataset: str, table: str | None = None
    ) -> list[tuple[str, str, int]]:
        if table is None:
            return list(scan(project, dataset))
        stored = metadata.load(Table, project, dataset, table)
        if stored is not None and stored.view is not None:
            return [(table, "VIEW", 0)]
        try:
            [(rows,)] = fetch(f"SELECT count(*) FROM {quote(project, dataset, table)}")
        except missing:
            return []
        return [(table, "TABLE", rows)]

    def columns(name: str, condition: str, parameters: list[str]) -> list[Any]:
        query = f"SELECT name FROM pragma_table_info(?) WHERE {condition}"
        try:
            return list(fetch(query, [name, *parameters]))
        except missing:
            return []

    def fetch_by_name(sql: str, parameters: list[Any] | None = None) -> list[Any]:
        if sql.startswith("SELECT column_name FROM duckdb_columns()"):
            return columns(quote(*(parameters or [])), '"notnull"', [])
        if sql.startswith("SELECT 1 FROM duckdb_columns()"):
            *table, column = parameters or []
            return columns(quote(*table), "name = ?", [column])
        return list(fetch(sql, parameters))

    def summaries(project: str, dataset: str | None) -> list[Any]:
        if dataset is None:
            return list(information_schema._tables(project, dataset))
        found = metadata.existing(tables.list_, [(project, dataset)])
        return list(found[0]) if found else []

    # INFORMATION_SCHEMA.TABLES has neither the columns nor the rows of a table.
    named = {**vars(information_schema), "_tables": summaries}
    list_tables = FunctionType(information_schema.table_list.__code__, named)
    information_schema.VIEWS["TABLES"] = list_tables
    database.objects, database.fetch = objects, fetch_by_name
    assert tables.database is database
    assert partitions.database is database
