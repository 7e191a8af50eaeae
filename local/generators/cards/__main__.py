"""Write generated card transactions: ``python -m local.generators.cards FILE``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from pyarrow import csv

from local.generators.cards.cards import Cards


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and write the public data set's columns."""
    parser = argparse.ArgumentParser("python -m local.generators.cards")
    parser.add_argument("file", type=Path, help="FILE.parquet or FILE.csv")
    parser.add_argument("--transactions", type=int, default=Cards.transactions)
    parser.add_argument("--fraud-rate", type=float, default=Cards.fraud_rate)
    parser.add_argument("--seed", type=int, default=Cards.seed)
    options = parser.parse_args(arguments)
    table = Cards(
        seed=options.seed,
        transactions=options.transactions,
        fraud_rate=options.fraud_rate,
    ).drawn.table()
    write = csv.write_csv if options.file.suffix == ".csv" else pq.write_table
    write(table, options.file)


if __name__ == "__main__":
    main()
