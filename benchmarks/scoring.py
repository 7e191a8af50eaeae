"""
Batch scoring against a pandas pipeline: thousands of rows a second. Gates.

The same batches, as BigQuery sends them, by 01-Predictions' scorer and by
``Pipeline.predict_proba`` on frames of 25,000 rows, which suit it best. The ratio of
boosted trees is that of an idle machine alone: the trees are 85% of our time, and on a
busy one the pipeline's threads of OpenMP wait for each other, which makes it 4 or more.
By processor time and without OpenMP it is 1.4.
"""

from __future__ import annotations

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

from benchmarks.measuring.report import Line, in_turns
from benchmarks.training import USE_CASE, labelled_rows
from propensity.models.encoding import to_frame
from propensity.models.scoring import Scorer
from propensity.usecases import CATEGORY

ROWS = 500_000
TRAINING_ROWS = 40_000
CHUNK = 25_000
ROUNDS = 5
FEATURES = dict(USE_CASE.features)


def pipeline_of(numbers: object, categories: object, model: object) -> Pipeline:
    names: dict[bool, list[str]] = {True: [], False: []}
    for name, kind in FEATURES.items():
        names[kind == CATEGORY].append(name)
    by_kind = [("numbers", numbers, names[False]), ("texts", categories, names[True])]
    pipeline = make_pipeline(ColumnTransformer(by_kind), model)
    rows = labelled_rows(TRAINING_ROWS).combine_chunks()
    [batch] = rows.to_batches()
    return pipeline.fit(to_frame(batch, FEATURES), rows["label"].to_numpy())


def by_pandas(pipeline: Pipeline, rows: pa.Table) -> float:
    began = time.perf_counter()
    for start in range(0, len(rows), CHUNK):
        pipeline.predict_proba(rows.slice(start, CHUNK).to_pandas())
    return float(len(rows) / (time.perf_counter() - began) / 1e3)


def by_arrow(pipeline: Pipeline, rows: pa.Table) -> float:
    began = time.perf_counter()
    steps = [step for _, step in pipeline.steps]
    scorer = Scorer(*steps, features=FEATURES, threads=cpu_count())
    count = sum(len(scores) for _, scores in scorer.score(rows.to_batches()))
    return count / (time.perf_counter() - began) / 1e3


def lines() -> list[Line]:
    rows = labelled_rows(ROWS).select(["user_id"] + list(FEATURES))
    rows = pa.Table.from_batches(rows.to_batches(max_chunksize=10_000))
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=20
    )
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20)
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    boosted = HistGradientBoostingClassifier(random_state=0)
    linear = LogisticRegression(max_iter=300)
    pipelines = {
        "boosted": (pipeline_of("passthrough", codes, boosted), 1.5),
        "linear": (pipeline_of(scaled, one_hot, linear), 3.0),
    }
    measured = []
    for name, (pipeline, target) in pipelines.items():
        ways = {
            "ours": partial(by_arrow, pipeline, rows),
            "pandas": partial(by_pandas, pipeline, rows),
        }
        rates = in_turns(ROUNDS, ways)
        what = f"{name}, {ROWS:,} rows"
        measured.append(Line(what, "k rows/s", rates, least=target))
    return measured
