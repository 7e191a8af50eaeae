"""
Half-Space Trees: anomaly scores for a stream, without labels, in constant memory.

Random trees halve the space of the features again and again. They are drawn before any
row is counted and never change; they learn the mass of each node, which is the number
of its rows in the last full window. A row is anomalous where mass is low.

Within a window the scores of leaves are fixed, so many rows are scored at once: they go
down all trees together, depth by depth, and a score is a gather and a sum. Masses are
integers below 2**53, so the size of a chunk changes no bit of a score.

They are a classifier whose probability of class 1 is the anomaly score, so that a model
without labels goes through registry, scorer, gate and stream like any other. Its scores
rank; they are not probabilities.

Source:
    S. C. Tan, K. M. Ting and T. F. Liu, "Fast Anomaly Detection for Streaming Data",
    IJCAI 2011, pages 1511-1516; as implemented in river 0.26, to the last bit, with
    its deviations from the paper:

    - the limits of a feature are robust ones, not drawn around its values; scores are
      river's of rows that are scaled by them;
    - a node splits a feature drawn in proportion to the width left of it, at a
      threshold drawn from the middle 70 % of that (paper: any feature, half-way);
    - a score sums mass times 2**depth over all nodes down to the one where the search
      stops (paper: that one alone), and is scaled to [0, 1] and turned over;
    - a row without a node's feature follows the child that is heavier so far in the
      current window (paper: nothing is missing).
"""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from propensity.models.encoding import Floats, Integers

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


class HalfSpaceTrees(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """
    Score rows by the emptiness of the space around them.

    ``fit`` on the past, then ``score_and_learn`` new rows. Rows are arrays (n, F) in
    their order; NaN means that a feature is missing. Pickles of models name this class.

    Nodes of a depth have consecutive numbers, from tree to tree. The children of node
    ``n`` are nodes ``2 n`` (value at or above the threshold) and ``2 n + 1`` (below) of
    the next depth, so that each comparison is a digit of the leaf's number.

    Args:
        height: Number of splits on the way to a leaf; a tree has 2**height leaves.
        window_size: Rows in a window. Scores refer to the last full window.
        random_state: Seed of the trees.

    Attributes:
        classes_: Class 0, and class 1 for anomalies.
        limits_: Least and greatest threshold of each feature, (F, 2): the 5 % and 95 %
            quantiles of the rows of ``fit``, and as much again on either side if there
            are values.
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
        random_state: int | None = None,
    ) -> None:
        self.n_trees = n_trees
        self.height = height
        self.window_size = window_size
        self.random_state = random_state

    @property
    def is_warm(self) -> bool:
        """Whether a window has been full; before that, all scores are NaN."""
        return hasattr(self, "_leaf_scores")

    def fit(self, x: Any, y: Any = None) -> Self:
        """Forget all, then learn rows (n, F) in their order; ``y`` is ignored."""
        self._check_parameters()
        rows = self._rows(x, reset=True)
        self.classes_ = np.array([0, 1])
        self.limits_ = np.array([_robust(column) for column in rows.T])
        self._depths = self._drawn(random.Random(self.random_state))
        # Rows in each leaf in the current window; those of inner nodes are sums.
        self._live = np.zeros(self.n_trees << self.height, dtype=np.intp)
        self._n_live = 0
        if self.is_warm:
            del self._leaf_scores
        # Earlier windows leave nothing, so they need not be learned.
        self.score_and_learn(rows[-(self.window_size + len(rows) % self.window_size) :])
        return self

    def predict_proba(self, x: Any) -> Floats:
        """Return 1 less the anomaly score, and the score, (n, 2); learn nothing."""
        rows = self._rows(x)
        score = np.full(len(rows), np.nan)
        if self.is_warm:
            score = self._scores(self._leaves(rows))
        return np.column_stack([1 - score, score])

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
                self._live = np.zeros_like(self._live)
                self._n_live = 0
            start = stop
        return scores

    def _check_parameters(self) -> None:
        # Within these bounds sums of masses are below 2**53, so that scores are exact.
        bounds = {"n_trees": 1_000, "height": 20, "window_size": 1 << 20}
        for name, maximum in bounds.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= maximum:
                raise ValueError(
                    f"{name} must be an integer from 1 to {maximum}, got {value!r}"
                )

    def _rows(self, x: Any, *, reset: bool = False) -> Floats:
        """Return rows as floats; of infinity, or other columns, scikit-learn tells."""
        if not reset:
            check_is_fitted(self)
        rows: Floats = validate_data(
            self,
            x,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            ensure_min_samples=0,
        )
        return rows

    def _drawn(self, generator: random.Random) -> list[tuple[Integers, Floats]]:
        """Return columns and thresholds of the nodes of each depth."""
        n_nodes = self.n_trees * ((1 << self.height) - 1)
        features = np.empty(n_nodes, dtype=np.intp)
        shares = np.empty(n_nodes)
        # All features weigh alike, whatever their units.
        box = [(0.0, 1.0)] * self.n_features_in_

        def split(depth: int, node: int) -> None:
            if depth == self.height:
                return
            widths = [high - low for low, high in box]
            column = generator.choices(range(len(box)), weights=widths)[0]
            low, high = box[column]
            padding = _PADDING * (high - low)
            share = generator.uniform(low + padding, high - padding)
            position = self.n_trees * ((1 << depth) - 1) + node
            features[position] = column
            shares[position] = share
            # River draws the side below first.
            for is_below, side in ((1, (low, share)), (0, (share, high))):
                box[column] = side
                split(depth + 1, 2 * node + is_below)
            box[column] = low, high

        for tree in range(self.n_trees):
            split(0, tree)
        # The thresholds are scaled once, and not all values.
        lowest, highest = self.limits_[features].T
        thresholds = (1 - shares) * lowest + shares * highest
        ends = [self.n_trees * ((1 << depth) - 1) for depth in range(self.height + 1)]
        return [
            (features[start:end], thresholds[start:end])
            for start, end in pairwise(ends)
        ]

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
    lowest, highest = _robust(others)
    return min(low, lowest), max(low, highest)
