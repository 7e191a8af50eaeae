"""
Where Half-Space Trees draw thresholds: the limits of features, and the draw itself.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from propensity.models.forest import Floats, Integers

# Of a node's width, at either end: no threshold is drawn there (river's padding).
_PADDING = 0.15
# Robust limits: the quantiles that bound the bulk of a feature, and how many widths of
# the bulk they leave on either side for what is rare.
_BULK = (0.05, 0.95)
_MARGIN = 1.0


def drawn(
    generator: random.Random,
    limits: Floats,
    *,
    columns: Sequence[int],
    n_trees: int,
    height: int,
) -> tuple[Integers, Floats]:
    """
    Draw the columns and the thresholds of all nodes, ordered as a forest has them.

    Args:
        generator: Gives the numbers that river's would, called in the same order.
        limits: Least and greatest value of each column, (F, 2).
        columns: The columns, in the order in which they are drawn from.
        n_trees: Number of trees.
        height: Number of splits on the way to a leaf.
    """
    features = np.empty(n_trees * ((1 << height) - 1), dtype=np.intp)
    thresholds = np.empty(len(features))
    box = {column: tuple(limits[column].tolist()) for column in columns}

    def split(depth: int, node: int) -> None:
        if depth == height:
            return
        widths = [high - low for low, high in box.values()]
        column = generator.choices(columns, weights=widths)[0]
        low, high = box[column]
        padding = _PADDING * (high - low)
        threshold = generator.uniform(low + padding, high - padding)
        place = n_trees * ((1 << depth) - 1) + node
        features[place], thresholds[place] = column, threshold
        for is_below, side in ((1, (low, threshold)), (0, (threshold, high))):
            box[column] = side
            split(depth + 1, 2 * node + is_below)
        box[column] = low, high

    for tree in range(n_trees):
        split(0, tree)
    return features, thresholds


def given_limits(limits: Mapping[Any, Any], names: Iterable[Any]) -> Floats:
    """Return the limits of features (F, 2) from those given by name; else 0 and 1."""
    found: dict[Any, tuple[float, float]] = dict.fromkeys(names, (0.0, 1.0))
    for name, (low, high) in limits.items():
        if name not in found:
            raise ValueError(
                f"limits has {name!r}, which is not among the features: "
                f"{', '.join(map(repr, found))}"
            )
        if not (math.isfinite(high - low) and low < high):
            raise ValueError(
                f"limits of {name!r} must be a lower and a higher number, got "
                f"{low!r} and {high!r}"
            )
        found[name] = float(low), float(high)
    return np.array(list(found.values()))


def robust_limits(rows: Floats) -> Floats:
    """Return limits of features (F, 2) that a few absurd values do not change much."""
    return np.array([_robust_range(column[~np.isnan(column)]) for column in rows.T])


def _robust_range(values: Floats) -> tuple[float, float]:
    """Return the limits of one feature; 0 and 1 where there is no value."""
    if len(values) == 0:
        return 0.0, 1.0
    low, high = np.quantile(values, _BULK).tolist()
    if low < high:
        margin = _MARGIN * (high - low)
        return max(low - margin, values.min()), min(high + margin, values.max())
    # Nearly all values are one: what the others are is what can be told apart.
    others = values[values != low]
    if len(others) == 0:
        return low - 0.5, low + 0.5
    least, greatest = _robust_range(others)
    return min(low, least), max(low, greatest)


def scaled(rows: Floats, low: Floats, high: Floats) -> Floats:
    """
    Scale rows as river's MinMaxScaler does, to the last bit.

    Args:
        rows: Rows (n, F).
        low: Least values, (F,) or for each row its own (n, F).
        high: Greatest values, likewise.

    Returns:
        Values in [0, 1] for those within the limits; 0 where there is no width; NaN
        only for missing ones.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        width = high - low
        scaled = np.where(width == 0, 0.0, (rows - low) / width)
    # What river makes NaN (a feature without limits yet) is above every threshold.
    scaled[np.isnan(scaled)] = np.inf
    scaled[np.isnan(rows)] = np.nan
    return scaled
