"""BigQuery on this machine: ``local-bigquery`` as published, patched as it runs.

    python -m local.emulators.bigquery --port 8090 --grpc-port 8091 \\
        --project propensity-local --data-dir .local/states/demo/bigquery

0.4.0 is the newest release (November 2026). ``__main__.py`` starts it and names
every patch; each waits for a change of local-bigquery, and goes with it:

    rewriting.py  support of Python 3.11 and 3.12, and of machines without a network; a
                  query that is run once, not two or three times; MERGE in a transaction
    files.py      a catalog of plain DuckDB files; DuckLake takes 0.24 s a load job
    memory.py     jobs, results and translations that are not written to disk; tables by
                  name, because its catalog is scanned for every table
    views.py      views and ``events_*`` that follow their tables, columns by name
    writes.py     one writer at a time, and Arrow batches stored as they come
    arrays.py     aggregates of a row's own array, without a join for each
    numbers.py    exact products and quotients of NUMERIC

Times are UTC. Nothing is downloaded. Data survive SIGKILL.
"""
