"""Run the Pub/Sub emulator: ``python -m local.emulators.pubsub --port 8093``."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Sequence

from local.emulators.pubsub.server import serve
from local.processes import stop_with


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        "python -m local.emulators.pubsub", description="Pub/Sub, kept in memory."
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parent", type=int, help="stop when this process has gone")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    if options.parent is not None:
        stop_with(options.parent)
    asyncio.run(serve(options.port))


if __name__ == "__main__":
    main()
