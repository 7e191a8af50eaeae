"""
The trees of Half-Space Trees: the leaves of rows, and the masses of nodes.

``half_space_trees`` has the algorithm and its source. Pickles of models name
``Forest``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Booleans = NDArray[np.bool_]

# Share of a window: the search stops at a node of less mass (the paper's sizeLimit).
_SIZE_LIMIT = 0.1
# Rows that go down the trees together; their data then fit into the cache.
_BLOCK = 1_024


class Forest:
    """
    Trees of equal height, with the masses of the current and of the last full window.

    Nodes of a depth have consecutive numbers, from tree to tree. The children of
    node ``n`` are nodes ``2 n`` (value at or above the threshold) and ``2 n + 1``
    (below) of the next depth, so that each comparison is a digit of the leaf's number.

    Args:
        features: Column of each node, by depth, (n_trees * (2**height - 1),).
        thresholds: Threshold of each node, likewise.
    """

    def __init__(
        self,
        features: Integers,
        thresholds: Floats,
        *,
        n_trees: int,
        height: int,
        window_size: int,
        warm_up_score: float,
    ) -> None:
        self.features = features
        self.thresholds = thresholds
        self.n_trees = n_trees
        self.height = height
        self.window_size = window_size
        self.warm_up_score = warm_up_score
        self.is_warm = False
        # Rows in each leaf, (n_trees * 2**height,). Those of inner nodes are sums.
        self.live = np.zeros(n_trees << height, dtype=np.intp)
        self.reference = np.zeros_like(self.live)
        self.n_live = 0
        self._derive()

    def _derive(self) -> None:
        """Store the trees in the fastest forms for many rows and for few."""
        ends = [self.n_trees * ((1 << depth) - 1) for depth in range(self.height + 1)]
        self._depths = [
            (self.features[start:stop], self.thresholds[start:stop])
            for start, stop in itertools.pairwise(ends)
        ]
        # From the leaves up, a node is (column, threshold, child below, child above).
        nodes: list[Any] = list(range(self.n_trees << self.height))
        for features, thresholds in reversed(self._depths):
            sides = nodes[1::2], nodes[::2]
            nodes = list(
                zip(features.tolist(), thresholds.tolist(), *sides, strict=True)
            )
        self._roots = nodes
        self._greatest = self.n_trees * self.window_size * ((2 << self.height) - 1)
        self._leaf_scores = self._scored_leaves()

    def __getstate__(self) -> dict[str, Any]:
        """Return what cannot be derived, with counts in the narrowest type."""
        state = {key: own for key, own in vars(self).items() if key[0] != "_"}
        for key in ("features", "live", "reference"):
            state[key] = state[key].astype(np.min_scalar_type(state[key].max()))
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        for key in ("features", "live", "reference"):
            setattr(self, key, state[key].astype(np.intp))
        self._derive()

    def score(self, rows: Floats) -> Floats:
        """Return anomaly scores of rows (n, F) by the masses of the last window."""
        if not self.is_warm:
            return np.full(len(rows), self.warm_up_score)
        return self._scores(self._leaves(rows, in_turn=False))

    def score_and_learn(
        self,
        rows: Floats,
        *,
        before: Floats | None = None,
        moves: Booleans | None = None,
    ) -> Floats:
        """
        Score each row, then count it.

        Args:
            rows: Rows (n, F) to count.
            before: The same rows to score, if some differ.
            moves: Which rows differ.
        """
        if before is None or moves is None:
            before, moves = rows, np.zeros(len(rows), dtype=np.bool_)
        has_gap = np.isnan(rows).any(axis=1)
        leaves = None if has_gap.any() else self._leaves(rows, in_turn=False)
        # A row with a gap follows the current masses. If it also moves, it goes down
        # twice, and nothing may be counted in between.
        begins = np.flatnonzero(has_gap & moves)
        scores = np.full(len(rows), self.warm_up_score)
        start = 0
        while start < len(rows):
            full = start + self.window_size - self.n_live
            stop = int(min([len(rows), full, *begins[begins > start][:1]]))
            part = slice(start, stop)
            counted = (
                self._leaves(rows[part], in_turn=True)
                if leaves is None
                else leaves[part]
            )
            if self.is_warm:
                scored, moved = counted, moves[part]
                if moved.any():
                    scored = counted.copy()
                    scored[moved] = self._leaves(before[part][moved], in_turn=False)
                scores[part] = self._scores(scored)
            self.live += np.bincount(counted.ravel(), minlength=len(self.live))
            self._count(stop - start)
            start = stop
        return scores

    def walk(self, rows: Sequence[Sequence[Any]], *, learn: bool) -> Floats:
        """Score a few rows without numpy; None means missing."""
        depths = range(self.height)
        scores = []
        for row in rows:
            live, leaf_scores = self.live.data, self._leaf_scores.data
            total = 0.0
            for root in self._roots:
                node = root
                for depth in depths:
                    feature, threshold, below, above = node
                    try:
                        node = below if row[feature] < threshold else above
                    except TypeError:
                        node = below if self._leads(above, depth) else above
                total += leaf_scores[node]
                if learn:
                    live[node] += 1
            score = 1 - total / self._greatest if self.is_warm else self.warm_up_score
            scores.append(score)
            if learn:
                self._count(1)
        return np.array(scores)

    def _leads(self, above: Any, depth: int) -> bool:
        """Tell whether the child below has at least the mass of the child above."""
        while type(above) is tuple:
            above = above[-1]
        first, n = above, 1 << (self.height - depth - 1)
        mass_above = self.live[first : first + n].sum()
        return bool(mass_above <= self.live[first + n : first + 2 * n].sum())

    def _leaves(self, rows: Floats, *, in_turn: bool) -> Integers:
        """
        Return the leaves of rows, (n, n_trees).

        Args:
            rows: Rows (n, F).
            in_turn: Whether gaps are filled as if each row were counted before the
                next; if not, all follow the current live masses.
        """
        if len(rows) > _BLOCK and not in_turn:
            blocks = np.split(rows, range(_BLOCK, len(rows), _BLOCK))
            return np.concatenate([self._leaves(b, in_turn=False) for b in blocks])
        values = np.ascontiguousarray(rows).ravel()
        has_gaps = bool(np.isnan(values).any())
        offsets = np.arange(0, len(values), rows.shape[1])[:, None]
        nodes: Integers = np.broadcast_to(
            np.arange(self.n_trees), (len(rows), self.n_trees)
        )
        for features, thresholds in self._depths:
            values_at_nodes = values.take(features.take(nodes) + offsets)
            is_below = values_at_nodes < thresholds.take(nodes)
            if has_gaps and (gaps := np.isnan(values_at_nodes)).any():
                mass = self.live.reshape(len(features), 2, -1).sum(axis=2)
                lead = mass[:, 1] - mass[:, 0]
                if in_turn:
                    _fill_in_turn(is_below, gaps, nodes, lead)
                else:
                    is_below[gaps] = lead[nodes[gaps]] >= 0
            nodes = 2 * nodes + is_below
        return nodes

    def _scores(self, leaves: Integers) -> Floats:
        """Return the scores of rows from their leaves (n, n_trees)."""
        total = self._leaf_scores.take(leaves).sum(axis=1)
        scores: Floats = 1 - total / self._greatest
        return scores

    def _count(self, n: int) -> None:
        """Add n to the rows of the window; a full window becomes the reference."""
        self.n_live += n
        if self.n_live == self.window_size:
            self.reference, self.live = self.live, np.zeros_like(self.live)
            self.n_live = 0
            self.is_warm = True
            self._leaf_scores = self._scored_leaves()

    def _scored_leaves(self) -> Floats:
        """Return for each leaf the sum of mass times 2**depth over its path."""
        masses = [self.reference.astype(np.float64)]
        for _ in range(self.height):
            masses.append(masses[-1][::2] + masses[-1][1::2])
        total = masses.pop()
        parents = total
        for depth in range(1, self.height + 1):
            # Mass only falls on the way down: if the parent's is too low, the search
            # has stopped at the parent or above.
            weight = (parents >= _SIZE_LIMIT * self.window_size) * float(1 << depth)
            above, parents = total, masses.pop()
            total = np.empty(len(parents))
            for side in (0, 1):
                total[side::2] = above + weight * parents[side::2]
        return total


def _fill_in_turn(
    is_below: Booleans, gaps: Booleans, nodes: Integers, lead: Integers
) -> None:
    """
    Send rows with a gap to the heavier side, as if each row were counted in its turn.

    If both are equal, the row goes below the threshold. Each row of a node changes the
    lead of that side by one.

    Args:
        is_below: Whether a row goes below in a tree, (n, n_trees); written where there
            are ``gaps``.
        gaps: Whether the value is missing, likewise.
        lead: By node, rows already counted below its threshold less those above.
    """
    concerned = np.zeros(len(lead), dtype=np.bool_)
    concerned[nodes[gaps]] = True
    pairs = np.flatnonzero(concerned[nodes])
    # By node, and by row within each.
    pairs = pairs[np.argsort(nodes.ravel()[pairs], kind="stable")]
    node, is_gap = nodes.ravel()[pairs], gaps.ravel()[pairs]
    step = np.where(is_gap, 0, np.where(is_below.ravel()[pairs], 1, -1))
    # The lead before each row, from rows without a gap.
    begins = np.flatnonzero(np.diff(node, prepend=-1))
    before = np.cumsum(step) - step
    before -= np.repeat(before[begins], np.diff(begins, append=len(node)))
    lead_before = lead[node] + before
    # Rows with a gap depend on each other, so these follow in order.
    shift: dict[int, int] = {}
    choices = []
    for at, its_lead in zip(
        node[is_gap].tolist(), lead_before[is_gap].tolist(), strict=True
    ):
        change = shift.get(at, 0)
        goes_below = its_lead + change >= 0
        shift[at] = change + (1 if goes_below else -1)
        choices.append(goes_below)
    is_below.ravel()[pairs[is_gap]] = choices
