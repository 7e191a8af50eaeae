"""Only a session can have temporary tables yet; to look for them is to read all."""

REWRITES = {
    "local_bigquery.jobs.query": (
        (
            '"SELECT table_name FROM duckdb_tables() WHERE temporary"',
            '"SELECT table_name FROM duckdb_tables() WHERE temporary" '
            "if session else \"SELECT '' WHERE false\"",
        ),
    ),
}
