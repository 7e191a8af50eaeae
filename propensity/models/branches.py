"""
Forests that are too large for tables of bits, for a few rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from propensity.models.nodes import Array, Nodes


class Branches:
    """
    The sums of ``Tables``, by all trees at once, a level at a time.

    Raises:
        ValueError: A tree compares categories.
    """

    def __init__(self, trees: Sequence[Nodes]) -> None:
        if any(tree.categories for tree in trees):
            raise ValueError("branches compare numbers")
        begins = np.cumsum([0, *(len(tree.left) for tree in trees)])
        left, right, self._feature, self._threshold, self._gap_left, self._values = (
            np.concatenate([getattr(tree, name) for tree in trees])
            for name in ("left", "right", "feature", "threshold", "gap_left", "value")
        )
        owner = np.repeat(begins[:-1], np.diff(begins))
        # A leaf leads to itself.
        leads = np.where(left, np.stack([right, left]) + owner, np.arange(begins[-1]))
        self._feature[left == 0] = 0
        self._next = leads.ravel()
        self._roots = begins[:-1, np.newaxis]

    def sums(self, rows: Array) -> Array:
        """Return the sum of the leaves of each row of float64, (rows, columns)."""
        values, first = rows.ravel(), np.arange(len(rows)) * rows.shape[1]
        has_gaps = bool(np.isnan(values).any())
        node, before = np.repeat(self._roots, len(rows), axis=1), None
        while before is None or (node != before).any():
            before = node
            value = values.take(self._feature.take(node) + first)
            is_left = value <= self._threshold.take(node)
            if has_gaps:
                is_left |= np.isnan(value) & self._gap_left.take(node)
            node = self._next.take(node + len(self._values) * is_left)
        return np.asarray(np.add.accumulate(self._values.take(node), axis=0)[-1])
