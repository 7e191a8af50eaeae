"""Write card transactions: ``python -m local.generators.cards``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyarrow import csv

from local.generators.cards.cards import Cards
from local.generators.cards.transactions import Transactions, encoded


def _write(path: Path, transactions: Transactions) -> None:
    if path.suffix == ".parquet":
        pq.write_table(transactions.table(), path)
    elif path.suffix == ".csv":
        csv.write_csv(transactions.table(), path)
    else:
        _write_lines(path, transactions.events())


def _write_lines(path: Path, events: Iterator[dict[str, Any]]) -> None:
    with path.open("wb") as file:
        for event in events:
            file.write(encoded(event) + b"\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(
        "python -m local.generators.cards",
        description="Card transactions with known frauds.",
    )
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help="OUT.ndjson for events, one JSON object a line; OUT.parquet or OUT.csv "
        "for the columns of the public data set",
    )
    parser.add_argument("--transactions", type=int, default=Cards.transactions)
    parser.add_argument("--fraud-rate", type=float, default=Cards.fraud_rate)
    parser.add_argument("--days", type=int, default=Cards.days)
    parser.add_argument("--drift", type=float, default=Cards.drift)
    parser.add_argument("--seed", type=int, default=Cards.seed)
    parser.add_argument(
        "--truths", type=Path, metavar="FILE.ndjson", help="what is found out, and when"
    )
    given = parser.parse_args(arguments)
    try:
        cards = Cards(
            seed=given.seed,
            transactions=given.transactions,
            fraud_rate=given.fraud_rate,
            days=given.days,
            drift=given.drift,
        )
    except ValueError as error:
        parser.error(str(error))
    _write(given.out, cards.drawn)
    if given.truths:
        _write_lines(given.truths, cards.drawn.truths().events())


if __name__ == "__main__":
    main()
