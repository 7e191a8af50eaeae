"""Answer until SIGTERM or SIGINT: ``python -m`` this package."""

from __future__ import annotations

import argparse
import gc
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from local.emulators.bigquery import streams
from local.emulators.bigquery.jobs import Jobs
from local.emulators.bigquery.rest import Service
from local.ground.bigquery import BigQuery
from local.loopback import serve
from local.processes import options_of_child

# A translation makes so many objects that Python would look for garbage many times.
GARBAGE = 100_000


class Buckets:
    """Cloud Storage at an address, whose client is opened for the first export."""

    def __init__(self, project: str, address: str) -> None:
        self._project = project
        self._address = address

    def bucket(self, name: str) -> Any:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        client = Client(
            project=self._project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self._address},
        )
        return client.bucket(name)


def main() -> None:
    parser = argparse.ArgumentParser("python -m local.emulators.bigquery")
    parser.add_argument("--grpc-port", type=int, required=True, help="Storage API port")
    parser.add_argument("--project", required=True, help="of names without one")
    # DuckDB locks its files: a folder has one process at a time.
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of data")
    parser.add_argument("--storage", default="", help="URL of Cloud Storage")
    options = options_of_child(parser)
    # It warns of every property that DuckDB has no use for.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = options.data_dir.resolve()
    if (folder / "emulator.duckdb").exists():
        sys.exit(
            "This state is of an earlier version, whose tables cannot be read. Start "
            "anew: `make clean` removes all states"
        )
    folder.mkdir(parents=True, exist_ok=True)
    buckets = Buckets(options.project, options.storage)
    ground = BigQuery(options.project, buckets, folder=folder, asks_google=True)
    threading.Thread(target=ground.start_google, daemon=True).start()
    jobs = Jobs(ground)
    service = Service(ground, jobs, folder / "scratch")
    storage_api = streams.serve(ground, jobs, options.grpc_port)
    gc.set_threshold(GARBAGE)
    gc.freeze()
    try:
        serve(service.app(), options.port)
    except KeyboardInterrupt:
        pass
    finally:
        storage_api.stop(None)


if __name__ == "__main__":
    main()
