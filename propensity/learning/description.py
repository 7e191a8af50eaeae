"""
Figures of a training data set, for the charts of a report.

Shares, means, quartiles and rates use the weights of rows, so that a data set with
sampled negatives is described as the population behind it. Numbers of rows and users
are those of the data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 20
# Values of a category shown on their own; the others are pooled.
TOP_VALUES = 8
# A value with fewer users is pooled, and has no rate: a rare value may be a single
# person.
FEWEST_USERS = 10
# Features whose correlations with each other are kept, at most: of two thousand they
# would be 40 MB of a card.
CORRELATED_FEATURES = 100
# Rows sampled for rank correlations: their error is then below 0.01.
CORRELATION_ROWS = 20_000

# Integers up to here are exact in float64.
_EXACT_INTEGER = 2.0**53
# Span of a logarithmic histogram; smaller values fall into its first bin.
_LOG_SPAN = 1e9


def describe(rows: pa.Table, features: Mapping[str, str]) -> dict[str, Any]:
    """
    Describe a training data set without showing a single user.

    Args:
        rows: N rows with ``as_of``, ``user_id``, the features, the label (0, 1 or null)
            and, optionally, ``weight``.
        features: ``number`` or ``category`` by feature name.

    Returns:
        A JSON-serialisable dictionary; a figure that does not exist is None.

        - ``rows``, ``users``, ``conversions``: counts. ``base_rate``: share of label 1.
        - ``is_weighted``: whether rows count differently.
        - ``as_ofs``: ``as_of``, ``rows``, ``conversions``, ``base_rate`` by date.
        - ``numbers``: by feature ``missing``, ``infinite`` and ``zeros`` (shares of all
          rows); ``min``, ``q25``, ``median``, ``q75``, ``max`` (observed values) and
          ``mean`` of the finite ones; ``label_correlation``; ``histogram``.
        - A histogram has a ``scale``, B + 1 ``edges`` in the feature's unit, and B
          shares of the finite values: of all rows (``share``) and within each label
          (``share_0``, ``share_1``). Bins hold their lower edge; the last one holds
          both. Scales are ``constant``, ``integer`` (a bin a value), ``linear``,
          ``log`` (zeros in a bin of their own) and ``symmetric log``.
        - ``categories``: by feature ``missing``, ``n_values``, ``values`` (``value``,
          ``rows``, ``share``, ``rate`` of label 1) and ``rest``, the pooled others
          (``n_values``, ``rows``, ``share``, ``rate``) or None.
        - ``correlations``: ``features``, ``matrix`` of Spearman's correlations and
          the number of ``rows`` sampled for them; of more than CORRELATED_FEATURES
          those that correlate most with the label. Rows are not weighted here. A
          column is ranked once, over its own values, and a pair of columns compared
          where both have one; without missing values that is Spearman's coefficient.
        - ``fewest_users``: users that a value of a category needs to be shown.

    Raises:
        ValueError: A column is missing, or a feature is of an unknown kind.
    """
    _check(rows, features)
    n = rows.num_rows
    labels = _floats(rows["label"])
    weights = (
        np.nan_to_num(_floats(rows["weight"]))
        if "weight" in rows.column_names
        else np.ones(n)
    )
    users = _codes(rows["user_id"])[0]
    numbers = {f: _floats(rows[f]) for f, kind in features.items() if kind == "number"}
    matrix, sampled = _correlations([*numbers.values(), labels])
    nearest = _nearest(matrix[:-1, -1])
    return {
        "rows": n,
        "users": len(np.unique(users[users >= 0])),
        "conversions": int(np.sum(labels == 1)),
        "base_rate": _rate(labels, weights),
        "is_weighted": bool(n) and bool(np.any(weights != weights[0])),
        "fewest_users": FEWEST_USERS,
        "as_ofs": _dates(rows["as_of"], labels, weights),
        "numbers": [
            {
                "feature": name,
                **_number(values, labels, weights),
                "label_correlation": _finite(matrix[i, -1]),
            }
            for i, (name, values) in enumerate(numbers.items())
        ],
        "categories": [
            {"feature": name, **_category(rows[name], labels, weights, users)}
            for name, kind in features.items()
            if kind == "category"
        ],
        "correlations": {
            "features": [list(numbers)[i] for i in nearest],
            "matrix": [
                [_finite(r) for r in row] for row in matrix[np.ix_(nearest, nearest)]
            ],
            "rows": sampled,
        },
    }


def _check(rows: pa.Table, features: Mapping[str, str]) -> None:
    names = ["as_of", "user_id", "label", *features]
    missing = [name for name in names if name not in rows.column_names]
    if missing:
        raise ValueError(
            f"rows lack {', '.join(missing)}; they have {', '.join(rows.column_names)}"
        )
    unknown = {f: kind for f, kind in features.items() if kind not in _KINDS}
    if unknown:
        raise ValueError(f"features are {' or '.join(_KINDS)}, found {unknown}")


_KINDS = ("number", "category")


def _dates(as_of: pa.ChunkedArray, labels: Floats, weights: Floats) -> list[Any]:
    """Count rows and conversions by date, the oldest first."""
    if not pa.types.is_string(as_of.type):
        as_of = pc.cast(as_of, pa.date32())
    codes, dates = _codes(as_of)
    of_date = [codes == code for code in range(len(dates))]
    days = [
        {
            "as_of": date,
            "rows": int(np.sum(here)),
            "conversions": int(np.sum(labels[here] == 1)),
            "base_rate": _rate(labels[here], weights[here]),
        }
        for date, here in zip(dates, of_date, strict=True)
    ]
    return sorted(days, key=lambda row: str(row["as_of"]))


def _number(values: Floats, labels: Floats, weights: Floats) -> dict[str, Any]:
    missing = np.isnan(values)
    finite = np.isfinite(values)
    there, w, y = values[finite], weights[finite], labels[finite]
    described: dict[str, Any] = {
        "missing": _share(missing, weights),
        "infinite": _share(~finite & ~missing, weights),
        "zeros": _share(values == 0, weights),
    }
    total = w.sum()
    if total <= 0:
        nothing = ("min", "q25", "median", "q75", "max", "mean", "histogram")
        return described | dict.fromkeys(nothing)
    quartiles = np.quantile(
        there,
        [0.25, 0.5, 0.75],
        method="inverted_cdf",
        weights=None if np.all(w == w[0]) else w,
    )
    with np.errstate(over="ignore"):
        mean = np.sum(there * (w / total))
    lowest, highest = there.min(), there.max()
    scale, edges = _bins(there, lowest, highest)
    bins = np.searchsorted(edges[1:-1], there, side="right")
    return described | {
        "min": float(lowest),
        **dict(zip(("q25", "median", "q75"), map(float, quartiles), strict=True)),
        "max": float(highest),
        "mean": _finite(mean, digits=None),
        "histogram": {
            "scale": scale,
            "edges": [float(edge) for edge in edges],
            "share": _shares(bins, w, len(edges) - 1),
            "share_0": _shares(bins, w * (y == 0), len(edges) - 1),
            "share_1": _shares(bins, w * (y == 1), len(edges) - 1),
        },
    }


def _bins(values: Floats, lowest: float, highest: float) -> tuple[str, Floats]:
    """
    Choose a scale on which values spread, and its edges.

    The scale is linear unless more than half of the values other than zero fall into
    the same bin, as with amounts and counts.
    """
    if lowest == highest:
        return "constant", np.array([lowest, highest])
    is_whole = max(-lowest, highest) < _EXACT_INTEGER and bool(
        np.all(values == np.floor(values))
    )
    if is_whole and highest - lowest < BINS:
        return "integer", np.arange(lowest, highest + 2)
    with np.errstate(over="ignore"):
        span = highest - lowest
    others = values[values != 0]
    if np.isfinite(span):
        width = np.ceil((span + 1) / BINS) if is_whole else span / BINS
        edges = np.minimum(lowest + width * np.arange(BINS + 1), highest)
        edges = np.unique(np.append(edges, highest))
        crowd = np.bincount(np.searchsorted(edges[1:-1], others, side="right"))
        if lowest < 0:
            # An edge at zero may halve the crowd around it.
            crowd = np.convolve(crowd, [1, 1])
        if crowd.max() <= len(others) / 2:
            return "linear", edges
    if lowest >= 0:
        smallest = max(float(others.min()), highest / _LOG_SPAN)
        # Zeros have their own bin, so the others have one bin less.
        edges = np.geomspace(smallest, highest, BINS if lowest == 0 else BINS + 1)
        if is_whole:
            edges = np.ceil(edges)
        edges[0], edges[-1] = smallest if lowest < smallest else lowest, highest
        start = [lowest] if lowest < smallest else []
        return "log", np.unique(np.append(start, edges))
    size = np.abs(others)
    middle = np.quantile(size, 0.5, method="inverted_cdf")
    unit = max(float(middle), float(size.max()) / _LOG_SPAN)
    edges = unit * np.sinh(
        np.linspace(np.arcsinh(lowest / unit), np.arcsinh(highest / unit), BINS + 1)[
            1:-1
        ]
    )
    return "symmetric log", np.unique(np.concatenate([[lowest], edges, [highest]]))


def _category(
    column: pa.ChunkedArray,
    labels: Floats,
    weights: Floats,
    users: NDArray[np.int64],
) -> dict[str, Any]:
    codes, values = _codes(column)
    n = len(values)
    there = codes >= 0
    known = there & ~np.isnan(labels)
    of_value = codes[there]
    counts = np.bincount(of_value, minlength=n)
    weight = np.bincount(of_value, weights[there], minlength=n)
    labelled = np.bincount(codes[known], weights[known], minlength=n)
    positive = np.bincount(
        codes[known], weights[known] * (labels[known] == 1), minlength=n
    )
    # Pairs of user and value as a number; rows without a user share the user -1.
    n_users = int(users.max(initial=-1)) + 2
    pairs = np.unique(of_value * n_users + users[there] + 1)
    value_of_pair, user_of_pair = np.divmod(pairs, n_users)
    distinct = np.bincount(value_of_pair, minlength=n)
    order = np.lexsort((np.arange(n), -counts))
    shown = [int(i) for i in order if distinct[i] >= FEWEST_USERS][:TOP_VALUES]
    pooled = np.ones(n, dtype=bool)
    pooled[shown] = False
    total = weights.sum()

    def figures(chosen: Any, by_users: int) -> dict[str, Any]:
        base = labelled[chosen].sum()
        return {
            "rows": int(counts[chosen].sum()),
            "share": _finite(weight[chosen].sum() / total) if total > 0 else None,
            "rate": _finite(positive[chosen].sum() / base)
            if base > 0 and by_users >= FEWEST_USERS
            else None,
        }

    others = len(np.unique(user_of_pair[pooled[value_of_pair]]))
    return {
        "missing": _share(~there, weights),
        "n_values": n,
        "values": [{"value": values[i], **figures([i], distinct[i])} for i in shown],
        "rest": {"n_values": n - len(shown), **figures(pooled, others)}
        if n > len(shown)
        else None,
    }


def _correlations(columns: list[Floats]) -> tuple[Floats, int]:
    """
    Correlate the ranks of columns, pair by pair where both have a value.

    Returns:
        Matrix, NaN for a pair with less than three common rows or a constant; and the
        number of rows in the sample, which is the same for the same number of rows.
    """
    n = len(columns[0])
    if n > CORRELATION_ROWS:
        sample = np.random.default_rng(0).choice(n, CORRELATION_ROWS, replace=False)
        columns = [column[sample] for column in columns]
    ranks = np.stack([_ranks(column) for column in columns], axis=1)
    there = ~np.isnan(ranks)
    ranks[~there] = 0.0
    mask = there.astype(np.float64)
    common = mask.T @ mask
    sums = ranks.T @ mask
    squares = (ranks**2).T @ mask
    # n times the sums of squared deviations, each over the rows the pair shares.
    spread = common * squares - sums**2
    together = common * (ranks.T @ ranks) - sums * sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = together / np.sqrt(np.maximum(spread, 0) * np.maximum(spread.T, 0))
    flat = spread <= 1e-9 * np.maximum(common, 1) ** 2
    matrix[flat | flat.T | (common < 3)] = np.nan
    return np.clip(matrix, -1, 1), len(ranks)


def _nearest(label_correlation: Floats) -> list[int]:
    """Return the places of those that correlate most with the label, in order."""
    strength = np.nan_to_num(np.abs(label_correlation))
    order = np.argsort(-strength, kind="stable")[:CORRELATED_FEATURES]
    return sorted(order.tolist())


def _ranks(values: Floats) -> Floats:
    """Rank values into (-1/2, 1/2], ties by their mean rank, NaN for NaN."""
    there = ~np.isnan(values)
    ranks = np.full(len(values), np.nan)
    _, place, counts = np.unique(values[there], return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    ranks[there] = mean_rank[place] / max(int(there.sum()), 1) - 0.5
    return ranks


def _floats(column: pa.ChunkedArray) -> Floats:
    """Convert booleans, integers, decimals or floats to float64, NaN for null."""
    values = pc.cast(column, pa.float64(), safe=False).combine_chunks()
    floats: Floats = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return floats


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Return a code for each row, -1 for null, and the values of the codes as text."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    encoded = pc.cast(column, pa.string()).combine_chunks().dictionary_encode()
    codes = pc.fill_null(pc.cast(encoded.indices, pa.int64()), -1)
    return codes.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()


def _rate(labels: Floats, weights: Floats) -> float | None:
    known = ~np.isnan(labels)
    total = weights[known].sum()
    if total <= 0:
        return None
    return _finite(np.sum(weights[known] * (labels[known] == 1)) / total)


def _share(which: NDArray[np.bool_], weights: Floats) -> float | None:
    total = weights.sum()
    return _finite(np.sum(weights[which]) / total) if total > 0 else None


def _shares(
    bins: NDArray[np.int64], weights: Floats, n: int
) -> list[float | None] | None:
    total = weights.sum()
    if total <= 0:
        return None
    return [_finite(w / total) for w in np.bincount(bins, weights, minlength=n)]


def _finite(value: Any, *, digits: int | None = 6) -> float | None:
    """Return a number for JSON: rounded, or None for NaN and infinity."""
    number = float(value)
    if not np.isfinite(number):
        return None
    return number if digits is None else round(number, digits)
