"""Write a gaming operator's events: ``python -m local.generators.games``."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

from pyarrow import csv

from local.generators.delivery import to_json
from local.generators.games.games import Games
from local.generators.games.messages import instant
from local.generators.games.towns import postcodes
from local.progress import bar


def _lines(games: Games, *, faults: bool) -> Iterator[bytes]:
    """
    Yield events, one a line, or with faults the messages as Pub/Sub's JSON writes them.

    A broken message may not be a line of text, and attributes belong to a message.
    """
    if not faults:
        for data, _ in games.payloads():
            yield data
        return
    for delivery in games.deliveries():
        message = {
            "data": base64.b64encode(delivery.data).decode(),
            "attributes": delivery.attributes,
        }
        yield to_json(message).encode()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(
        "python -m local.generators.games",
        description="Events of a gaming operator, one JSON object a line.",
    )
    parser.add_argument("out", type=Path, metavar="OUT.ndjson", help="file to write")
    parser.add_argument("--users", type=int, default=Games.users)
    parser.add_argument("--maximum-events", type=int, default=Games.maximum_events)
    parser.add_argument("--days", type=int, default=Games.days)
    parser.add_argument("--seed", type=int, default=Games.seed)
    parser.add_argument(
        "--end",
        type=instant,
        default=Games.end,
        help="moment before which everything happens, UTC if it names no zone",
    )
    parser.add_argument(
        "--faults",
        action="store_true",
        help="messages as sent: duplicates, late and broken ones, data in base64",
    )
    parser.add_argument("--postcodes", type=Path, metavar="FILE.csv")
    options = parser.parse_args(arguments)
    try:
        games = Games(
            seed=options.seed,
            users=options.users,
            maximum_events=options.maximum_events,
            days=options.days,
            end=options.end,
        )
    except ValueError as error:
        parser.error(str(error))
    if options.postcodes:
        csv.write_csv(postcodes(), options.postcodes)
    with options.out.open("wb") as file:
        lines = _lines(games, faults=options.faults)
        total = None if options.faults else games.n_events
        with bar("writing", unit=" lines", total=total) as counted:
            for line in lines:
                file.write(line + b"\n")
                counted.update()


if __name__ == "__main__":
    main()
