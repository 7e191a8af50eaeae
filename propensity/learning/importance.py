"""How much a model needs each feature, and how well a feature ranks alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from propensity.learning.model import Model
from propensity.learning.rows import Slice
from propensity.learning.task import NUMBER, Baseline
from propensity.models.encoding import Floats, floats_of
from propensity.watching import Watched, unwatched

# Rows and repeats for the importance of a feature: enough for a ranking, and cheaper
# than another candidate.
SAMPLED_ROWS = 1_000
REPEATS = 3
# So many features are explained, so many at once: more would fill a memory.
EXPLAINED = 50
AT_ONCE = 10

# Rows of a category from which they tell its rate.
FEWEST_ROWS = 10


class Importance(Struct, frozen=True, kw_only=True):
    """
    What a feature does for a model.

    Attributes:
        mean, std: Fall of ROC AUC without it, of several repeats.
        alone: ROC AUC of a ranking by it only.
    """

    feature: str
    mean: float
    std: float
    alone: float


def _area(part: Slice, score: Floats) -> float:
    """Return the ROC AUC of a score; 0 where there is one class."""
    area = part.roc_auc(score)
    return 0.0 if area is None else area


def importance(
    model: Model,
    features: Mapping[str, str],
    holdout: Slice,
    *,
    older: Slice,
    seed: int,
    watched: Watched = unwatched,
) -> list[Importance]:
    """
    Return how much ROC AUC falls when one feature is shuffled, greatest fall first.

    Of many features, those that rank best alone are shuffled, and others are left out.

    Args:
        model: It has not seen the rows of ``holdout``; of one class there is nothing.
        older: Rows that say how often a category has label 1.

    Source:
        Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """
    if not holdout.has_both_classes:
        return []
    names = list(features)
    generator = np.random.default_rng(seed)
    # Label 1 is rare, so half the sample has it. ROC AUC does not depend on that.
    half = max(1, min(SAMPLED_ROWS, len(holdout)) // 2)
    drawn = []
    for label in (0, 1):
        indices = np.flatnonzero(holdout.label == label)
        drawn.append(generator.permutation(indices)[:half])
    sample = np.sort(np.concatenate(drawn))
    columns = names + ["label", "weight"]
    taken = holdout.rows.select(columns).take(pa.array(sample))
    part = Slice(rows=taken.combine_chunks())
    rows = part.rows.select(names)
    alone = {}
    for name, kind in features.items():
        area = _area(part, ranks_alone(older, part, name, kind))
        alone[name] = max(area, 1 - area)
    strongest = sorted(alone, key=alone.__getitem__, reverse=True)[:EXPLAINED]
    explained = [name for name in features if name in strongest]
    varying = [name for name in explained if pc.count_distinct(rows[name]).as_py() > 1]
    whole = _area(part, model.scores(rows, features))
    falls = dict.fromkeys(explained, np.zeros(1))
    groups = [varying[at : at + AT_ONCE] for at in range(0, len(varying), AT_ONCE)]
    for group in watched(groups, "explaining the strongest features"):
        shuffled = []
        for name in group:
            column_index = rows.column_names.index(name)
            for _ in range(REPEATS):
                column = rows[name].take(pa.array(generator.permutation(len(rows))))
                shuffled.append(rows.set_column(column_index, name, column))
        # Several are scored at once: trees take half the time a row if there are many.
        scores = model.scores(pa.concat_tables(shuffled).combine_chunks(), features)
        areas = [_area(part, score) for score in np.split(scores, len(shuffled))]
        for name, repeats in zip(group, np.reshape(areas, (-1, REPEATS)), strict=True):
            falls[name] = whole - repeats
    entries = []
    for name, fall in falls.items():
        entries.append(
            Importance(
                feature=name,
                mean=float(fall.mean()),
                std=float(fall.std()),
                alone=alone[name],
            )
        )
    return sorted(entries, key=lambda entry: -entry.mean)


def ranks_alone(older: Slice, part: Slice, name: str, kind: str) -> Floats:
    """
    Return ranks of rows in [0, 1] by one feature, (rows,); a gap is the lowest number.

    A category ranks by its rate in older rows, and a gap is one of them. Rare and new
    ones rank by the rate of all rare ones: an id that only buyers have is rare.
    """
    column = part.rows[name]
    if kind == NUMBER:
        return _ranks(floats_of(column))
    label = pd.Series(older.label)
    by_category = label.groupby(older.rows[name].to_pandas(), dropna=False)
    rates = by_category.mean()[by_category.size() >= FEWEST_ROWS]
    rare = label[by_category.transform("size") < FEWEST_ROWS]
    others = (rare if len(rare) >= FEWEST_ROWS else label).mean()
    rate_of_row = column.to_pandas().map(rates).fillna(others)
    return _ranks(rate_of_row.to_numpy(np.float64))


def baseline_score(baseline: Baseline, *parts: Slice) -> Floats:
    """Return ranks in [0, 1] by the baseline's feature; missing values come last."""
    values = np.concatenate([floats_of(part.rows[baseline.feature]) for part in parts])
    return _ranks(-values if baseline.ascending else values)


def _ranks(values: Floats) -> Floats:
    order = np.nan_to_num(values, nan=-np.inf)
    _, rank = np.unique(order, return_inverse=True)
    return np.asarray(rank / max(1, rank.max(initial=0)), dtype=np.float64)
