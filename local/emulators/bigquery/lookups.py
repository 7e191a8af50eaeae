"""Tables looked up by their names, and listed at once."""

from __future__ import annotations

from typing import Any


def look_up_by_name(database: Any) -> None:
    """
    Look a table up by its name.

    The emulator scans DuckDB's whole catalog for each, which grows with it.
    """
    import duckdb
    from local_bigquery.catalog import tables
    from local_bigquery.sql.rules import partitions

    missing = (duckdb.CatalogException, duckdb.BinderException)
    fetch, quote, scan = database.fetch, database.quote, database.objects

    def objects(
        project: str, dataset: str, table: str | None = None
    ) -> list[tuple[str, str, int]]:
        if table is None:
            return list(scan(project, dataset))
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

    database.objects, database.fetch = objects, fetch_by_name
    assert tables.database is database
    assert partitions.database is database


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
