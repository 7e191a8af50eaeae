"""DuckDB runs a query with parameters to find its columns, even in a dry run."""

REWRITES = {
    "local_bigquery.jobs.query": (
        (
            "_fields(cur.sql(sql, params=bound))",
            '_fields(cur.sql(f"SELECT * FROM ({sql}) LIMIT 0", params=bound))',
        ),
    ),
}
