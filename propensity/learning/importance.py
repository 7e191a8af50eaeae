"""
Importance: how much a model needs each feature, and the baseline of a single one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.learning import metrics
from propensity.learning.data import Slice
from propensity.usecases import UseCase

Floats = NDArray[np.float64]

# Rows and repeats for the importance of a feature: enough for a ranking, and cheaper
# than another candidate.
_ROWS = 1_000

_REPEATS = 3

# Features that are scored together: as many rows as a chunk of the scorer has.
_TOGETHER = 5


def importance(
    score: Callable[[Iterable[pa.RecordBatch]], Iterator[Floats]],
    features: dict[str, str],
    holdout: Slice,
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """
    Return how much ROC AUC falls when one feature is shuffled, greatest fall first.

    Args:
        score: Yields the model's scores of each batch, in order.
        holdout: Rows that the model has not seen.

    Source:
        Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """
    generator = np.random.default_rng(seed)
    count = min(_ROWS, len(holdout))
    # Label 1 is rare, so half the sample has it. ROC AUC does not depend on that.
    sample = _balanced(holdout.label, count, generator)
    rows = holdout.rows.select(list(features)).take(pa.array(sample)).combine_chunks()
    part = Slice(rows=rows, label=holdout.label[sample], weight=holdout.weight[sample])

    def area(probability: Floats) -> float:
        return metrics.roc_auc(part.outcomes(probability)) or 0.0

    [repeated] = pa.concat_tables([rows] * _REPEATS).combine_chunks().to_batches()
    varying: list[str] = []

    def shuffled() -> Iterator[pa.RecordBatch]:
        """Yield the rows as they are, then with each feature shuffled that varies."""
        yield from rows.to_batches()
        for place, name in enumerate(repeated.schema.names):
            places = [
                generator.permutation(len(sample)) + turn * len(sample)
                for turn in range(_REPEATS)
            ]
            column = repeated.column(place)
            if column.null_count == len(column) or len(pc.unique(column)) == 1:
                continue
            varying.append(name)
            changed = column.take(pa.array(np.concatenate(places)))
            yield repeated.set_column(place, name, changed)

    # Several features to a call of the model, and calls side by side: trees take half
    # the time a row if there are many.
    batches = shuffled()
    first = next(batches)
    together = (
        pa.Table.from_batches(group).combine_chunks().to_batches()[0]
        for group in iter(lambda: [*islice(batches, _TOGETHER)], [])
    )
    whole, *scores = score(chain([first], together))
    parts = np.concatenate([np.empty(0), *scores])
    changed = np.split(parts, len(varying)) if varying else []
    best = area(whole)
    falls: dict[str, list[float]] = {
        name: [best - area(turn) for turn in np.split(probability, _REPEATS)]
        for name, probability in zip(varying, changed, strict=True)
    }
    entries = [
        {"feature": name, "mean": float(np.mean(fall)), "std": float(np.std(fall))}
        for name in features
        for fall in [falls.get(name, [0.0])]
    ]
    return sorted(entries, key=lambda entry: -entry["mean"])


def _balanced(
    label: NDArray[Any], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    parts = []
    for value in (0, 1):
        rows = np.flatnonzero(label == value)
        parts.append(generator.permutation(rows)[: max(1, count // 2)])
    return np.sort(np.concatenate(parts))


def baseline_score(use_case: UseCase, holdout: Slice) -> Floats:
    """Return ranks in [0, 1] by the baseline's feature; missing values come last."""
    baseline = use_case.baseline
    values = pc.cast(holdout.rows[baseline.feature], pa.float64()).to_numpy()
    order = -values if baseline.ascending else values
    order = np.where(np.isnan(order), -np.inf, order)
    _, rank = np.unique(order, return_inverse=True)
    return np.asarray(rank / max(1, rank.max(initial=0)), dtype=np.float64)
