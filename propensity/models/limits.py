"""
The limits of features in Half-Space Trees, and the draw of thresholds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from propensity.models.forest import Floats, Integers

# Share of a node's width at either end without thresholds (river's padding).
_PADDING = 0.15
# Robust limits: the quantiles around the bulk of a feature, and the room on either side
# for rare values, in widths of the bulk.
_BULK = (0.05, 0.95)
_MARGIN = 1.0


def draw_nodes(
    generator: random.Random,
    limits: Floats,
    *,
    columns: Sequence[int],
    n_trees: int,
    height: int,
) -> tuple[Integers, Floats]:
    """
    Draw the columns and the thresholds of all nodes, in the order of ``Forest``.

    Args:
        generator: Has the numbers of river's, called in the same order.
        limits: Least and greatest value of each column, (F, 2).
        columns: The columns, in the order for the draw.
    """
    features = np.empty(n_trees * ((1 << height) - 1), dtype=np.intp)
    thresholds = np.empty(len(features))
    box = {column: tuple(limits[column].tolist()) for column in columns}
    # Of the box; a split changes one of them.
    widths = [high - low for low, high in box.values()]
    order = {column: number for number, column in enumerate(columns)}

    def split(depth: int, node: int) -> None:
        if depth == height:
            return
        column = generator.choices(columns, weights=widths)[0]
        low, high = box[column]
        padding = _PADDING * (high - low)
        threshold = generator.uniform(low + padding, high - padding)
        place = n_trees * ((1 << depth) - 1) + node
        features[place], thresholds[place] = column, threshold
        for is_below, side in ((1, (low, threshold)), (0, (threshold, high))):
            box[column] = side
            widths[order[column]] = side[1] - side[0]
            split(depth + 1, 2 * node + is_below)
        box[column] = low, high
        widths[order[column]] = high - low

    for tree in range(n_trees):
        split(0, tree)
    return features, thresholds


def named_limits(limits: Mapping[Any, Any], names: Iterable[Any]) -> Floats:
    """Return the limits of features (F, 2) from limits by name; else 0 and 1."""
    by_name: dict[Any, tuple[float, float]] = dict.fromkeys(names, (0.0, 1.0))
    for name, (low, high) in limits.items():
        if name not in by_name:
            raise ValueError(
                f"limits has {name!r}, which is not among the features: "
                f"{', '.join(map(repr, by_name))}"
            )
        if not (math.isfinite(high - low) and low < high):
            raise ValueError(
                f"limits of {name!r} must be a lower and a higher number, got "
                f"{low!r} and {high!r}"
            )
        by_name[name] = float(low), float(high)
    return np.array(list(by_name.values()))


def robust_limits(rows: Floats) -> Floats:
    """Return limits of features (F, 2) that a few absurd values hardly change."""
    return np.array([_robust_range(column[~np.isnan(column)]) for column in rows.T])


def _robust_range(values: Floats) -> tuple[float, float]:
    """Return the limits of a feature; 0 and 1 without values."""
    if len(values) == 0:
        return 0.0, 1.0
    low, high = np.quantile(values, _BULK).tolist()
    if low < high:
        margin = _MARGIN * (high - low)
        return max(low - margin, values.min()), min(high + margin, values.max())
    # Nearly all values are equal: limits are those of the others.
    others = values[values != low]
    if len(others) == 0:
        return low - 0.5, low + 0.5
    least, greatest = _robust_range(others)
    return min(low, least), max(low, greatest)


def scale(rows: Floats, low: Floats, high: Floats) -> Floats:
    """
    Scale rows as river's MinMaxScaler does, to the last bit.

    Args:
        rows: Rows (n, F).
        low: Least values, (F,) or for each row its own (n, F).
        high: Greatest values, likewise.

    Returns:
        Values, in [0, 1] within the limits; 0 if there is no width; NaN only for
        missing values.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        width = high - low
        values = np.where(width == 0, 0.0, (rows - low) / width)
    # River has NaN for a feature without limits yet, which is above every threshold.
    values[np.isnan(values)] = np.inf
    values[np.isnan(rows)] = np.nan
    return values
