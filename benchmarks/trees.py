"""
Trees alone, on arrays and one thread: the shortcut that scoring uses against
scikit-learn's own ``predict_proba``, in processor time. ``benchmarks.scoring`` runs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from threadpoolctl import threadpool_limits

from benchmarks.report import Line
from propensity.models.shortcuts import probability_of

TRAINING_ROWS = 40_000

# Of trees alone: the model, and the least ratio to scikit-learn's rows a second.
TREES: dict[str, tuple[Callable[[], Any], float | None]] = {
    "boosted, 100 × 31 leaves": (
        lambda: HistGradientBoostingClassifier(max_iter=100, early_stopping=False),
        5.0,
    ),
    "boosted, 150 × 6 leaves": (
        lambda: HistGradientBoostingClassifier(
            max_iter=150, max_leaf_nodes=6, early_stopping=False
        ),
        None,
    ),
    "forest, 100 × 31 leaves": (
        lambda: RandomForestClassifier(100, max_leaf_nodes=31, random_state=0),
        None,
    ),
    "forest, 50 rows a leaf": (
        lambda: RandomForestClassifier(100, min_samples_leaf=50, random_state=0),
        None,
    ),
}
TREES_BATCHES = (1, 100, 1_000, 10_000)
TREES_WIDTH = 30
SINGLE_ROW_LIMIT_US = 15.0


def measure_trees(
    model: Any, *, batch: int, repeats: int
) -> tuple[list[float], list[float]]:
    """
    Return processor seconds a row: scikit-learn's, and ours; of each turn.

    Raises:
        AssertionError: A probability has other bits.
    """
    shortcut = probability_of(model, width=TREES_WIDTH)
    assert shortcut is not None
    rows, _ = tree_rows(batch, seed=9)
    loops = max(1, 2_000 // batch)
    took: tuple[list[float], list[float]] = ([], [])
    assert np.array_equal(shortcut(rows.copy()), model.predict_proba(rows)[:, 1])
    for _ in range(repeats):
        for side, call, turns in (
            (0, lambda: model.predict_proba(rows), max(1, loops // 20)),
            (1, lambda: shortcut(rows), loops),
        ):
            start = time.process_time()
            for _ in range(turns):
                call()
            took[side].append((time.process_time() - start) / turns / batch)
    return took


def tree_rows(count: int, *, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return rows with a tenth of gaps, half of them skewed, and labels."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, TREES_WIDTH))
    rows[:, ::2] = random.lognormal(1.0, 1.2, size=rows[:, ::2].shape)
    signal = np.arcsinh(rows) @ np.cos(np.arange(TREES_WIDTH))
    label = signal + random.normal(size=count) > 1.0
    rows[random.random(rows.shape) < 0.1] = np.nan
    return rows, label


def report_trees(repeats: int, *, at_most: int = TRAINING_ROWS) -> Iterator[Line]:
    """Yield the lines of trees alone, on one thread; fitted to few rows if asked."""
    with threadpool_limits(1):
        for title, (new_model, target) in TREES.items():
            model = new_model().fit(*tree_rows(min(TRAINING_ROWS, at_most), seed=8))
            for batch in TREES_BATCHES:
                theirs, ours = measure_trees(model, batch=batch, repeats=repeats)
                is_single = batch == 1 and target is not None
                # A single row by its time, many by their rate.
                unit = "µs a row" if is_single else "k rows a processor second"
                figures = [
                    [1e6 * seconds if is_single else 1e-3 / seconds for seconds in side]
                    for side in (ours, theirs)
                ]
                yield Line(
                    what=f"trees, {title}, {batch:,} rows a call",
                    unit=unit,
                    ours=figures[0],
                    peer="scikit-learn",
                    theirs=figures[1],
                    least=target if batch >= 1_000 else None,
                    most=SINGLE_ROW_LIMIT_US if is_single else None,
                    bounds_ours=is_single,
                )
