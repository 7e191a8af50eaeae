"""
BigQuery on this machine for Google's unmodified clients: the ground behind the wire.

    python -m local.emulators.bigquery --port 8090 --grpc-port 8091 \\
        --project propensity-local --data-dir .local/states/demo/bigquery

rest.py     the REST API: statements, jobs, datasets, tables, loads
streams.py  the Storage API: Arrow read by streams, and appended
jobs.py     what runs, and what has ended within the hour
values.py   rows of Arrow as the REST API writes them

What a client was answered survives SIGKILL. Times are UTC. Nothing is downloaded.
"""
