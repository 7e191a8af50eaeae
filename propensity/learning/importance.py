"""
Importance: how much a model needs each feature, and what one tells alone.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity.arrays import Floats
from propensity.learning.rows import Slice
from propensity.learning.trained import Importance, Model
from propensity.measures import metrics
from propensity.models.encoding import numbers_of, texts_of
from propensity.usecases import NUMBER, UseCase

# Rows and repeats for the importance of a feature: enough for a ranking, and cheaper
# than another candidate.
_ROWS, _REPEATS = 1_000, 3

# Rows of a category that tell its rate; those of rarer ones are pooled.
_FEWEST = 10


def importance(
    model: Model, use_case: UseCase, holdout: Slice, *, seed: int
) -> list[Importance]:
    """
    Return how much ROC AUC falls when one feature is shuffled, greatest fall first.

    Args:
        model: It has not seen the rows of ``holdout``; of one class there is nothing.

    Source:
        Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """
    if not holdout.has_both_classes:
        return []
    features = list(use_case.features)
    generator = np.random.default_rng(seed)
    # Label 1 is rare, so half the sample has it. ROC AUC does not depend on that.
    half = max(1, min(_ROWS, len(holdout)) // 2)
    drawn = []
    for label in (0, 1):
        places = np.flatnonzero(holdout.label == label)
        drawn.append(generator.permutation(places)[:half])
    sample = np.sort(np.concatenate(drawn))
    rows = holdout.rows.select(features).take(pa.array(sample)).combine_chunks()
    part = Slice(rows=rows, label=holdout.label[sample], weight=holdout.weight[sample])
    varying = [name for name in features if pc.count_distinct(rows[name]).as_py() > 1]
    shuffled = [rows]
    for name in varying:
        place = rows.column_names.index(name)
        for _ in range(_REPEATS):
            column = rows[name].take(pa.array(generator.permutation(len(rows))))
            shuffled.append(rows.set_column(place, name, column))
    # All at once: trees take half the time a row if there are many.
    whole = model.scores(pa.concat_tables(shuffled).combine_chunks(), use_case)
    scores = np.split(whole, len(shuffled))
    best, *areas = (metrics.roc_auc(part.outcomes(score)) or 0.0 for score in scores)
    falls = best - np.array(areas).reshape(len(varying), _REPEATS)
    entries = []
    for name, kind in use_case.features.items():
        fall = falls[varying.index(name)] if name in varying else np.zeros(1)
        one = Importance(
            feature=name,
            mean=float(fall.mean()),
            std=float(fall.std()),
            alone=_alone(part, name, kind),
        )
        entries.append(one)
    return sorted(entries, key=lambda entry: -entry.mean)


def _alone(part: Slice, name: str, kind: str) -> float:
    """Return the ROC AUC of rows ranked up or down by a feature; a gap is a value."""
    column = part.rows[name].combine_chunks()
    if kind == NUMBER:
        score = np.nan_to_num(numbers_of(column), nan=-np.inf)
    else:
        codes = pc.dictionary_encode(texts_of(column), null_encoding="encode").indices
        _, code, rows = np.unique(codes, return_inverse=True, return_counts=True)
        code[rows[code] < _FEWEST] = len(rows)
        score = np.bincount(code, part.label)[code] / np.bincount(code)[code]
    _, rank = np.unique(score, return_inverse=True)
    area = metrics.roc_auc(part.outcomes(rank / max(1, rank.max()))) or 0.0
    return max(area, 1 - area)


def baseline_score(use_case: UseCase, *parts: Slice) -> Floats:
    """Return ranks in [0, 1] by the baseline's feature; missing values come last."""
    baseline = use_case.baseline
    values = np.concatenate([numbers_of(part.rows[baseline.feature]) for part in parts])
    order = np.nan_to_num(-values if baseline.ascending else values, nan=-np.inf)
    _, rank = np.unique(order, return_inverse=True)
    return np.asarray(rank / max(1, rank.max(initial=0)), dtype=np.float64)
