"""
Importance: which features a model needs, and what a single one achieves alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.learning import metrics
from propensity.learning.data import Slice
from propensity.usecases import UseCase

Floats = NDArray[np.float64]

# Rows and repeats behind the importance of a feature: enough to rank them, few enough
# to cost less than a candidate.
_ROWS = 1_000

_REPEATS = 3


def importance(
    score: Callable[[pa.Table], Floats],
    features: dict[str, str],
    holdout: Slice,
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """
    Return how much ROC AUC falls when one feature is shuffled, greatest fall first.

    Args:
        score: Gives the model's scores of rows.
        features: Kinds by name.
        holdout: Rows that the model has not seen.
        seed: Of the shuffles.

    Source:
        Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """
    generator = np.random.default_rng(seed)
    count = min(_ROWS, len(holdout))
    # Label 1 is rare: half the sample is of it. ROC AUC does not depend on it.
    chosen = _balanced(holdout.label, count, generator)
    rows = holdout.rows.select(list(features)).take(pa.array(chosen)).combine_chunks()
    label, weight = holdout.label[chosen], holdout.weight[chosen]
    whole = _area(score(rows), label, weight)
    repeated = pa.concat_tables([rows] * _REPEATS).combine_chunks()
    found = []
    for place, name in enumerate(repeated.column_names):
        shuffled = pa.array(
            np.concatenate(
                [
                    generator.permutation(len(chosen)) + turn * len(chosen)
                    for turn in range(_REPEATS)
                ]
            )
        )
        column = repeated[name]
        if column.null_count == len(column) or len(pc.unique(column)) == 1:
            found.append({"feature": name, "mean": 0.0, "std": 0.0})
            continue
        changed = repeated.set_column(place, name, column.take(shuffled))
        probability = score(changed)
        falls = [
            whole - _area(part, label, weight)
            for part in np.split(probability, _REPEATS)
        ]
        found.append(
            {
                "feature": name,
                "mean": float(np.mean(falls)),
                "std": float(np.std(falls)),
            }
        )
    return sorted(found, key=lambda entry: -entry["mean"])


def _balanced(
    label: NDArray[Any], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    parts = []
    for value in (0, 1):
        rows = np.flatnonzero(label == value)
        parts.append(generator.permutation(rows)[: max(1, count // 2)])
    return np.sort(np.concatenate(parts))


def _area(probability: Floats, label: NDArray[Any], weight: Floats) -> float:
    seen = metrics.outcomes(probability, label, weight=weight)
    return metrics.roc_auc(seen) or 0.0


def baseline_score(use_case: UseCase, holdout: Slice) -> Floats:
    """Return ranks in [0, 1] by the baseline's feature; a missing value is last."""
    baseline = use_case.baseline
    values = pc.cast(holdout.rows[baseline.feature], pa.float64()).to_numpy()
    order = -values if baseline.ascending else values
    order = np.where(np.isnan(order), -np.inf, order)
    _, rank = np.unique(order, return_inverse=True)
    return np.asarray(rank / max(1, rank.max(initial=0)), dtype=np.float64)


def baselines(use_case: UseCase, holdout: Slice) -> dict[str, float | None]:
    """Return the ROC AUC of simpler rankings of the rows held out, by name."""
    score = baseline_score(use_case, holdout)
    seen = metrics.outcomes(score, holdout.label, weight=holdout.weight)
    return {f"{use_case.baseline.feature} alone": metrics.roc_auc(seen)}
