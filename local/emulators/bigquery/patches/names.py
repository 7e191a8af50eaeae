"""Tables by name, because the catalog is scanned for each."""

from __future__ import annotations

from typing import Any

# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.engine.database": (
        "def objects(",
        "def fetch(",
    ),
    "local_bigquery.catalog.datasets": ("SELECT 1 FROM duckdb_schemas() WHERE",),
    "local_bigquery.sql.rules.information_schema": ("VIEWS = {",),
}


def look_up_by_name(database: Any) -> None:
    """
    Look a table up by its name.

    The emulator scans DuckDB's whole catalog for each, which grows with it.
    """
    import duckdb
    from local_bigquery.catalog import metadata, tables
    from local_bigquery.models import Dataset, Table
    from local_bigquery.sql.rules import information_schema, partitions

    missing = (duckdb.CatalogException, duckdb.BinderException)
    fetch = database.fetch
    quote = database.quote
    scan = database.objects

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
            return list(fetch(query, [name] + parameters))
        except missing:
            return []

    def fetch_by_name(sql: str, parameters: list[Any] | None = None) -> list[Any]:
        if parameters is None:
            return list(fetch(sql, parameters))
        is_dataset = sql.startswith("SELECT 1 FROM duckdb_schemas()")
        if is_dataset and metadata.load(Dataset, *parameters):
            return [(1,)]
        if sql.startswith("SELECT column_name FROM duckdb_columns()"):
            return columns(quote(*parameters), '"notnull"', [])
        if sql.startswith("SELECT 1 FROM duckdb_columns()"):
            return columns(quote(*parameters[:-1]), "name = ?", parameters[-1:])
        return list(fetch(sql, parameters))

    def table_list(project: str, dataset: str | None) -> Any:
        """Return INFORMATION_SCHEMA.TABLES without looking into any table."""
        if dataset is None:
            return list_tables(project, dataset)
        rows = []
        for listed in metadata.existing(tables.list_, [(project, dataset)]):
            for table in listed:
                kind = information_schema.TABLE_TYPES.get(table.type, table.type)
                rows.append([project, dataset, table.tableReference.tableId, kind])
        return list(information_schema.IDENTITY) + ["table_type"], rows

    list_tables = information_schema.VIEWS["TABLES"]
    information_schema.VIEWS["TABLES"] = table_list
    database.objects = objects
    database.fetch = fetch_by_name
    assert tables.database is database
    assert partitions.database is database
