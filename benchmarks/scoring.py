"""
Scoring against a pandas pipeline: rows a second, equality and memory. Gates.

Trees alone come first, on arrays and one thread each: the shortcut that scoring uses
against scikit-learn's own ``predict_proba``, in rows a second of processor time.

    python -m benchmarks.scoring [--rows 1000000] [--repeats 5] [--trees]

Users of thirty features, in Arrow batches as BigQuery sends them, become
probabilities twice: by ``propensity.models.scoring``, and by
``Pipeline.predict_proba`` on
the same batches through ``to_pandas``. The pipeline runs at the chunk size that is
best for it, found first. Then the two take turns, so that whatever else the machine
does meets both, and their medians are compared. Memory is measured in a process of
its own that generates its batches while it scores.

Exit code 1 if a target of ``CASES``, ``TREES`` or of memory is missed; forests inform
only.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from benchmarks import memory
from benchmarks.report import Line, finish
from benchmarks.trees import TRAINING_ROWS, report_trees
from propensity.models.encoding import Kind, to_frame
from propensity.models.scoring import Scorer

BATCH_ROWS = 10_000
SEARCH_ROWS = 200_000
CHUNKS = (2_500, 5_000, 10_000, 25_000, 50_000, 100_000)
CARDINALITIES = (3, 5, 8, 20, 60, 200)

N_FLOATS, N_COUNTS = 14, 10
FLOATS = tuple(f"float_{index}" for index in range(N_FLOATS))
COUNTS = tuple(f"count_{index}" for index in range(N_COUNTS))
CATEGORIES = tuple(f"category_{size}" for size in CARDINALITIES)
NUMBERS = FLOATS + COUNTS
FEATURES: dict[str, Kind] = {
    **dict.fromkeys(NUMBERS, "number"),
    **dict.fromkeys(CATEGORIES, "category"),
}

TOLERANCE = 1e-9
MEMORY_LIMIT_MB = 100.0
# Two runs are "the same" within what allocators keep or return by chance.
MEMORY_SLACK_MB = 20.0
MEMORY_ROWS = (100_000, 1_000_000)


@dataclass(frozen=True)
class Case:
    """One algorithm with its preprocessing, and how much faster it must be."""

    title: str
    preprocessor: Callable[[], ColumnTransformer]
    model: Callable[[], object]
    target: float | None
    repeats_limit: int = 1_000
    rows_limit: int = 10**9


def _by_kind(numbers: object, categories: object) -> ColumnTransformer:
    return ColumnTransformer(
        [("numbers", numbers, list(NUMBERS)), ("categories", categories, [*CATEGORIES])]
    )


def _ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=-1,
        encoded_missing_value=-2,
        min_frequency=20,
    )


def _one_hot() -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20)


CASES = {
    "hgb": Case(
        "HistGradientBoosting",
        lambda: _by_kind("passthrough", _ordinal()),
        lambda: HistGradientBoostingClassifier(random_state=0),
        target=1.5,
    ),
    "lr": Case(
        "LogisticRegression",
        lambda: _by_kind(
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            _one_hot(),
        ),
        lambda: LogisticRegression(max_iter=300),
        target=4.0,
    ),
    "lr_log": Case(
        "LogisticRegression, log1p",
        lambda: _by_kind(
            make_pipeline(
                SimpleImputer(strategy="median"),
                FunctionTransformer(np.log1p, feature_names_out="one-to-one"),
                StandardScaler(),
            ),
            _one_hot(),
        ),
        lambda: LogisticRegression(max_iter=300),
        target=None,
    ),
    "rf": Case(
        "RandomForest",
        lambda: _by_kind(SimpleImputer(strategy="median"), _ordinal()),
        lambda: RandomForestClassifier(
            n_estimators=50, min_samples_leaf=20, random_state=0
        ),
        target=None,
        repeats_limit=2,
        rows_limit=200_000,
    ),
}


def generate(rows: int, *, seed: int) -> Iterator[pa.RecordBatch]:
    """Yield users in batches: skewed counts and amounts, nulls, skewed categories."""
    random = np.random.default_rng(seed)
    names = {
        size: pa.array([f"value {index} of {size}" for index in range(size)])
        for size in CARDINALITIES
    }
    for start in range(0, rows, BATCH_ROWS):
        n = min(BATCH_ROWS, rows - start)
        columns: list[pa.Array] = [
            pa.array(
                random.gamma(2.0, 10.0, n),
                mask=random.random(n) < 0.05 if index % 2 else None,
            )
            for index in range(N_FLOATS)
        ]
        columns += [
            pa.array(
                random.geometric(0.1, n) - 1,
                mask=random.random(n) < 0.05 if index % 5 == 4 else None,
            )
            for index in range(N_COUNTS)
        ]
        for size in CARDINALITIES:
            codes = (size * random.random(n) ** 2).astype(np.int32)
            indices = pa.array(codes, mask=random.random(n) < 0.02)
            columns.append(names[size].take(indices))
        users = pa.array([f"user-{start + index}" for index in range(n)])
        yield pa.RecordBatch.from_arrays(
            [users, *columns], names=["user_id", *FEATURES]
        )


def train(case: Case) -> Pipeline:
    """Fit the case on users of its own, labelled by a known process."""
    batch = pa.Table.from_batches(generate(TRAINING_ROWS, seed=1)).combine_chunks()
    frame = to_frame(batch.to_batches()[0], FEATURES)
    random = np.random.default_rng(2)
    signal = (
        0.05 * frame["float_0"]
        - 0.08 * frame["count_0"]
        + 0.02 * frame["float_1"].fillna(0) * (frame["category_3"] == "value 0 of 3")
        + np.log1p(frame["count_1"])
        - 4.0
    )
    label = random.random(len(frame)) < 1 / (1 + np.exp(-signal))
    pipeline = make_pipeline(case.preprocessor(), case.model())
    return pipeline.fit(frame, label)


def by_pandas(
    pipeline: Pipeline, batches: list[pa.RecordBatch], chunk: int
) -> NDArray[np.float64]:
    """Score as one would with pandas: a frame of ``chunk`` rows at a time."""
    table = pa.Table.from_batches(batches)
    scores = [
        pipeline.predict_proba(table.slice(start, chunk).to_pandas())[:, 1]
        for start in range(0, table.num_rows, chunk)
    ]
    return np.concatenate(scores)


def by_arrow(pipeline: Pipeline, batches: list[pa.RecordBatch]) -> NDArray[np.float64]:
    """Score as 01-Predictions does, from compiling the scorer to the last batch."""
    scorer = Scorer.compile(*(step for _, step in pipeline.steps), features=FEATURES)
    return np.concatenate([scores for _, scores in scorer.score(batches)])


def seconds(
    call: Callable[[], NDArray[np.float64]],
) -> tuple[float, NDArray[np.float64]]:
    gc.collect()
    start = time.perf_counter()
    scores = call()
    return time.perf_counter() - start, scores


@dataclass(frozen=True)
class Speed:
    """Seconds of one case in turns, and how far the probabilities are apart."""

    rows: int
    chunk: int
    pandas_s: Sequence[float]
    arrow_s: Sequence[float]
    difference: float


def measure_speed(case: Case, pipeline: Pipeline, *, rows: int, repeats: int) -> Speed:
    """Find pandas' best chunk size, then let the two sides take turns."""
    batches = list(generate(min(rows, case.rows_limit), seed=3))
    total = sum(batch.num_rows for batch in batches)
    few = batches[: SEARCH_ROWS // BATCH_ROWS]
    searched = sum(batch.num_rows for batch in few)
    per_row = {
        chunk: min(
            seconds(partial(by_pandas, pipeline, few, chunk))[0] for _ in range(2)
        )
        / searched
        for chunk in CHUNKS
        if chunk < total
    }
    per_row[total] = seconds(lambda: by_pandas(pipeline, batches, total))[0] / total
    best = min(per_row, key=lambda chunk: per_row[chunk])

    pandas_s, arrow_s, difference = [], [], 0.0
    for _ in range(min(repeats, case.repeats_limit)):
        duration, expected = seconds(lambda: by_pandas(pipeline, batches, best))
        pandas_s.append(duration)
        duration, scores = seconds(lambda: by_arrow(pipeline, batches))
        arrow_s.append(duration)
        difference = max(difference, float(np.max(np.abs(scores - expected))))
    return Speed(total, best, pandas_s, arrow_s, difference)


def measure_memory(pipeline: Pipeline, *, rows: int) -> float:
    """Return by how many MB a fresh process rises above its start while scoring."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.joblib"
        joblib.dump(pipeline, path)
        arguments = ["--memory-of", str(path), "--rows", str(rows)]
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.scoring", *arguments],
            check=True,
            capture_output=True,
            text=True,
        )
    return float(json.loads(finished.stdout)["rise_mb"])


def score_and_report_memory(path: Path, *, rows: int) -> None:
    """Score generated batches and print the rise of resident memory (Linux)."""
    pipeline = joblib.load(path)
    scorer = Scorer.compile(*(step for _, step in pipeline.steps), features=FEATURES)
    gc.collect()
    # Forgets the peak so far: loading the model is not what is measured.
    memory.forget_peak()
    start = memory.resident_mb()
    n_scored = sum(len(scores) for _, scores in scorer.score(generate(rows, seed=3)))
    assert n_scored == rows
    print(json.dumps({"rise_mb": memory.peak_mb() - start}))


def main() -> int:
    parser = argparse.ArgumentParser(description="Scoring against a pandas pipeline")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=CASES, nargs="*", default=list(CASES))
    parser.add_argument("--trees", action="store_true", help="trees alone")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of is not None:
        score_and_report_memory(options.memory_of, rows=options.rows)
        return 0

    lines = report_trees(options.repeats, at_most=options.rows)
    if options.trees:
        return finish(lines)
    pipelines = {name: train(CASES[name]) for name in options.only}
    return finish([*lines, *speeds(pipelines, options), *rises(pipelines)])


def speeds(
    pipelines: Mapping[str, Pipeline], options: argparse.Namespace
) -> Iterator[Line]:
    """Yield rows a second and the largest difference of each model."""
    for name, pipeline in pipelines.items():
        case = CASES[name]
        speed = measure_speed(
            case, pipeline, rows=options.rows, repeats=options.repeats
        )
        yield Line(
            what=f"{case.title}, {speed.rows:,} rows",
            unit="k rows/s",
            ours=[speed.rows / seconds / 1e3 for seconds in speed.arrow_s],
            peer=f"pandas, {speed.chunk:,} at a time",
            theirs=[speed.rows / seconds / 1e3 for seconds in speed.pandas_s],
            least=case.target,
        )
        yield Line(
            what=f"{case.title}, largest difference of a probability",
            ours=[speed.difference],
            most=TOLERANCE,
        )


def rises(pipelines: Mapping[str, Pipeline]) -> Iterator[Line]:
    """Yield the memory of each model that has a target, for few rows and many."""
    for name, pipeline in pipelines.items():
        case = CASES[name]
        if case.target is None:
            continue
        rise_of = {rows: measure_memory(pipeline, rows=rows) for rows in MEMORY_ROWS}
        for rows, rise in rise_of.items():
            yield Line(
                what=f"{case.title}, memory above the start, {rows:,} rows",
                unit="MB",
                ours=[rise],
                most=MEMORY_LIMIT_MB,
            )
        few, many = rise_of.values()
        yield Line(
            what=f"{case.title}, memory of many rows above that of few",
            unit="MB",
            ours=[abs(many - few)],
            most=MEMORY_SLACK_MB,
        )


if __name__ == "__main__":
    sys.exit(main())
