"""
Populations to sample from, as counts: who has a row of label 1, and in which bucket.

    python -m tests.sampling    prints what the statements make of each
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from google.cloud import bigquery

from local.processes import free_ports
from local.stack import EMULATOR_PORTS, Options, Stack, State
from propensity.settings import Settings
from propensity.statements import statement
from propensity.warehouse import Warehouse

SNAPSHOTS = 26
FIRST = date(2026, 1, 5)
MAXIMUM = Settings(project="p").maximum_training_rows

# As sampled_rows.sql has it.
BUCKETS = 32_768

BASE_RATES = (0.001, 0.01, 0.055, 0.15, 0.4)
ROWS = (100_000, 10_400_000, 100_000_000)


@dataclass(frozen=True)
class Population:
    """
    Users with a row at each of 26 dates, of which a share is label 1.

    A fifth of the users (more, where they must be) buys, each at every date with the
    same chance; the others never do. Counts are drawn; no row is made.
    """

    rows: int
    base_rate: float
    seed: int = 1

    @property
    def users(self) -> int:
        return self.rows // SNAPSHOTS

    def counts(self) -> tuple[dict[bool, np.ndarray], np.ndarray]:
        """
        Return users by kind and bucket, and rows of label 1 by date.

        A bucket is the fourth root of a hash, so that the later ones hold more.
        """
        random = np.random.default_rng(self.seed)
        buyers = max(0.2, 1.25 * self.base_rate)
        chance = self.base_rate / buyers
        has_positive = buyers * (1 - (1 - chance) ** SNAPSHOTS)
        users = int(random.binomial(self.users, has_positive))
        edges = np.linspace(0, 1, BUCKETS + 1) ** 4
        share = np.diff(edges)
        by_bucket = {
            True: random.multinomial(users, share),
            False: random.multinomial(self.users - users, share),
        }
        positives = np.maximum(
            1, random.binomial(self.users, self.base_rate, SNAPSHOTS)
        )
        return by_bucket, np.minimum(positives, users)


@dataclass(frozen=True)
class Sample:
    """What the statements read of a population, and the weights they give."""

    rows: int
    users: int
    kept: dict[int, int]
    weighted: dict[int, float]
    totals: dict[int, int]
    weights: dict[str, float]
    worst_date: float

    @property
    def kept_rows(self) -> int:
        return sum(self.kept.values())


def load(warehouse: Warehouse, name: str, rows: pa.Table) -> None:
    """Put rows into a table of the dataset, in the place of what it held."""
    file = io.BytesIO()
    pq.write_table(rows, file)
    file.seek(0)
    settings = warehouse.settings
    warehouse.client.load_table_from_file(
        file,
        f"{settings.project}.{settings.dataset}.{name}",
        job_config=bigquery.LoadJobConfig(
            source_format="PARQUET", write_disposition="WRITE_TRUNCATE"
        ),
    ).result()


def sample(
    warehouse: Warehouse, population: Population, *, maximum: int = MAXIMUM
) -> Sample:
    """Run the statements that decide on counts of a population."""
    by_bucket, positives = population.counts()
    load(
        warehouse,
        "buckets",
        pa.table(
            {
                "has_positive": np.repeat([True, False], BUCKETS),
                "bucket": np.tile(np.arange(BUCKETS), 2),
                "row_count": SNAPSHOTS
                * np.concatenate([by_bucket[True], by_bucket[False]]),
            }
        ),
    )
    cuts = {
        row["has_positive"]: row["last_bucket"]
        for row in warehouse.rows(
            f"WITH {statement('sampling_cuts')} SELECT * FROM cuts",
            {"maximum_rows": maximum},
        )
    }
    read = {
        kind: int(users[: cuts[kind] + 1].sum()) for kind, users in by_bucket.items()
    }
    random = np.random.default_rng(population.seed)
    kinds = {kind: int(users.sum()) for kind, users in by_bucket.items()}
    cells = []
    for number, count in enumerate(positives.tolist()):
        # Which users are read does not depend on who buys at a date.
        hits = int(random.hypergeometric(count, kinds[True] - count, read[True]))
        for kind, label, total, kept in (
            (True, 1, count, hits),
            (True, 0, kinds[True] - count, read[True] - hits),
            (False, 0, kinds[False], read[False]),
        ):
            if total:
                cells.append(
                    {
                        "as_of": FIRST + timedelta(weeks=number),
                        "has_positive": kind,
                        "class": label,
                        "last_bucket": cuts[kind],
                        "row_count": total,
                        "kept": kept,
                    }
                )
    load(warehouse, "cells", pa.Table.from_pylist(cells))
    found = warehouse.rows(
        f"WITH {statement('sampling_weights')} SELECT * FROM weights", {}
    )
    weight = {
        (row["as_of"], row["has_positive"], row["class"]): row["weight"]
        for row in found
    }
    return _summed(cells, weight, population)


def _summed(
    cells: list[dict[str, Any]], weight: dict[Any, float], population: Population
) -> Sample:
    kept, totals, weighted = {0: 0, 1: 0}, {0: 0, 1: 0}, {0: 0.0, 1: 0.0}
    by_date: dict[tuple[date, int], list[float]] = {}
    largest: dict[str, float] = {}
    for cell in cells:
        label = cell["class"]
        given = weight[cell["as_of"], cell["has_positive"], label] or 0.0
        kept[label] += cell["kept"]
        totals[label] += cell["row_count"]
        weighted[label] += cell["kept"] * given
        sums = by_date.setdefault((cell["as_of"], label), [0.0, 0.0])
        sums[0] += cell["kept"] * given
        sums[1] += cell["row_count"]
        name = f"{'buyer' if cell['has_positive'] else 'other'} {label}"
        largest[name] = max(largest.get(name, 0.0), given)
    return Sample(
        rows=sum(totals.values()),
        users=population.users,
        kept=kept,
        weighted=weighted,
        totals=totals,
        weights=largest,
        worst_date=max(abs(got / true - 1) for got, true in by_date.values()),
    )


@contextmanager
def emulated() -> Iterator[Warehouse]:
    """Start the emulators for a while, with an empty dataset."""
    with tempfile.TemporaryDirectory() as folder:
        ports = dict(zip(EMULATOR_PORTS, free_ports(len(EMULATOR_PORTS)), strict=True))
        state = State("sampling", Path(folder))
        with Stack(state, options=Options(), ports=ports, functions=()) as stack:
            warehouse = Warehouse.open(Settings.from_environment(stack.environment))
            warehouse.create_dataset(warehouse.settings.dataset)
            yield warehouse
            warehouse.close()


def main() -> None:
    """Print a line for every population."""
    print(
        "| rows | base rate | label 1 | rows read | of label 1 | of label 0 | "
        "weighted base rate | largest weight 1 / 0 |\n|---|---|---|---|---|---|---|---|"
    )
    with emulated() as warehouse:
        for rows in ROWS:
            for base_rate in BASE_RATES:
                found = sample(warehouse, Population(rows, base_rate))
                rate = found.weighted[1] / sum(found.weighted.values())
                negative = max(found.weights["buyer 0"], found.weights["other 0"])
                print(
                    f"| {found.rows:,} | {base_rate:.1%} | {found.totals[1]:,} | "
                    f"{found.kept_rows:,} | {found.kept[1]:,} | {found.kept[0]:,} | "
                    f"{rate:.4%} of {found.totals[1] / found.rows:.4%} | "
                    f"{found.weights['buyer 1']:.1f} / {negative:.1f} |"
                )


if __name__ == "__main__":
    main()
