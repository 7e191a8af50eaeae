"""BigQuery on this machine: ``local-bigquery``, with ``local-bigquery.patch`` applied.

    python -m local.emulators.bigquery --port 8090 --grpc-port 8091 \\
        --project propensity-local --data-dir .local/states/demo/bigquery

0.4.0 is the newest release (November 2026). ``make setup`` applies the patch, whose
first lines say what it changes, and why; ``__main__.py`` starts what comes of it.

Times are UTC. Nothing is downloaded. Data survive SIGKILL.
"""
