"""
What is changed in local-bigquery as it runs: one file for each reason.

Each waits for a change of local-bigquery, and goes with it. A file has the lines that
it replaces, which a test looks for in the pinned version: in ``REWRITES`` with what
stands in their place in the source; in ``REPLACES`` where a function or a list is
replaced in memory.

Support of Python 3.11 and 3.12, and of machines without a network:

- ``older_python``, ``downloads``

What would be wrong, or a danger:

- ``merges``, ``commits``, ``errors``: transactions; what clients are told
- ``views``, ``wildcards``: views and ``events_*`` that follow their tables
- ``changes``: when tables were changed last
- ``numbers``: exact products and quotients of NUMERIC
- ``writers``: one writer at a time
- ``buckets``: no files of this machine

What would take too long:

- ``catalog``: plain DuckDB files; DuckLake takes 0.24 s a load job
- ``jobs``, ``resources``, ``translations``: what is not written to disk, or kept
- ``names``: tables by name, because the catalog is scanned for every table
- ``listings``: lists of tables as one text, because a translation visits each literal
- ``dry_runs``, ``pages``, ``temporary_tables``: a query that is run once
- ``arrays``: aggregates of a row's own array, without a join for each
- ``batches``: Arrow batches stored as they come
- ``waiting``, ``callers``: requests without a thread, and without the caller's rights
"""
