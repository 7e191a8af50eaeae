"""Populations to sample from, as counts: who has a row of label 1, in which bucket."""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from google.cloud import bigquery

from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.statements import statement

SNAPSHOTS = 26
FIRST = date(2026, 1, 5)
MAXIMUM = Settings(project="p").maximum_training_rows

# As sampled_rows.sql has it.
BUCKETS = 8_192

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

    def counts(self) -> pa.Table:
        """
        Return rows by kind of user, bucket, date and class.

        A bucket is the fourth root of a hash, so that the later ones hold more.
        """
        random = np.random.default_rng(self.seed)
        buyers = max(0.2, 1.25 * self.base_rate)
        chance = self.base_rate / buyers
        has_positive = buyers * (1 - (1 - chance) ** SNAPSHOTS)
        count = int(random.binomial(self.users, has_positive))
        share = np.diff(np.linspace(0, 1, BUCKETS + 1) ** 4)
        buying = random.multinomial(count, share)
        other = random.multinomial(self.users - count, share)
        parts: dict[str, list[np.ndarray]] = defaultdict(list)
        for number in range(SNAPSHOTS):
            positives = min(count, int(random.binomial(self.users, self.base_rate)))
            # Which bucket a user is in does not depend on who buys at a date.
            hits = random.multivariate_hypergeometric(
                buying, positives, method="marginals"
            )
            day = np.datetime64(FIRST + timedelta(weeks=number))
            for kind, label, rows in (
                (True, 1, hits),
                (True, 0, buying - hits),
                (False, 0, other),
            ):
                there = np.flatnonzero(rows)
                parts["has_positive"].append(np.full(len(there), kind))
                parts["bucket"].append(there)
                parts["as_of"].append(np.full(len(there), day))
                parts["class"].append(np.full(len(there), label))
                parts["row_count"].append(rows[there])
        return pa.table({name: np.concatenate(each) for name, each in parts.items()})


@dataclass(frozen=True)
class Sample:
    """What the statement reads of a population, and the weights it gives."""

    rows: int
    kept: dict[int, int]
    weighted: dict[int, float]
    totals: dict[int, int]
    largest_weight: float
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
    """Run the statement that decides on counts of a population."""
    counts = population.counts()
    load(warehouse, "buckets", counts)
    found = warehouse.table(
        f"WITH {statement('sampling_weights')} SELECT * FROM weights",
        {"maximum_rows": maximum},
    )
    key = ["as_of", "has_positive", "class"]
    # What the statement decides is applied here once more, row by row of the counts.
    rows = counts.join(found, key)
    is_kept = pc.less_equal(rows["bucket"], rows["last_bucket"])
    rows = rows.append_column(
        "kept", pc.multiply(rows["row_count"], pc.cast(is_kept, pa.int64()))
    )
    rows = rows.append_column(
        "weighted", pc.multiply(rows["kept"], pc.fill_null(rows["weight"], 0.0))
    )
    cells = rows.group_by(key).aggregate(
        [
            ("row_count", "sum"),
            ("kept", "sum"),
            ("weighted", "sum"),
            ("weight", "max"),
        ]
    )
    return _summed(cells.to_pylist())


def _summed(cells: list[dict[str, Any]]) -> Sample:
    kept, totals, weighted = {0: 0, 1: 0}, {0: 0, 1: 0}, {0: 0.0, 1: 0.0}
    by_date: dict[tuple[date, int], list[float]] = {}
    for cell in cells:
        label = cell["class"]
        kept[label] += cell["kept_sum"]
        totals[label] += cell["row_count_sum"]
        weighted[label] += cell["weighted_sum"]
        sums = by_date.setdefault((cell["as_of"], label), [0.0, 0.0])
        sums[0] += cell["weighted_sum"]
        sums[1] += cell["row_count_sum"]
    return Sample(
        rows=sum(totals.values()),
        kept=kept,
        weighted=weighted,
        totals=totals,
        largest_weight=max(cell["weight_max"] or 0.0 for cell in cells),
        worst_date=max(abs(got / true - 1) for got, true in by_date.values()),
    )
