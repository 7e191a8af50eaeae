"""Run the BigQuery emulator: ``python -m local.emulators.bigquery``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from local.emulators.bigquery.server import serve
from local.processes import stop_with


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        "python -m local.emulators.bigquery",
        description="BigQuery on 127.0.0.1, kept in a folder.",
    )
    parser.add_argument("--port", type=int, required=True, help="REST port")
    parser.add_argument("--grpc-port", type=int, required=True, help="Storage API port")
    parser.add_argument("--project", required=True, help="project id")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of data")
    parser.add_argument("--storage", help="URL of the Cloud Storage emulator")
    parser.add_argument("--parent", type=int, help="stop when this process has gone")
    options = parser.parse_args(arguments)
    if options.parent is not None:
        stop_with(options.parent)
    serve(
        options.port,
        options.grpc_port,
        project=options.project,
        data_dir=options.data_dir.resolve(),
        storage=options.storage,
    )


if __name__ == "__main__":
    main()
