"""Start the emulator with all that is changed in it, and stop it."""

from __future__ import annotations

import logging
import signal
import sys
from concurrent import futures
from pathlib import Path
from typing import Any

from local.emulators.bigquery import arrays, numbers
from local.emulators.bigquery.files import connect_plainly
from local.emulators.bigquery.lookups import look_up_by_name
from local.emulators.bigquery.memory import keep_jobs, keep_resources, keep_translations
from local.emulators.bigquery.rewriting import make_importable
from local.emulators.bigquery.views import follow_views
from local.emulators.bigquery.wildcards import union_wildcards
from local.emulators.bigquery.writes import append_batches, queue_writes
from local.loopback import refusing

HOST = "127.0.0.1"
# A stream of appends has a thread for as long as it is open.
GRPC_THREADS = 256


def serve_storage_api(port: int) -> Any:
    """Start the gRPC server of the BigQuery Storage API; the port must be free."""
    import grpc
    from local_bigquery.grpc.server import SERVICES

    server = grpc.server(
        futures.ThreadPoolExecutor(GRPC_THREADS, "grpc"),
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)],
    )
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(name, methods)
            for name, methods in SERVICES.items()
        ]
    )
    server.add_insecure_port(f"{HOST}:{port}")
    server.start()
    return server


def serve(
    port: int,
    grpc_port: int,
    *,
    project: str,
    data_dir: Path,
    storage: str | None,
) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Args:
        port: Of the REST API.
        grpc_port: Of the Storage API.
        project: Created if the folder does not hold it yet.
        data_dir: Folder of the databases, made if missing. One process at a time:
            DuckDB locks its files.
        storage: URL of the Cloud Storage emulator that EXPORT DATA writes to.

    Raises:
        OSError: A port is taken.
        duckdb.IOException: Another process holds the folder.
    """
    import uvicorn

    make_importable()
    from local_bigquery.settings import settings

    settings.bigquery_host, settings.bigquery_port = HOST, port
    settings.grpc_port, settings.default_project_id = grpc_port, project
    settings.data_dir = data_dir
    settings.storage_emulator_host = storage

    from local_bigquery import errors
    from local_bigquery.engine import database
    from local_bigquery.jobs import runner

    data_dir.mkdir(parents=True, exist_ok=True)
    connect_plainly(database, data_dir)
    keep_jobs(database)
    keep_resources(database)
    look_up_by_name(database)
    arrays.aggregate_in_place()
    keep_translations()
    follow_views()
    union_wildcards(database)
    numbers.calculate_exactly()
    append_batches(queue_writes(runner))
    # An error inside the emulator gets a status that clients do not retry.
    errors.STATUSES["dontRetry"] = (501, "UNIMPLEMENTED")

    # It warns of every property that DuckDB has no use for.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    storage_api = serve_storage_api(grpc_port)
    try:
        from local_bigquery.app import app

        uvicorn.run(
            refusing(app),
            host=HOST,
            port=port,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
    except KeyboardInterrupt:
        pass
    finally:
        storage_api.stop(None)
        database.connection().close()
