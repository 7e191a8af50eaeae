"""
What 00-ModelTraining adds to the fits of its candidates.

    python -m benchmarks.training

Both in one run, in turn, on the same rows: the whole of a training from rows in memory
to the files of the version (encode, fit, choose, calibrate, measure with intervals,
importance, description, report, pickles), against the bare ``fit`` of each candidate
that is fitted, on arrays that are encoded already, at the faster of one thread and all:
on every block that judges it, by every half-life that is compared, and the two last
fits of the chosen ones, on the rows that are measured without the holdout and on all.

Exit code 1 if the ratio of the medians is over the target.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from propensity import usecases
from propensity.learning import data, fit, gate, modelcard, rolling
from propensity.learning.candidates import estimator, is_mean
from propensity.learning.fit import Trained
from propensity.learning.preprocessor import default_preprocessor, fitted, transformed
from propensity.learning.rolling import NO_HALF_LIFE
from propensity.runs.train import checked_graph
from propensity.settings import Settings
from propensity.usecases import CATEGORY, Candidate, UseCase

TARGET = 1.5
SNAPSHOTS = 26


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--rows", type=int, default=30_000, help="default: 30000")
    parser.add_argument("--repeats", type=int, default=5, help="default: 5")
    options = parser.parse_args(arguments)
    use_case = usecases.load("ga4_purchase")
    settings = Settings(project="benchmark")
    rows = made(use_case, options.rows)

    warnings.simplefilter("ignore", ConvergenceWarning)
    whole, bare = [], []
    for _ in range(options.repeats):
        seconds, trained = whole_training(use_case, rows, settings)
        whole.append(seconds)
        bare.append(bare_fits(use_case, rows, trained, settings))
    ratio = statistics.median(whole) / statistics.median(bare)
    print(f"{options.rows:,} rows × {len(use_case.features)} features, medians\n")
    print("| fits | bare fits | 00-ModelTraining | ratio | target |")
    print("|--:|--:|--:|--:|--:|")
    print(
        f"| {trained.fits} | {statistics.median(bare):.2f} s "
        f"| {statistics.median(whole):.2f} s | {ratio:.2f} | ≤ {TARGET} |"
    )
    return int(ratio > TARGET)


def made(use_case: UseCase, count: int) -> pa.Table:
    """Return rows of users whose label depends on their features, a tenth of them 1."""
    random = np.random.default_rng(7)
    columns: dict[str, Any] = {}
    score = np.zeros(count)
    for place, (name, kind) in enumerate(use_case.features.items()):
        if kind == CATEGORY:
            codes = random.zipf(1.6, count) % 40
            columns[name] = pa.array([f"{name} {code}" for code in codes])
            score += 0.1 * (codes == 1)
            continue
        values = random.lognormal(1.0, 1.2, count)
        columns[name] = pa.array(values, mask=random.random(count) < 0.05)
        score += np.log1p(values) * random.normal() / (3 + place)
    chance = 1 / (1 + np.exp(-(score - np.quantile(score, 0.9))))
    newest = date(2026, 3, 2)
    days = [newest - timedelta(days=7 * n) for n in range(SNAPSHOTS)]
    return pa.table(
        {
            "as_of": pa.array([days[n % SNAPSHOTS] for n in range(count)]),
            "user_id": pa.array([f"u{n // SNAPSHOTS}" for n in range(count)]),
            **columns,
            "label": pa.array((random.random(count) < chance).astype(np.int64)),
            "weight": pa.array(np.ones(count)),
        }
    )


def whole_training(
    use_case: UseCase, rows: pa.Table, settings: Settings
) -> tuple[float, Trained]:
    """Return the seconds from rows to the files of a version, and the model."""
    began = time.perf_counter()
    timeframe = use_case.timeframe(settings)
    trained = fit.train(
        data.of_users(rows, use_case, timeframe, settings=settings),
        use_case,
        preprocessor=None,
        settings=settings,
    )
    verdict = gate.compare(trained, trained.probability, version=0, seed=settings.seed)
    graph = checked_graph(trained, use_case)
    card = modelcard.card(
        use_case,
        trained,
        verdict,
        version=1,
        rows=rows,
        as_of=date(2026, 3, 12),
        data_until=None,
        settle_days=settings.settle_days,
        chosen=use_case.chosen(settings),
        trained_at=datetime(2026, 3, 12, tzinfo=UTC),
        graph=graph,
        bytes_billed=0,
    )
    modelcard.files(card, trained, rows, graph=graph)
    return time.perf_counter() - began, trained


def bare_fits(
    use_case: UseCase, rows: pa.Table, trained: Trained, settings: Settings
) -> float:
    """Return the seconds of the fits alone that a training took."""
    parts = data.of_users(
        rows, use_case, use_case.timeframe(settings), settings=settings
    )
    assert parts.every is not None
    features: Any = dict(use_case.features)
    encoder = fitted(default_preprocessor(use_case), parts.fitting, features)
    choice = trained.choice
    assert choice is not None
    half_lives = [float(weeks) for weeks in choice.half_lives if weeks != NO_HALF_LIFE]
    # Of each fit its candidate, its rows and the half-life of their weights.
    fits: list[tuple[Candidate, data.Slice, float | None]] = []
    alone = [one for one in use_case.candidates if not is_mean(one)]
    for block in parts.blocks:
        part = data.slice_of(rows, block.fitting)
        fits += [(candidate, part, None) for candidate in alone]
        fits += [(alone[0], part, weeks) for weeks in half_lives]
    fits += [
        (member, part, choice.recipe.half_life_weeks)
        for member in choice.recipe.members
        for part in (parts.fitting, parts.every)
    ]
    assert len(fits) == trained.fits
    total = 0.0
    for candidate, part, weeks in fits:
        encoded = transformed(encoder, part.rows, features)
        weighted = rolling.aged(part, weeks)
        took = []
        for threads in (1, None):
            model = estimator(candidate, {}, seed=settings.seed)
            if isinstance(model, RandomForestClassifier):
                model.set_params(n_jobs=-1)
            with threadpool_limits(threads):
                began = time.perf_counter()
                model.fit(encoded, part.label, **weighted.sample_weight)
                took.append(time.perf_counter() - began)
        total += min(took)
    return total


if __name__ == "__main__":
    sys.exit(main())
