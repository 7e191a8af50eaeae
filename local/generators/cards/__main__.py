"""Write card transactions: ``python -m local.generators.cards``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from pyarrow import csv

from local.generators.cards.cards import Cards
from local.generators.cards.transactions import Transactions
from local.generators.delivery import Event, encode


def _write(path: Path, transactions: Transactions) -> None:
    if path.suffix == ".parquet":
        pq.write_table(transactions.table(), path)
    elif path.suffix == ".csv":
        csv.write_csv(transactions.table(), path)
    else:
        _write_lines(path, transactions.events())


def _write_lines(path: Path, events: Iterator[Event]) -> None:
    with path.open("wb") as file:
        for event in events:
            file.write(encode(event) + b"\n")


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
    options = parser.parse_args(arguments)
    try:
        cards = Cards(
            seed=options.seed,
            transactions=options.transactions,
            fraud_rate=options.fraud_rate,
            days=options.days,
            drift=options.drift,
        )
    except ValueError as error:
        parser.error(str(error))
    _write(options.out, cards.drawn)
    if options.truths:
        _write_lines(options.truths, cards.drawn.truths().events())


if __name__ == "__main__":
    main()
