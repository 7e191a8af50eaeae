"""BigQuery on this machine: ``local-bigquery`` as published, patched as it runs.

    python -m local.emulators.bigquery --port 8090 --grpc-port 8091 \\
        --project propensity-local --data-dir .local/states/demo/bigquery

``server.py`` starts it and names every patch. Of these,

    rewriting.py   lets Python 3.11 read its source
    files.py       keeps tables in one DuckDB file per project; DuckLake, the emulator's
                   own catalog, takes 0.24 s a load job
    writes.py      queues writers, knows ``table$20260301``, MERGE in a transaction
    views.py       reads views anew, by their own text
    wildcards.py   reads ``events_2*`` anew, by the names of columns
    suffixes.py    reads the days alone that a query's ``_TABLE_SUFFIX`` allows
    statements.py  has ranges, aliases, inner parameters, exports as BigQuery has them,
                   and names what is in no dataset
    numbers.py     calculates with NUMERIC exactly
    arrays.py      searches and aggregates arrays without a join for each row
    lookups.py, jobs.py, texts.py
                   answer small queries in milliseconds, from memory
    reads.py       knows what a translation was made with, and whether that is still so
    appends.py     stores Arrow batches as they come; ``layouts.py`` says what fits

Times are UTC. Nothing is downloaded. Data survive SIGKILL.
"""
