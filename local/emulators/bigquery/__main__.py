"""Run the emulator: ``python -m`` this package."""

from __future__ import annotations

import argparse
import gc
import logging
import signal
import sys
import tempfile
from concurrent import futures
from pathlib import Path
from typing import Any

from local.loopback import serve
from local.processes import HOST, options_of_child

# A stream of appends has a thread for as long as it is open.
GRPC_THREADS = 256
# A translation makes so many objects that Python would look for garbage many times.
GARBAGE = 100_000


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
    data_dir = options.data_dir.resolve()
    # DuckDB may read and write there alone, also files under way.
    staged = data_dir / "staged"
    staged.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(staged)
    from local_bigquery.app import app
    from local_bigquery.engine import database
    from local_bigquery.settings import settings

    settings.bigquery_host = HOST
    settings.bigquery_port = options.port
    settings.grpc_port = options.grpc_port
    settings.data_dir = data_dir
    settings.default_project_id = options.project
    settings.storage_emulator_host = options.storage
    # It warns of every property that DuckDB has no use for.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    gc.set_threshold(GARBAGE)
    connection = database.connection()
    storage_api = serve_storage_api(options.grpc_port)
    try:
        gc.freeze()
        serve(app, options.port)
    except KeyboardInterrupt:
        pass
    finally:
        storage_api.stop(None)
        connection.close()


main()
