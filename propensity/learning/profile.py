"""
The features of a training: how their values lie, and how they go with the label.

Nothing shows a single user: a number is divided at tenths of the rows, bins with fewer
than ten users join the one before, and a value of a category stands alone if many users
have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from propensity.learning.rows import Slice
from propensity.learning.task import NUMBER
from propensity.measures.drift import (
    FEWEST_USERS,
    WatchedSignal,
    column_of,
    signal_of,
)
from propensity.models.encoding import Floats

# Rows of which correlations are computed: their error is then below 0.005.
_CORRELATED_ROWS = 50_000


class Distribution(Struct, frozen=True, kw_only=True):
    """
    A feature in the rows that a model has learned from, by weight.

    Attributes:
        bins: Names of its groups of values, without empty ones.
        shares: Of the rows, in each bin.
        rates: The share of label 1 among the rows of each bin.
        correlation: Spearman's, of the rows that have a value, with the label; None of
            a category, and where all values or all labels are the same.
    """

    feature: str
    bins: Sequence[str]
    shares: Sequence[float]
    rates: Sequence[float]
    correlation: float | None = None


def distributions(learned: Slice, features: Mapping[str, str]) -> list[Distribution]:
    """Describe each feature of labelled rows."""
    rows = learned.rows
    sampled = np.arange(len(rows))
    if len(rows) > _CORRELATED_ROWS:
        generator = np.random.default_rng(0)
        sampled = generator.choice(len(rows), _CORRELATED_ROWS, replace=False)
    described = []
    for name, kind in features.items():
        values = column_of(rows, name, kind)
        signal = signal_of(name, values, rows["user_id"], learned.weight)
        signal, users = _with_users(signal, values, rows["user_id"].to_pandas())
        counts = signal.counts(values, learned.weight)
        positives = signal.counts(values, learned.weight * learned.label)
        is_filled = users >= FEWEST_USERS
        shares = counts[is_filled] / counts.sum()
        rates = positives[is_filled] / counts[is_filled]
        correlation = None
        if kind == NUMBER:
            correlation = _spearman(values[sampled], learned.label[sampled])
        distribution = Distribution(
            feature=name,
            bins=list(compress(signal.bins(), is_filled)),
            shares=shares.round(6).tolist(),
            rates=rates.round(6).tolist(),
            correlation=correlation,
        )
        described.append(distribution)
    return described


def _with_users(
    signal: WatchedSignal, values: Any, user: pd.Series
) -> tuple[WatchedSignal, NDArray[np.int64]]:
    """Join a number's bins that few users have; return the users of each bin, too."""
    while True:
        by_bin = user.groupby(signal.places(values)).nunique()
        users = by_bin.reindex(range(len(signal.shares)), fill_value=0).to_numpy()
        few = np.flatnonzero(users[: len(signal.edges) + 1] < FEWEST_USERS)
        if signal.values is not None or not signal.edges or not len(few):
            return signal, users
        edges = list(signal.edges)
        # The first one joins the next.
        del edges[max(few[0] - 1, 0)]
        signal = replace(signal, edges=edges, shares=[0.0] * (len(edges) + 2))


def _spearman(values: Floats, label: NDArray[np.int8]) -> float | None:
    pairs = pd.DataFrame({"value": values, "label": label})
    correlation = float(pairs.corr("spearman").loc["value", "label"])
    return None if np.isnan(correlation) else round(correlation, 4)
