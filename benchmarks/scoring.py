"""
Batch scoring against a pandas pipeline: rows a second. Gates.

    python -m benchmarks.scoring

Users with the features of ``ga4_purchase``, in Arrow batches as BigQuery sends them,
become probabilities twice: by ``propensity.models.scoring``, and by
``Pipeline.predict_proba`` on the same batches through ``to_pandas``, at the chunk size
that is best for it, found first. The two take turns. Tests hold the probabilities to
the pipeline's.
"""

from __future__ import annotations

import sys
import time
from functools import partial

import pyarrow as pa
from joblib import cpu_count
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from benchmarks.report import Line, finish, in_turns
from benchmarks.training import labelled_rows
from propensity import usecases
from propensity.models.encoding import to_frame
from propensity.models.scoring import Scorer
from propensity.usecases import CATEGORY, NUMBER

ROWS = 500_000
TRAINING_ROWS = 40_000
SEARCH_ROWS = 200_000
BATCH_ROWS = 10_000
CHUNKS = (5_000, 10_000, 25_000, 100_000)
ROUNDS = 5
USE_CASE = usecases.load("ga4_purchase")
FEATURES = dict(USE_CASE.features)
NUMBERS = [name for name, kind in FEATURES.items() if kind == NUMBER]
CATEGORIES = [name for name, kind in FEATURES.items() if kind == CATEGORY]


def pipelines() -> dict[str, tuple[Pipeline, float]]:
    """Return pipelines by their names, and how much faster ours must be."""
    ordinal = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=-1,
        encoded_missing_value=-2,
        min_frequency=20,
    )
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20)
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    boosted = HistGradientBoostingClassifier(random_state=0)
    linear = LogisticRegression(max_iter=300)
    return {
        "boosted": (make_pipeline(_columns("passthrough", ordinal), boosted), 1.5),
        "linear": (make_pipeline(_columns(scaled, one_hot), linear), 3.0),
    }


def _columns(numbers: object, categories: object) -> ColumnTransformer:
    kinds = ("numbers", numbers, NUMBERS), ("categories", categories, CATEGORIES)
    return ColumnTransformer(list(kinds))


def fitted(pipeline: Pipeline) -> Pipeline:
    rows = labelled_rows(USE_CASE, TRAINING_ROWS).combine_chunks()
    [batch] = rows.to_batches()
    return pipeline.fit(to_frame(batch, FEATURES), rows["label"].to_numpy())


def by_pandas(pipeline: Pipeline, batches: list[pa.RecordBatch], chunk: int) -> float:
    """
    Score as one would with pandas: a frame of ``chunk`` rows at a time.

    Returns:
        The thousands of rows that were scored in a second.
    """
    table = pa.Table.from_batches(batches)
    began = time.perf_counter()
    for start in range(0, table.num_rows, chunk):
        pipeline.predict_proba(table.slice(start, chunk).to_pandas())
    return float(table.num_rows / (time.perf_counter() - began) / 1e3)


def by_arrow(pipeline: Pipeline, batches: list[pa.RecordBatch]) -> float:
    """Score as 01-Predictions does, from compiling the scorer to the last batch."""
    began = time.perf_counter()
    steps = (step for _, step in pipeline.steps)
    scorer = Scorer(*steps, features=FEATURES, threads=cpu_count())
    count = sum(len(scores) for _, scores in scorer.score(batches))
    return count / (time.perf_counter() - began) / 1e3


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    rows = labelled_rows(USE_CASE, ROWS).select(["user_id"] + list(FEATURES))
    batches = rows.to_batches(max_chunksize=BATCH_ROWS)
    few = batches[: SEARCH_ROWS // BATCH_ROWS]
    lines = []
    for name, (unfitted, target) in pipelines().items():
        pipeline = fitted(unfitted)
        rate_of = {chunk: by_pandas(pipeline, few, chunk) for chunk in CHUNKS}
        best = max(CHUNKS, key=rate_of.__getitem__)
        ways = {
            "ours": partial(by_arrow, pipeline, batches),
            f"pandas, {best:,} at a time": partial(by_pandas, pipeline, batches, best),
        }
        rates = in_turns(ROUNDS, ways)
        lines.append(Line(f"{name}, {ROWS:,} rows", "k rows/s", rates, least=target))
    return finish(lines)


if __name__ == "__main__":
    sys.exit(main())
