"""Run the Cloud Storage emulator: ``python -m local.emulators.storage``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from local.emulators.storage.server import serve
from local.processes import stop_with


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        "python -m local.emulators.storage",
        description="Cloud Storage on 127.0.0.1, kept in a folder.",
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of data")
    parser.add_argument("--parent", type=int, help="stop when this process has gone")
    given = parser.parse_args(arguments)
    if given.parent is not None:
        stop_with(given.parent)
    serve(given.port, data_dir=given.data_dir.resolve())


if __name__ == "__main__":
    main()
