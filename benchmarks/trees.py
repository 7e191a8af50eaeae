"""
Trees alone, on arrays and one thread: the shortcut that scoring uses against
scikit-learn's own ``predict_proba``, in processor time. ``benchmarks.scoring`` runs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from threadpoolctl import threadpool_limits

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


def measure_trees(model: Any, *, batch: int, repeats: int) -> tuple[float, float]:
    """
    Return processor seconds a row: scikit-learn's, and ours; medians of turns.

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
    return median(took[0]), median(took[1])


def tree_rows(count: int, *, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return rows with a tenth of gaps, half of them skewed, and labels."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, TREES_WIDTH))
    rows[:, ::2] = random.lognormal(1.0, 1.2, size=rows[:, ::2].shape)
    signal = np.arcsinh(rows) @ np.cos(np.arange(TREES_WIDTH))
    label = signal + random.normal(size=count) > 1.0
    rows[random.random(rows.shape) < 0.1] = np.nan
    return rows, label


def report_trees(repeats: int) -> list[str]:
    """Print trees alone, on one thread; return the targets that are missed."""
    missed = []
    print(
        "| trees | rows a call | scikit-learn, µs a row | ours, µs a row | ratio "
        "| target |\n|---|--:|--:|--:|--:|---|"
    )
    with threadpool_limits(1):
        for title, (made, target) in TREES.items():
            model = made().fit(*tree_rows(TRAINING_ROWS, seed=8))
            for batch in TREES_BATCHES:
                theirs, ours = measure_trees(model, batch=batch, repeats=repeats)
                wanted, is_met = "informs", True
                if target is not None and batch >= 1_000:
                    wanted, is_met = f"≥ {target:g} times", theirs / ours >= target
                elif target is not None and batch == 1:
                    wanted = f"≤ {SINGLE_ROW_LIMIT_US:g} µs"
                    is_met = ours * 1e6 <= SINGLE_ROW_LIMIT_US
                print(
                    f"| {title} | {batch:,} | {theirs * 1e6:,.2f} | {ours * 1e6:,.2f} "
                    f"| {theirs / ours:.1f} | {wanted} |",
                    flush=True,
                )
                if not is_met:
                    missed.append(f"{title}, {batch} rows: {ours * 1e6:.2f} µs a row")
    print()
    return missed
