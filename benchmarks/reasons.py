"""
Reasons beside scores: processor time a user of both, in turns, in one run. Gates.

    python -m benchmarks.reasons [--rows 200000] [--repeats 5] [--only random_forest]

Users of ``ga4_purchase``'s 37 features and its default preprocessor, in Arrow batches,
are scored as 01-Predictions scores them, on one thread, and explained, from the same
batches. The models are the candidates that a deployment tries which publishes reasons,
and their mean. Users have skewed counts and amounts, with gaps.

Exit code 1 if explaining a model takes more than ``MOST`` times its scoring, or if
reasons do not add up.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from benchmarks.report import Line, finish
from propensity import usecases
from propensity.learning.candidates import estimator, fit_on, is_mean
from propensity.learning.data import Slice
from propensity.learning.preprocessor import default_preprocessor, fitted, transformed
from propensity.models.reasons import Explainer
from propensity.models.scoring import MeanOfModels, Scorer, log_odds
from propensity.settings import Settings

USE_CASE = usecases.load("ga4_purchase")
FEATURES: Any = dict(USE_CASE.features)
BATCH_ROWS = 16_384
TRAINING_ROWS = 30_000
# Time of explaining, of that of scoring, at most.
MOST = 2.0
LARGEST_DIFFERENCE = 1e-9


def users(count: int, *, seed: int) -> pa.Table:
    """Return users with skewed counts, gaps and categories, and a label of them."""
    random = np.random.default_rng(seed)
    columns, signal = {}, np.full(count, -2.0)
    for place, (name, kind) in enumerate(FEATURES.items()):
        if kind == "category":
            codes = (12 * random.random(count) ** 2).astype(np.intp)
            columns[name] = pa.array([f"{name} {n}" for n in range(12)]).take(
                pa.array(codes)
            )
            signal += 0.3 * (codes == place % 4)
            continue
        values = np.round(random.gamma(0.7, 6.0, count), place % 3)
        gaps = random.random(count) < 0.1
        columns[name] = pa.array(values, mask=gaps if place % 3 == 0 else None)
        signal += 0.25 * np.cos(place) * np.arcsinh(values) * (values > place % 5)
    columns["label"] = pa.array(random.random(count) < 1 / (1 + np.exp(-signal)))
    return pa.table(columns)


def models(only: Collection[str]) -> tuple[Any, dict[str, Any]]:
    """Return the fitted preprocessor, and the use case's models by name, or some."""
    rows = users(TRAINING_ROWS, seed=1)
    label = rows["label"].to_numpy().astype(np.int8)
    part = Slice(rows=rows, label=label, weight=np.ones(len(rows)))
    encoder = fitted(default_preprocessor(USE_CASE), part, FEATURES)
    encoded = np.asarray(transformed(encoder, rows, FEATURES))
    fitted_models: dict[str, Any] = {}
    for candidate in USE_CASE.tried(
        Settings(project="local", explain_predictions=True)
    ):
        if is_mean(candidate) or (only and candidate.name not in only):
            continue
        model = clone(estimator(candidate, {}, seed=0))
        fitted_models[candidate.name] = fit_on(
            model, encoded, part, name=candidate.name
        )
    if not only:
        fitted_models["mean of all three"] = MeanOfModels(list(fitted_models.values()))
    return encoder, fitted_models


def measure(
    encoder: Any, model: Any, *, rows: int, repeats: int
) -> tuple[list[float], list[float], float]:
    """Return processor µs a user of scoring and of explaining, and how far sums are."""
    batches = users(rows, seed=2).select(list(FEATURES)).combine_chunks().to_batches()
    parts = [
        batch.slice(first, BATCH_ROWS)
        for batch in batches
        for first in range(0, len(batch), BATCH_ROWS)
    ]
    scorer = Scorer.compile(encoder, model, features=FEATURES, threads=1)
    explainer = Explainer.compile(encoder, model, features=FEATURES)
    scores, reasons = [], []
    largest = 0.0
    for _ in range(repeats):
        began = time.process_time()
        scored = list(scorer.score(parts))
        scores.append((time.process_time() - began) / rows * 1e6)
        explaining = 0.0
        for batch, probability in scored:
            began = time.process_time()
            contributions = explainer.contributions(batch, probability)
            explaining += time.process_time() - began
            total = explainer.base + contributions.sum(axis=1)
            differences = np.abs(total - log_odds(probability))
            largest = max(largest, float(differences.max()))
        reasons.append(explaining / rows * 1e6)
    return scores, reasons, largest


def lines(only: Collection[str], *, rows: int, repeats: int) -> Iterator[Line]:
    """Yield the lines of each model."""
    encoder, fitted_models = models(only)
    for name, model in fitted_models.items():
        scores, reasons, largest = measure(encoder, model, rows=rows, repeats=repeats)
        yield Line(
            what=f"{name}, reasons of {rows:,} users",
            unit="µs a user",
            ours=reasons,
            peer="scoring them",
            theirs=scores,
            most=MOST,
        )
        yield Line(
            what=f"{name}, largest difference of a sum",
            ours=[largest],
            most=LARGEST_DIFFERENCE,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Reasons beside scores")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="models by name; all without it")
    options = parser.parse_args()
    with threadpool_limits(1):
        measured = lines(options.only or (), rows=options.rows, repeats=options.repeats)
        return finish(measured)


if __name__ == "__main__":
    sys.exit(main())
