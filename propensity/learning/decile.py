"""
What the users with the highest probabilities have in common, feature by feature.

A feature's values are cut into bands: fifths of its numbers, or its categories. The
lift of a band is its share of the top tenth over its share of all: 2 means that it is
twice as frequent there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.learning.description import FEWEST_USERS
from propensity.learning.metrics import NORMAL

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

TOP = 0.1
MISSING, OTHERS = "missing", "all others"
_BANDS = 5


def in_common(
    rows: pa.Table,
    features: Mapping[str, str],
    probability: Floats,
    *,
    weight: Floats,
) -> list[dict[str, Any]]:
    """
    Return the bands of all features, of each feature the highest lift first.

    Returns:
        ``feature``, ``band``, ``rows`` in the band, ``share_top``, ``share_all``,
        ``lift`` with its 95% interval ``low`` to ``high``. Features come by the highest
        lower end among their bands; a band of fewer than ten users, who might be known
        by it, is left out. Empty if no tenth stands out, or there are no rows.
    """
    is_top = _top(probability, weight)
    if is_top.all():
        return []
    by_feature = []
    for name, kind in features.items():
        column = rows[name].combine_chunks()
        bands = _categories(column) if kind == "category" else _fifths(column)
        entries = [
            {"feature": name, "band": band, **_lift(inside, is_top, weight)}
            for band, inside in bands
            if inside.sum() >= FEWEST_USERS
        ]
        by_feature.append(sorted(entries, key=lambda entry: -entry["lift"]))
    by_feature.sort(
        key=lambda entries: -max((entry["low"] for entry in entries), default=0)
    )
    return [entry for entries in by_feature for entry in entries]


def strongest(bands: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the band of each feature that is surest to be more frequent at the top."""
    best: dict[str, dict[str, Any]] = {}
    for entry in bands:
        name = str(entry.get("feature"))
        known = best.setdefault(name, entry)
        if (entry.get("low") or 0.0) > (known.get("low") or 0.0):
            best[name] = entry
    return list(best.values())


def _top(probability: Floats, weight: Floats) -> Booleans:
    """Return which rows are in the top tenth, with all that are as high as its last."""
    if not len(probability):
        return np.ones(0, dtype=np.bool_)
    order = np.argsort(-probability, kind="stable")
    reached = np.cumsum(weight[order]) >= TOP * weight.sum()
    return np.asarray(probability >= probability[order[np.argmax(reached)]])


def _fifths(column: pa.Array) -> Iterator[tuple[str, Booleans]]:
    """Yield the bands of a number: equal ones of its values, and what is missing."""
    values = np.asarray(
        pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    )
    is_gap = np.isnan(values)
    if is_gap.any():
        yield MISSING, is_gap
    known = values[~is_gap]
    if not len(known):
        return
    inner = np.quantile(known, np.arange(1, _BANDS) / _BANDS, method="inverted_cdf")
    edges = np.unique(inner[inner < known.max()])
    place = np.searchsorted(edges, values, side="left")
    for band in range(len(edges) + 1):
        inside = (place == band) & ~is_gap
        least, most = values[inside].min(), values[inside].max()
        ends = dict.fromkeys((_written(least), _written(most)))
        yield " to ".join(ends), inside


def _written(value: float) -> str:
    """Write an end of a band: a million in digits, as people do."""
    if 1e6 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    # Without the sign of -0.0.
    return f"{value + 0.0:g}"


def _categories(column: pa.Array) -> Iterator[tuple[str, Booleans]]:
    """Yield the values of a category; rare ones together, since one may be a person."""
    coded = pc.dictionary_encode(column.cast(pa.string()))
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    rest = np.zeros(len(codes), dtype=np.bool_)
    for code, value in enumerate(coded.dictionary.to_pylist()):
        inside = codes == code
        if inside.sum() >= FEWEST_USERS:
            yield value, inside
        else:
            rest |= inside
    if rest.any():
        yield OTHERS, rest
    if (codes < 0).any():
        yield MISSING, codes < 0


def _lift(inside: Booleans, is_top: Booleans, weight: Floats) -> dict[str, Any]:
    """
    Return shares and lift of a band.

    The interval is that of the logarithm, by the delta method: the share of all is that
    of the top and of the rest together, so it varies with both. Half a row more on
    either side keeps it finite for a band that the top lacks. Weighted rows count as
    the number of equal ones that says as much.

    Source:
        D. Katz et al., "Obtaining confidence intervals for the risk ratio in cohort
        studies", Biometrics 34, 1978; L. Kish, "Survey Sampling", 1965, for the number.
    """
    total, top = weight.sum(), weight[is_top].sum() / weight.sum()
    share = float(weight[inside].sum() / total)
    share_top = float(weight[inside & is_top].sum() / (top * total))
    size_top, size_rest = (
        float(weight[side].sum() ** 2 / (weight[side] ** 2).sum())
        for side in (is_top, ~is_top)
    )
    rest = (share - top * share_top) / (1 - top)
    first = (share_top * size_top + 0.5) / (size_top + 1)
    other = (max(rest, 0.0) * size_rest + 0.5) / (size_rest + 1)
    both = top * first + (1 - top) * other
    variance = (1 / first - top / both) ** 2 * first * (1 - first) / size_top
    variance += ((1 - top) / both) ** 2 * other * (1 - other) / size_rest
    factor = float(np.exp(NORMAL * np.sqrt(variance)))
    lift, middle = share_top / share, first / both
    return {
        "rows": int(inside.sum()),
        "share_top": share_top,
        "share_all": share,
        "lift": lift,
        "low": float(min(lift, middle / factor)),
        # A band that is wholly in the top tenth is ten times as frequent there.
        "high": float(max(lift, min(middle * factor, 1 / top))),
    }
