"""Run the emulator with all that is changed in it: ``python -m`` this package."""

from __future__ import annotations

import argparse
import gc
import logging
import re
import signal
import sys
from concurrent import futures
from pathlib import Path
from typing import Any

from local.emulators.bigquery import arrays, memory, numbers
from local.emulators.bigquery.files import connect_plainly
from local.emulators.bigquery.rewriting import make_importable
from local.emulators.bigquery.views import follow_views
from local.emulators.bigquery.wildcards import union_wildcards
from local.emulators.bigquery.writes import append_batches, queue_writes
from local.loopback import serve
from local.processes import HOST, options_of_child

# A stream of appends has a thread for as long as it is open.
GRPC_THREADS = 256
# A translation makes so many objects that Python would look for garbage many times.
GARBAGE = 100_000
# DuckDB's words for a column, a table or a field that a statement names in vain.
MISSING = (
    r'Referenced table "(?P<name>[^"]+)" not found',
    r"Referenced update column (?P<name>\S+) not found",
    r'does not have a column (?:named|with name) "(?P<name>[^"]+)"',
    r'Could not find key "(?P<name>[^"]+)" in struct',
)


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


def main() -> None:
    """Read the command line and answer until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser("python -m local.emulators.bigquery")
    parser.add_argument("--grpc-port", type=int, required=True, help="Storage API port")
    parser.add_argument("--project", required=True, help="is made if it is missing")
    # DuckDB locks its files: a folder has one process at a time.
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of data")
    parser.add_argument("--storage", help="URL of Cloud Storage, for EXPORT DATA")
    options = options_of_child(parser)
    make_importable()
    from local_bigquery.settings import settings

    data_dir = options.data_dir.resolve()
    settings.bigquery_host = HOST
    settings.bigquery_port = options.port
    settings.grpc_port = options.grpc_port
    settings.data_dir = data_dir
    settings.default_project_id = options.project
    settings.storage_emulator_host = options.storage

    from local_bigquery import errors
    from local_bigquery.engine import database
    from local_bigquery.jobs import runner

    data_dir.mkdir(parents=True, exist_ok=True)
    connect_plainly(database, data_dir)
    memory.keep_jobs(database)
    memory.keep_resources(database)
    memory.look_up_by_name(database)
    arrays.aggregate_in_place()
    memory.keep_translations()
    follow_views()
    union_wildcards(database)
    numbers.calculate_exactly()
    append_batches(queue_writes(runner))
    # An error inside the emulator gets a status that clients do not retry.
    errors.STATUSES["dontRetry"] = (501, "UNIMPLEMENTED")
    for words in MISSING:
        errors.DUCKDB_ERRORS.append(
            (re.compile(words), "invalidQuery", "Unrecognized name: {name}")
        )

    # It warns of every property that DuckDB has no use for.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    gc.set_threshold(GARBAGE)
    storage_api = serve_storage_api(options.grpc_port)
    try:
        from local_bigquery.app import app
        from starlette.middleware.base import BaseHTTPMiddleware

        # It finds out who asks, for the rights of rows: a fifth of a request's time.
        app.user_middleware = [
            one for one in app.user_middleware if one.cls is not BaseHTTPMiddleware
        ]
        gc.freeze()
        serve(app, options.port)
    except KeyboardInterrupt:
        pass
    finally:
        storage_api.stop(None)
        database.connection().close()


main()
