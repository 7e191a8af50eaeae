"""What a column tells alone: how it ranks rows, and whether it may know the outcome."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from propensity.learning.importance import ranks_alone
from propensity.learning.rows import Slice
from propensity.learning.trained import LEAK

# A column with more values than that is no list of them.
_MOST_VALUES = 60
# Rows of a value, and their share of label 1, from which the value tells the outcome.
_SURE_ROWS = 20
_SURE_SHARE = 0.98


def area(older: Slice, part: Slice, name: str, kind: str) -> float:
    """Return the ROC AUC of a column alone; 0.5 where there is one class."""
    ranked = part.roc_auc(ranks_alone(older, part, name, kind))
    return 0.5 if ranked is None else ranked


def why_a_leak(values: pa.Array, label: pd.Series, kind: str) -> str:
    """Say why a column of rows without times may know a label; "" if it does not."""
    rows = {
        "value": values,
        "label": pa.array(label),
        "weight": pa.array(np.ones(len(label))),
    }
    every = Slice(rows=pa.table(rows))
    half = len(label) // 2
    ranked = area(every.between(0, half), every.between(half), "value", kind)
    ranked = max(ranked, 1 - ranked)
    if ranked >= LEAK:
        return f"alone ranks at ROC AUC {ranked:.3f}"
    return sure_value(every, "value", pd.Series(dtype="object"))


def sure_value(every: Slice, name: str, open_values: pd.Series) -> str:
    """
    Say which value has the rarer label only, if one has; a gap is a value.

    A value that the open rows have as well was not written after the outcome.
    """
    values = every.rows[name].to_pandas()
    counts = values.value_counts(dropna=False)
    usual = None
    if len(counts) > _MOST_VALUES:
        usual = counts.index[0]
    texts = _as_texts(values, usual)
    open_texts = _as_texts(open_values, usual)
    rarer = int(2 * every.conversions < len(every))
    rates = pd.Series(every.label == rarer).groupby(texts).agg(["size", "mean"])
    sure = rates[(rates["size"] >= _SURE_ROWS) & (rates["mean"] >= _SURE_SHARE)]
    for value, count in sure["size"].items():
        expected = count * len(open_texts) / len(texts)
        if (open_texts == value).sum() < max(1, expected / 2):
            return f"is {value} in {count:,} rows, nearly all of label {rarer}"
    return ""


def _as_texts(values: pd.Series, usual: Any) -> pd.Series:
    """Return values in quotes; where one is usual, only whether they are this one."""
    if usual is None:
        quoted = '"' + values.astype("str") + '"'
        return quoted.astype("object").where(values.notna(), "empty")
    is_usual = values.isna() if pd.isna(usual) else values == usual
    text = "empty" if pd.isna(usual) else f'"{usual}"'
    return is_usual.map({True: text, False: f"not {text}"})
