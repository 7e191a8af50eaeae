"""
What a first look at a million rows of fifty columns takes. Gates.

`propensity try` on a generated Parquet file, to its report and its list, against one
HistGradientBoostingClassifier of scikit-learn's defaults that reads the same file and
fits all rows but those of the newest month. Each is a process of its own, of whose
processor time and largest memory the ratio counts.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring.report import Line, in_turns

ROWS = 1_000_000
MONTHS = 10
NUMBERS = 40
CATEGORIES = 6
MOST_TIME = 8
MOST_MEMORY = 2
ROUNDS = 1

Usage = tuple[float, float]


def write_table(path: Path, rows: int) -> None:
    """
    Write customers of ten months, of whom 5% churn, and a month whose label is open.

    A month has a tenth of the rows; the open ones come on top.
    """
    random = np.random.default_rng(3)
    of_month = rows // MONTHS
    count = of_month * (MONTHS + 1)
    month = np.arange(count) // of_month
    columns: dict[str, pa.Array] = {
        "customer": pa.array([f"c{n % of_month:07}" for n in range(count)]),
        "month": pa.array([f"2025-{n + 1:02}" for n in month]),
    }
    odds = np.zeros(count)
    for number in range(NUMBERS):
        values = random.lognormal(1.0, 1.0, count).round(4)
        if number % 3 == 0:
            values = random.poisson(2 + number / 4, count).astype("float64")
        odds += np.log1p(values) * random.normal() / (2 + number)
        is_gap = random.random(count) < 0.05 * (number % 4 == 1)
        columns[f"number_{number}"] = pa.array(values, mask=is_gap)
    for number in range(CATEGORIES):
        codes = random.zipf(1.6, count) % (10 + 10 * number)
        odds += 0.3 * (codes == 1) / (1 + number)
        names = pa.array([f"kind {code}" for code in range(100)])
        columns[f"category_{number}"] = names.take(pa.array(codes))
    first_day = np.datetime64("2025-01-01") + 30 * month
    since = random.integers(40, 3_000, count)
    odds -= since / 3_000
    columns["since"] = pa.array(first_day - since)
    chance = 1 / (1 + np.exp(-1.5 * (odds - np.quantile(odds, 0.98))))
    is_known = month < MONTHS
    churned = random.random(count) < chance * 0.05 / chance.mean()
    columns["churned"] = pa.array(churned.astype("int64"), mask=~is_known)
    pq.write_table(pa.table(columns), path)


def fit_plainly(path: Path) -> None:
    """Read the file, and fit what scikit-learn has for such a table."""
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier

    frame = pd.read_parquet(path)
    frame = frame[frame["month"] < f"2025-{MONTHS:02}"]
    label = frame.pop("churned")
    frame = frame.drop(columns=["customer", "month"])
    frame["since"] = frame["since"].astype("datetime64[s]").astype("int64")
    for number in range(CATEGORIES):
        name = f"category_{number}"
        frame[name] = frame[name].astype("category")
    model = HistGradientBoostingClassifier(categorical_features="from_dtype")
    model.fit(frame, label)


def try_it(path: Path) -> None:
    """Have a first look at the file, with its list."""
    from propensity.trying.tables import try_file

    tried = try_file(
        str(path),
        report=path.with_suffix(".html"),
        scores=path.with_suffix(".csv"),
        label="churned",
        time="month",
        user="customer",
    )
    print(tried.words, file=sys.stderr)


WAYS = {"try": try_it, "plain": fit_plainly}


def usage_of(way: str, path: Path) -> Usage:
    """Return processor seconds and bytes that a way takes in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.million", way, str(path)]
    # On a busy machine, threads that wait for another one would count as work.
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **single},
    )
    seconds, memory = done.stdout.split()[-2:]
    return float(seconds), float(memory)


def lines() -> list[Line]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "customers.parquet"
        write_table(path, ROWS)
        measured = in_turns(
            ROUNDS,
            {way: partial(usage_of, way, path) for way in WAYS},
        )
    seconds = {}
    gigabytes = {}
    for name, rounds in measured.items():
        seconds[name] = [usage[0] for usage in rounds]
        gigabytes[name] = [usage[1] / 1e9 for usage in rounds]
    what = f"a first look at {ROWS:,} rows of 50 columns"
    return [
        Line(f"{what}, processor time", "s", seconds, most=MOST_TIME),
        Line(f"{what}, largest memory", "GB", gigabytes, most=MOST_MEMORY),
    ]


def measure(way: str, path: Path) -> None:
    """Go a way, and print the processor seconds and bytes that this process took."""
    WAYS[way](path)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


if __name__ == "__main__":
    measure(sys.argv[1], Path(sys.argv[2]))
