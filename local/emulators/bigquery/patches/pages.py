"""DuckDB plans twice what is asked for by ``sql``, once for its columns."""

REWRITES = {
    "local_bigquery.engine.results": (
        ("[(total,)] = cur.sql(", "[(total,)] = cur.execute("),
        ("rows = cur.sql(", "rows = cur.execute("),
    ),
}
