"""
The data set of a training, described: for the page of a version.

Nothing of it shows a single user: histograms end at quantiles, and a value of a
category that fewer than ten users have is pooled. Rows are not weighted.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.ids import INEXACT
from propensity.models.encoding import numbers_of
from propensity.usecases import NUMBER

Floats = NDArray[np.float64]

BINS = 16
# Quantiles at which a histogram ends; what lies beyond counts in its last bins.
_ENDS = (0.01, 0.98)
# Values of a category shown on their own; the others are pooled.
_VALUES = 8
# A rarer value may be a single person.
FEWEST_USERS = 10
# Pairs of features that correlate most.
_PAIRS = 12
# Rows sampled for all but counts: the error of a correlation is then below 0.01.
_ROWS = 20_000


def described(rows: pa.Table, features: Mapping[str, str]) -> dict[str, Any]:
    """
    Describe a training data set.

    Args:
        rows: ``as_of``, ``user_id``, the features and the label (0, 1 or null).
        features: ``number`` or ``category`` by feature name.

    Returns:
        Plain values:

        - ``rows``, ``users``, ``conversions``: counts; ``dates``: ``as_of``, ``rows``
          and ``conversions`` of each.
        - ``numbers``: ``feature``, ``missing`` and ``zeros`` (shares), ``quartiles``,
          ``correlation`` with the label (Spearman's), and a histogram: ``edges``, and
          shares by bin of the rows of label 1, ``positive``, and of the others,
          ``negative``; None without values.
        - ``categories``: ``feature``, ``missing``, ``values`` (``value``, ``share``,
          ``rate`` of label 1).
        - ``correlations``: the pairs of numbers that correlate most.
    """
    labels = numbers_of(rows["label"])
    dates = rows.select(["as_of", "label"]).group_by("as_of")
    counted = dates.aggregate([("label", "count"), ("label", "sum")])
    frame, sampled = rows, labels
    if len(rows) > _ROWS:
        places = np.random.default_rng(0).choice(len(rows), _ROWS, replace=False)
        frame, sampled = rows.take(pa.array(places)), labels[places]
    numbers = {
        name: numbers_of(frame[name])
        for name, kind in features.items()
        if kind == NUMBER
    }
    # Spearman's, but for gaps: a column is ranked once, over its own values.
    spearman = pd.DataFrame({**numbers, "": sampled}).rank().corr()
    return {
        "rows": len(rows),
        "users": pc.count_distinct(rows["user_id"]).as_py(),
        "conversions": int(np.nansum(labels)),
        "dates": [
            {
                "as_of": str(row["as_of"]),
                "rows": row["label_count"],
                "conversions": row["label_sum"] or 0,
            }
            for row in counted.sort_by("as_of").to_pylist()
        ],
        "numbers": [
            {
                "feature": name,
                **_number(values, sampled),
                "correlation": _finite(spearman.loc[name, ""]),
            }
            for name, values in numbers.items()
        ],
        "categories": [
            {"feature": name, **_category(frame[name], frame["user_id"], sampled)}
            for name, kind in features.items()
            if kind != NUMBER
        ],
        "correlations": _pairs(spearman.drop(index="", columns="")),
    }


def _number(values: Floats, labels: Floats) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    entry: dict[str, Any] = {
        "missing": _finite(1 - len(known) / max(len(values), 1)),
        "zeros": _finite(np.sum(values == 0) / max(len(values), 1)),
        "quartiles": None,
        "edges": None,
    }
    if not len(known):
        return entry
    low, high = np.quantile(known, _ENDS)
    distinct = np.unique(known[(known >= low) & (known <= high)])
    # Of two values none is between the quantiles; whole numbers are exact below 2^53.
    is_whole = len(distinct) > 0 and np.all(distinct == np.floor(distinct))
    is_exact = is_whole and abs(distinct).max() < INEXACT
    if is_exact and distinct[-1] - distinct[0] < BINS:
        edges = np.arange(distinct[0], distinct[-1] + 2)
    else:
        end = high if high > low else low + max(1.0, abs(low) * 1e-9)
        edges = np.linspace(low, end, BINS + 1)
    for name, label in (("negative", 0), ("positive", 1)):
        of_label = values[(labels == label) & np.isfinite(values)]
        # What lies beyond counts in the last bins, and a last whole number in its own.
        last = np.nextafter(edges[-1], -np.inf)
        counts, _ = np.histogram(np.clip(of_label, edges[0], last), edges)
        entry[name] = [round(float(n), 4) for n in counts / max(counts.sum(), 1)]
    quartiles = np.quantile(known, [0.25, 0.5, 0.75])
    return entry | {"quartiles": quartiles.tolist(), "edges": edges.tolist()}


def _category(
    column: pa.ChunkedArray, user: pa.ChunkedArray, labels: Floats
) -> dict[str, Any]:
    frame = pd.DataFrame(
        {
            "value": column.cast(pa.string()).to_pandas(),
            "user": user.to_pandas(),
            "label": labels,
        }
    )
    counts = frame.groupby("value").agg(
        rows=("user", "size"), users=("user", "nunique"), rate=("label", "mean")
    )
    shown = counts[counts["users"] >= FEWEST_USERS].nlargest(_VALUES, "rows")
    return {
        "missing": _finite(frame["value"].isna().mean()) if len(frame) else None,
        "distinct": len(counts),
        "values": [
            {
                "value": str(value),
                "share": _finite(row["rows"] / len(frame)),
                "rate": _finite(row["rate"]),
            }
            for value, row in shown.iterrows()
        ],
    }


def _pairs(correlations: pd.DataFrame) -> list[dict[str, Any]]:
    pairs = [
        (first, second, float(correlations.loc[first, second]))
        for first, second in combinations(correlations.columns, 2)
    ]
    known = [pair for pair in pairs if np.isfinite(pair[2])]
    known.sort(key=lambda pair: -abs(pair[2]))
    return [
        {"features": [first, second], "correlation": round(value, 4)}
        for first, second, value in known[:_PAIRS]
    ]


def _finite(value: Any) -> float | None:
    number = float(value)
    return round(number, 6) if np.isfinite(number) else None
