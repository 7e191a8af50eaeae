"""
What a column of a table tells alone: the best one to compare with, and likely leaks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import structs

from propensity.arrays import Floats
from propensity.learning.rows import Parts, Slice
from propensity.learning.trained import LEAK
from propensity.measures import metrics
from propensity.pages.words import percent
from propensity.usecases import CATEGORY, Baseline, UseCase

# A rarer value says nothing of its rate.
_FEWEST_OF_A_VALUE = 10
# With more values a column is no list of them.
_MOST_VALUES = 60
# Rows of a value, and their share of label 1, from which the value tells the outcome.
_SURE_ROWS, _SURE_SHARE = 20, 0.98
# A column that is filled so much less often in the newest rows is filled in later.
_FILLED_LESS = 0.1


def with_baseline(parts: Parts, use_case: UseCase) -> tuple[Parts, UseCase]:
    """Make the column that alone ranks the judged rows best the baseline."""
    older, every = parts.before.between(0, parts.blocks[0].fit_end), parts.every
    areas = {
        name: _area(_ranks(older, parts.choosing, name, kind), parts.choosing)
        for name, kind in use_case.features.items()
    }
    best = max(areas, key=lambda name: abs(areas[name] - 0.5))
    baseline = Baseline(feature=best, ascending=areas[best] < 0.5)
    if use_case.features[best] == CATEGORY:
        rates = _ranks(older, every, best, CATEGORY)
        baseline = Baseline(feature=f"{best} (rate)", ascending=False)
        rows = every.rows.append_column(baseline.feature, pa.array(rates))
        every = replace(every, rows=rows)
        parts = replace(
            parts,
            every=every,
            before=every.between(0, len(parts.before)),
            fitting=every.between(0, len(parts.fitting)),
            holdout=every.between(len(parts.before)),
        )
    return parts, structs.replace(use_case, baseline=baseline)


def leaks(parts: Parts, use_case: UseCase) -> dict[str, str]:
    """Return columns that alone nearly decide the label, or are written after it."""
    fit_end, every = parts.blocks[0].fit_end, parts.every
    older, later = every.between(0, fit_end), every.between(fit_end)
    found = {}
    for name, kind in use_case.features.items():
        area = _area(_ranks(older, later, name, kind), later)
        filled, newest = (
            1 - part.rows[name].null_count / len(part)
            for part in (parts.before, parts.holdout)
        )
        if max(area, 1 - area) >= LEAK:
            found[name] = f"alone ranks at ROC AUC {max(area, 1 - area):.3f}"
        elif newest < filled * _FILLED_LESS:
            found[name] = (
                f"is filled in {percent(filled)} of the older rows and "
                f"{percent(newest)} of the newest, as if written later"
            )
        elif sure := _sure(every, name):
            found[name] = sure
    return found


def _area(ranks: Floats, part: Slice) -> float:
    """Return the ROC AUC of ranks; 0.5 where there is one class."""
    area = metrics.roc_auc(part.outcomes(ranks))
    return 0.5 if area is None else area


def _ranks(older: Slice, part: Slice, name: str, kind: str) -> Floats:
    """Return ranks in [0, 1] by a column; a category by its rate in older rows."""
    values = part.rows[name].to_pandas()
    if kind == CATEGORY:
        before = pd.Series(older.label).groupby(older.rows[name].to_pandas())
        rates = before.mean()[before.size() >= _FEWEST_OF_A_VALUE]
        values = values.map(rates).fillna(older.label.mean())
    ranks: Floats = values.rank(method="dense", pct=True).to_numpy()
    return np.nan_to_num(ranks)


def _sure(every: Slice, name: str) -> str:
    """Say which value has the rarer label only, if one has; a gap is a value."""
    values = every.rows[name].to_pandas()
    texts = values.astype("str").where(values.notna(), "empty")
    if texts.nunique() > _MOST_VALUES:
        usual = texts.mode()[0]
        texts = texts.where(texts == usual, f"not {usual}")
    rarer = int(2 * every.conversions < len(every))
    rates = pd.Series(every.label == rarer).groupby(texts).agg(["size", "mean"])
    sure = rates[(rates["size"] >= _SURE_ROWS) & (rates["mean"] >= _SURE_SHARE)]
    if sure.empty:
        return ""
    count = sure["size"].iloc[0]
    return f"is {sure.index[0]} in {count:,} rows, nearly all of label {rarer}"
