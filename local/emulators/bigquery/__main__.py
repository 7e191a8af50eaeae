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
    """Cloud Storage, by STORAGE_EMULATOR_HOST; its client is opened for an export."""

    def bucket(self, name: str) -> Any:
        from google.cloud.storage import Client

        return Client(project="local").bucket(name)


def main() -> None:
    parser = argparse.ArgumentParser("python -m local.emulators.bigquery")
    parser.add_argument("--grpc-port", type=int, required=True, help="Storage API port")
    parser.add_argument("--project", required=True, help="of names without one")
    # DuckDB locks its files: a folder has one process at a time.
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of data")
    options = options_of_child(parser)
    # It warns of every property that DuckDB has no use for.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = options.data_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    ground = BigQuery(options.project, Buckets(), folder=folder, asks_google=True)
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
