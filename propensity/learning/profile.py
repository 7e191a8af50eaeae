"""
The description of the rows of a training, in plain values.

Nothing shows a single user: histograms end at quantiles. Rows are not weighted, but for
the shares of label 1: of sampled rows there would be too many.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from propensity.ids import INEXACT
from propensity.models.encoding import Floats, floats_of
from propensity.usecases import NUMBER

BINS = 16
# Quantiles at which a histogram ends; what lies beyond counts in its last bins.
HISTOGRAM_QUANTILES = (0.01, 0.98)
# Rows sampled for all but counts: the error of a correlation is then below 0.01.
SAMPLED_ROWS = 20_000


def described(rows: pa.Table, features: Mapping[str, str]) -> dict[str, object]:
    """
    Describe a training data set in plain values.

    Returns:
        - ``rows``, ``users``, ``conversions``: counts; ``stand_for``: sum of weights.
        - ``dates``: of each, its labelled ``rows`` and ``conversions``, and the
          weighted ``share`` of label 1; None without labels.
        - ``numbers``: ``feature``, ``missing`` and ``zeros`` (shares), ``quartiles``,
          ``correlation`` with the label (Spearman's), and a histogram: ``edges``, and
          shares by bin of the rows of label 1, ``positive``, and of the others,
          ``negative``; None without values.
    """
    labels = floats_of(rows["label"])
    weight = floats_of(rows["weight"])
    frame = rows
    sampled = labels
    if len(rows) > SAMPLED_ROWS:
        generator = np.random.default_rng(0)
        drawn = generator.choice(len(rows), SAMPLED_ROWS, replace=False)
        frame = rows.take(pa.array(drawn))
        sampled = labels[drawn]
    numbers = dict[str, Floats]()
    for name, kind in features.items():
        if kind == NUMBER:
            numbers[name] = floats_of(frame[name])
    # Spearman's, but for gaps: a column is ranked once, over its own values.
    spearman = pd.DataFrame({**numbers, "": sampled}).rank().corr().round(6)
    profiles = []
    for name, values in numbers.items():
        correlation = spearman.loc[name, ""]
        entry = _number(name, values, sampled)
        entry["correlation"] = None if np.isnan(correlation) else float(correlation)
        profiles.append(entry)
    return {
        "rows": len(rows),
        "users": pc.count_distinct(rows["user_id"]).as_py(),
        "conversions": int(np.nansum(labels)),
        "stand_for": round(float(weight.sum())),
        "dates": _dates(rows, labels, weight),
        "numbers": profiles,
    }


def _dates(rows: pa.Table, labels: Floats, weight: Floats) -> list[dict[str, object]]:
    """Return the labelled rows of each date, (rows,), and their share of label 1."""
    is_known = ~np.isnan(labels)
    frame = pd.DataFrame(
        {
            "as_of": rows["as_of"].to_pandas(),
            "rows": is_known,
            "conversions": labels == 1,
            "weight": weight * is_known,
            "weight_of_conversions": weight * (labels == 1),
        }
    )
    days = []
    for as_of, sums in frame.groupby("as_of").sum().iterrows():
        share = None
        if sums["weight"]:
            share = float(sums["weight_of_conversions"] / sums["weight"])
        day = {
            "as_of": as_of,
            "rows": int(sums["rows"]),
            "conversions": int(sums["conversions"]),
            "share": share,
        }
        days.append(day)
    return days


def _number(name: str, values: Floats, labels: Floats) -> dict[str, object]:
    finite = values[np.isfinite(values)]
    count = max(len(values), 1)
    entry: dict[str, object] = {
        "feature": name,
        "missing": round(1 - len(finite) / count, 6),
        "zeros": round(float(np.sum(values == 0)) / count, 6),
        "quartiles": None,
        "edges": None,
    }
    if not len(finite):
        return entry
    edges = _edges(finite)
    # Values beyond the edges count in the last bins, a last whole number in its own.
    inside = np.clip(values, edges[0], np.nextafter(edges[-1], -np.inf))
    for side, label in (("negative", 0), ("positive", 1)):
        of_label = inside[(labels == label) & np.isfinite(values)]
        counts, _ = np.histogram(of_label, edges)
        shares = (counts / max(counts.sum(), 1)).tolist()
        entry[side] = [round(share, 4) for share in shares]
    quartiles = np.quantile(finite, [0.25, 0.5, 0.75])
    return entry | {"quartiles": quartiles.tolist(), "edges": edges.tolist()}


def _edges(finite: Floats) -> Floats:
    """Return the edges of bins: one for each of a few whole numbers, or equal ones."""
    low, high = np.quantile(finite, HISTOGRAM_QUANTILES)
    distinct = np.unique(finite[(finite >= low) & (finite <= high)])
    # Two values have none between their quantiles; integers are exact below 2^53.
    is_whole = len(distinct) > 0 and np.all(distinct == np.floor(distinct))
    is_exact = is_whole and abs(distinct).max() < INEXACT
    if is_exact and distinct[-1] - distinct[0] < BINS:
        return np.arange(distinct[0], distinct[-1] + 2)
    end = high if high > low else low + max(1.0, abs(low) * 1e-9)
    return np.linspace(low, end, BINS + 1)
