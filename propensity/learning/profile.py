"""
The data set of a training, described: for the page of a version.

Nothing of it shows a single user: histograms end at quantiles, and a value of a
category that fewer than ten users have is pooled. Rows are not weighted.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from propensity.ids import INEXACT
from propensity.models.encoding import Floats, numbers_of
from propensity.usecases import NUMBER

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


def described(rows: pa.Table, features: Mapping[str, str]) -> dict[str, object]:
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
    dates = pd.DataFrame({"as_of": rows["as_of"].to_pandas(), "label": labels})
    counted = dates.groupby("as_of")["label"].agg(rows="count", conversions="sum")
    frame, sampled = rows, labels
    if len(rows) > _ROWS:
        places = np.random.default_rng(0).choice(len(rows), _ROWS, replace=False)
        frame, sampled = rows.take(pa.array(places)), labels[places]
    numbers, categories = dict[str, Floats](), []
    for name, kind in features.items():
        if kind == NUMBER:
            numbers[name] = numbers_of(frame[name])
        else:
            categories.append(_category(name, frame, sampled))
    # Spearman's, but for gaps: a column is ranked once, over its own values.
    spearman = pd.DataFrame({**numbers, "": sampled}).rank().corr()
    described = []
    for name, values in numbers.items():
        entry = _number(name, values, sampled)
        described.append(entry | {"correlation": _finite(spearman.loc[name, ""])})
    return {
        "rows": len(rows),
        "users": pc.count_distinct(rows["user_id"]).as_py(),
        "conversions": int(np.nansum(labels)),
        "dates": counted.astype(int).reset_index().to_dict("records"),
        "numbers": described,
        "categories": categories,
        "correlations": _pairs(spearman.drop(index="", columns="")),
    }


def _number(name: str, values: Floats, labels: Floats) -> dict[str, object]:
    known = values[np.isfinite(values)]
    entry: dict[str, object] = {
        "feature": name,
        "missing": _finite(1 - len(known) / max(len(values), 1)),
        "zeros": _finite(np.sum(values == 0) / max(len(values), 1)),
        "quartiles": None,
        "edges": None,
    }
    if not len(known):
        return entry
    edges = _edges(known)
    # What lies beyond counts in the last bins, and a last whole number in its own.
    inside = np.clip(values, edges[0], np.nextafter(edges[-1], -np.inf))
    for side, label in (("negative", 0), ("positive", 1)):
        shown = inside[(labels == label) & np.isfinite(values)]
        counts, _ = np.histogram(shown, edges)
        shares = (counts / max(counts.sum(), 1)).tolist()
        entry[side] = [round(share, 4) for share in shares]
    quartiles = np.quantile(known, [0.25, 0.5, 0.75])
    return entry | {"quartiles": quartiles.tolist(), "edges": edges.tolist()}


def _edges(known: Floats) -> Floats:
    """Return the edges of bins: one for each of a few whole numbers, or equal ones."""
    low, high = np.quantile(known, _ENDS)
    distinct = np.unique(known[(known >= low) & (known <= high)])
    # Of two values none is between the quantiles; whole numbers are exact below 2^53.
    is_whole = len(distinct) > 0 and np.all(distinct == np.floor(distinct))
    is_exact = is_whole and abs(distinct).max() < INEXACT
    if is_exact and distinct[-1] - distinct[0] < BINS:
        return np.arange(distinct[0], distinct[-1] + 2)
    end = high if high > low else low + max(1.0, abs(low) * 1e-9)
    return np.linspace(low, end, BINS + 1)


def _category(name: str, rows: pa.Table, labels: Floats) -> dict[str, object]:
    values = rows[name].cast(pa.string()).to_pandas()
    frame = pd.DataFrame({"user": rows["user_id"].to_pandas(), "label": labels})
    counts = frame.groupby(values).agg(
        rows=("user", "size"), users=("user", "nunique"), rate=("label", "mean")
    )
    shown = []
    often = counts[counts["users"] >= FEWEST_USERS].nlargest(_VALUES, "rows")
    for value, row in often.iterrows():
        share, rate = _finite(row["rows"] / len(rows)), _finite(row["rate"])
        shown.append({"value": str(value), "share": share, "rate": rate})
    return {
        "feature": name,
        "missing": _finite(values.isna().mean()) if len(rows) else None,
        "distinct": len(counts),
        "values": shown,
    }


def _pairs(correlations: pd.DataFrame) -> list[dict[str, object]]:
    pairs = []
    for first, second in combinations(correlations.columns, 2):
        value = float(correlations.loc[first, second])
        if np.isfinite(value):
            pairs.append((abs(value), [first, second], round(value, 4)))
    pairs.sort(key=itemgetter(0), reverse=True)
    return [{"features": two, "correlation": value} for _, two, value in pairs[:_PAIRS]]


def _finite(value: Any) -> float | None:
    number = float(value)
    return round(number, 6) if np.isfinite(number) else None
