"""Run the Pub/Sub emulator: ``python -m local.emulators.pubsub --port 8093``."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Sequence

from local.emulators.pubsub.server import HOST, serve
from local.processes import stop_with


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        "python -m local.emulators.pubsub", description="Pub/Sub, kept in memory."
    )
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parent", type=int, help="stop when this process has gone")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    if given.parent is not None:
        stop_with(given.parent)
    asyncio.run(serve(given.host, given.port))


if __name__ == "__main__":
    main()
