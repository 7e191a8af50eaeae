"""
Half-Space Trees: anomaly scores for a stream, without labels, in constant memory.

Random trees halve the space of the features again and again. They are drawn before any
row is counted and never change; they learn the mass of each node, which is the number
of its rows in the last full window. A row is anomalous where mass is low.

Within a window the scores of leaves are fixed, so many rows are scored at once: they go
down all trees together, depth by depth, and a score is a gather and a sum. Masses are
integers below 2**53, so the size of a chunk changes no bit of a score.

Source:
    S. C. Tan, K. M. Ting and T. F. Liu, "Fast Anomaly Detection for Streaming Data",
    IJCAI 2011, pages 1511-1516; as implemented in river 0.26, to the last bit, with
    its deviations from the paper:

    - the limits of a feature are given, not drawn around its values;
    - a node splits a feature drawn in proportion to the width left of it, at a
      threshold drawn from the middle 70 % of that (paper: any feature, half-way);
    - a score sums mass times 2**depth over all nodes down to the one where the search
      stops (paper: that one alone), and is scaled to [0, 1] and turned over;
    - a row without a node's feature follows the child that is heavier so far in the
      current window (paper: nothing is missing).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

# Share of a node's width at either end without thresholds (river's padding).
_PADDING = 0.15
# Share of a window: the search stops at a node of less mass (the paper's sizeLimit).
_SIZE_LIMIT = 0.1
# Robust limits: the quantiles around the bulk of a feature, and the room on either side
# for rare values, in widths of the bulk.
_BULK = (0.05, 0.95)
_MARGIN = 1.0
# Rows that go down the trees together; their data then fit into the cache.
_BLOCK = 1_024
_EXACT_INTEGER = 2**53


class HalfSpaceTrees(BaseEstimator):  # type: ignore[misc]
    """
    Score rows by the emptiness of the space around them.

    ``fit`` on the past, then ``score_and_learn`` new rows. Rows are arrays (n, F) in
    their order; NaN means that a feature is missing. With the same parameters and rows,
    scores are river 0.26's to the last bit, in chunks of any size, once the first
    window is full.

    Nodes of a depth have consecutive numbers, from tree to tree. The children of node
    ``n`` are nodes ``2 n`` (value at or above the threshold) and ``2 n + 1`` (below) of
    the next depth, so that each comparison is a digit of the leaf's number.

    Args:
        height: Number of splits on the way to a leaf; a tree has 2**height leaves.
        window_size: Rows in a window. Scores refer to the last full window.
        limits: The range of thresholds in each feature. ``"robust"``: between the 5 %
            and 95 % quantiles of the rows of ``fit``, and as much again on either side
            if there are values. None: between 0 and 1. Else pairs of numbers, (F, 2).
        random_state: Seed of the trees.

    Attributes:
        limits_: Least and greatest threshold of each feature, (F, 2).
        n_features_in_: Columns of the rows of ``fit``.

    Raises:
        ValueError: From all methods, for an invalid parameter or row.
    """

    def __init__(
        self,
        n_trees: int = 25,
        height: int = 8,
        window_size: int = 250,
        *,
        limits: Any = "robust",
        random_state: int | None = None,
    ) -> None:
        self.n_trees = n_trees
        self.height = height
        self.window_size = window_size
        self.limits = limits
        self.random_state = random_state

    @property
    def is_warm(self) -> bool:
        """Whether a window has been full; before that, all scores are NaN."""
        return hasattr(self, "_leaf_scores")

    def fit(self, x: Any, y: Any = None) -> Self:
        """Forget all, then learn rows (n, F) in their order; ``y`` is ignored."""
        self._check_parameters()
        rows = np.asarray(x, dtype=np.float64)
        self.n_features_in_ = rows.shape[1]
        rows = self._rows(rows)
        if isinstance(self.limits, str):
            self.limits_ = np.array([_robust(column) for column in rows.T])
        elif self.limits is None:
            self.limits_ = np.tile([0.0, 1.0], (self.n_features_in_, 1))
        else:
            self.limits_ = np.asarray(self.limits, dtype=np.float64)
        self._plant()
        # Rows in each leaf in the current window; those of inner nodes are sums.
        self._live = np.zeros(self.n_trees << self.height, dtype=np.intp)
        self._n_live = 0
        if self.is_warm:
            del self._leaf_scores
        # Of earlier windows nothing is left.
        self.score_and_learn(rows[-(self.window_size + len(rows) % self.window_size) :])
        return self

    def score_and_learn(self, x: Any) -> Floats:
        """
        Score each row by the rows before it, then learn it.

        Returns:
            Anomaly scores (n,) from 0 to 1, most anomalous; NaN in the first window.
        """
        rows = self._rows(x)
        scores = np.full(len(rows), np.nan)
        # A row with a gap follows the masses that all rows before it have left.
        gaps = np.flatnonzero(np.isnan(rows).any(axis=1))
        breaks = np.sort(np.concatenate([gaps, gaps + 1, [len(rows)]]))
        start = 0
        while start < len(rows):
            nearest = breaks[np.searchsorted(breaks, start, side="right")]
            stop = min(int(nearest), start + self.window_size - self._n_live)
            leaves = self._leaves(rows[start:stop])
            if self.is_warm:
                scores[start:stop] = self._scores(leaves)
            self._live += np.bincount(leaves.ravel(), minlength=len(self._live))
            self._n_live += stop - start
            if self._n_live == self.window_size:
                self._leaf_scores = self._scored_leaves(self._live)
                self._live, self._n_live = np.zeros_like(self._live), 0
            start = stop
        return scores

    def anomaly_score(self, x: Any) -> Floats:
        """Score rows (n, F) as ``score_and_learn`` does, but learn none of them."""
        rows = self._rows(x)
        if not self.is_warm:
            return np.full(len(rows), np.nan)
        return self._scores(self._leaves(rows))

    def _check_parameters(self) -> None:
        for name in ("n_trees", "height", "window_size"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} must be an integer above 0, got {value!r}")
        if self.n_trees * self.window_size * (2 << self.height) > _EXACT_INTEGER:
            raise ValueError(
                "n_trees * window_size * 2**(height + 1) must be at most 2**53, or "
                f"scores are not exact; got {self.n_trees} * {self.window_size} * "
                f"2**{self.height + 1}"
            )
        if isinstance(self.limits, str) and self.limits != "robust":
            raise ValueError(
                f"limits must be 'robust', None or pairs, got {self.limits!r}"
            )

    def _rows(self, x: Any) -> Floats:
        """Return rows as floats."""
        if not hasattr(self, "n_features_in_"):
            raise ValueError("the trees must be fitted first")
        rows = np.asarray(x, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.n_features_in_:
            raise ValueError(
                f"rows are {rows.shape}, but the trees were fitted on "
                f"{self.n_features_in_} columns"
            )
        if np.isinf(rows).any():
            row, column = np.argwhere(np.isinf(rows))[0].tolist()
            raise ValueError(
                f"row {row} has infinity in column {column}; give NaN if the value is "
                "missing"
            )
        return rows

    def _plant(self) -> None:
        """Draw the trees with river's random numbers, in its order."""
        is_robust = isinstance(self.limits, str)
        unit = np.tile([0.0, 1.0], (self.n_features_in_, 1))
        features, thresholds = _drawn(
            random.Random(self.random_state),
            # Robust limits weigh all features alike, whatever their units.
            unit if is_robust else self.limits_,
            n_trees=self.n_trees,
            height=self.height,
        )
        if is_robust:
            # Scale the thresholds once, and not all values.
            low, high = self.limits_[features].T
            thresholds = (1 - thresholds) * low + thresholds * high
        ends = [self.n_trees * ((1 << depth) - 1) for depth in range(1, self.height)]
        self._depths = [*zip(np.split(features, ends), np.split(thresholds, ends))]  # noqa: B905

    def _leaves(self, rows: Floats) -> Integers:
        """Return the leaves of rows, (n, n_trees); gaps follow the live masses."""
        if len(rows) > _BLOCK:
            blocks = np.split(rows, range(_BLOCK, len(rows), _BLOCK))
            return np.concatenate([self._leaves(block) for block in blocks])
        values = np.ascontiguousarray(rows).ravel()
        has_gaps = bool(np.isnan(values).any())
        offsets = np.arange(0, len(values), rows.shape[1])[:, None]
        nodes: Integers = np.broadcast_to(
            np.arange(self.n_trees), (len(rows), self.n_trees)
        )
        for features, thresholds in self._depths:
            values_at_nodes = values.take(features.take(nodes) + offsets)
            is_below = values_at_nodes < thresholds.take(nodes)
            if has_gaps:
                mass = self._live.reshape(len(features), 2, -1).sum(axis=2)
                is_heavier = mass[:, 1] >= mass[:, 0]
                is_below |= np.isnan(values_at_nodes) & is_heavier[nodes]
            nodes = 2 * nodes + is_below
        return nodes

    def _scores(self, leaves: Integers) -> Floats:
        """Return the scores of rows from their leaves (n, n_trees)."""
        greatest = self.n_trees * self.window_size * ((2 << self.height) - 1)
        scores: Floats = 1 - self._leaf_scores.take(leaves).sum(axis=1) / greatest
        return scores

    def _scored_leaves(self, counts: Integers) -> Floats:
        """Return for each leaf the sum of mass times 2**depth over its path."""
        masses = [counts.astype(np.float64)]
        for _ in range(self.height):
            masses.append(masses[-1][::2] + masses[-1][1::2])
        total = parents = masses.pop()
        for depth in range(1, self.height + 1):
            # Mass only falls on the way down: if the parent's is too low, the search
            # has stopped at the parent or above.
            weight = (parents >= _SIZE_LIMIT * self.window_size) * float(1 << depth)
            parents = masses.pop()
            total = np.repeat(total, 2) + np.repeat(weight, 2) * parents
        return total


def _drawn(
    generator: random.Random, limits: Floats, *, n_trees: int, height: int
) -> tuple[Integers, Floats]:
    """Return the column and the threshold of each node, by depth and tree."""
    features = np.empty(n_trees * ((1 << height) - 1), dtype=np.intp)
    thresholds = np.empty(len(features))
    box = [(low, high) for low, high in limits.tolist()]
    columns: Sequence[int] = range(len(box))

    def split(depth: int, node: int) -> None:
        if depth == height:
            return
        widths = [high - low for low, high in box]
        column = generator.choices(columns, weights=widths)[0]
        low, high = box[column]
        padding = _PADDING * (high - low)
        threshold = generator.uniform(low + padding, high - padding)
        position = n_trees * ((1 << depth) - 1) + node
        features[position], thresholds[position] = column, threshold
        # River draws the side below first.
        for is_below, side in ((1, (low, threshold)), (0, (threshold, high))):
            box[column] = side
            split(depth + 1, 2 * node + is_below)
        box[column] = low, high

    for tree in range(n_trees):
        split(0, tree)
    return features, thresholds


def _robust(column: Floats) -> tuple[float, float]:
    """Return limits of a feature that a few absurd values hardly change."""
    values = column[~np.isnan(column)]
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
    least, greatest = _robust(others)
    return min(low, least), max(low, greatest)
