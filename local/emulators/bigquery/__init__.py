"""BigQuery on this machine: ``local-bigquery`` as published, patched as it runs.

    python -m local.emulators.bigquery --port 8090 --grpc-port 8091 \\
        --project propensity-local --data-dir .local/states/demo/bigquery

0.4.0 is the newest release (November 2026). ``__main__.py`` starts it, and makes the
``patches``; ``rewriting.py`` makes those of its source.

Times are UTC. Nothing is downloaded. Data survive SIGKILL.
"""
