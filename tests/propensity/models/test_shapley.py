"""
Shapley values of trees, specified: those of the definition, whatever the tree.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity.models import shapley
from propensity.models.nodes import Nodes
from propensity.models.shapley import Shapley
from tests.propensity.models.test_trees import following, grown, rows_of, stump

COLUMNS = range(3)


def worth(tree: Nodes, row: np.ndarray, known: Collection[int], node: int = 0) -> float:
    """Return a tree's mean leaf if only some columns are known, node by node."""
    if not tree.left[node]:
        return float(tree.value[node])
    if tree.feature[node] in known:
        return worth(tree, row, known, following(tree, row, node))
    left, right = tree.left[node], tree.right[node]
    sides = [tree.cover[side] * worth(tree, row, known, side) for side in (left, right)]
    return sum(sides) / (tree.cover[left] + tree.cover[right])


def by_definition(tree: Nodes, row: np.ndarray) -> list[float]:
    """Return the mean of what each column adds, over all orders of the columns."""
    orders = list(itertools.permutations(COLUMNS))
    values = [0.0] * len(COLUMNS)
    for order in orders:
        for place, column in enumerate(order):
            before = order[:place]
            gain = worth(tree, row, (*before, column)) - worth(tree, row, before)
            values[column] += gain / len(orders)
    return values


def values_of(trees: list[Nodes], rows: np.ndarray) -> np.ndarray:
    total = np.zeros((len(COLUMNS), len(rows)))
    Shapley(trees).add(rows, [*COLUMNS], total)
    return total.T


class TestShapley:
    @settings(max_examples=25, deadline=None)
    @given(
        data=st.data(),
        leaves=st.sampled_from([1, 2, 6, 31]),
        limits=st.sampled_from([(10, 16, 32_000_000), (2, 16, 0), (2, 1, 0)]),
    )
    def test_are_those_of_the_definition(self, data, leaves, limits):
        """For any thresholds, gaps, categories and rows of the training; with tables
        that are kept or made for a block, and without any."""
        trees = data.draw(st.lists(grown(leaves=leaves), min_size=1, max_size=2))
        rows = data.draw(rows_of(trees))[:6]
        with pytest.MonkeyPatch.context() as patch:
            for name, limit in zip(
                ("_BITS", "_MOST_BITS", "_MOST_BYTES"), limits, strict=True
            ):
                patch.setattr(shapley, name, limit)
            values = values_of(trees, rows)

        expected = [np.sum([by_definition(t, r) for t in trees], axis=0) for r in rows]
        np.testing.assert_allclose(values, expected, atol=1e-12)

    @settings(max_examples=25, deadline=None)
    @given(data=st.data())
    def test_and_the_base_have_the_sum_of_the_leaves(self, data):
        """A row's leaf is what all columns together make of the mean."""
        trees = data.draw(st.lists(grown(leaves=31), min_size=1, max_size=3))
        rows = data.draw(rows_of(trees))

        total = Shapley(trees).base + values_of(trees, rows).sum(axis=1)

        leaves = [sum(worth(tree, row, COLUMNS) for tree in trees) for row in rows]
        np.testing.assert_allclose(total, leaves, atol=1e-12)

    def test_go_through_rows_by_blocks(self, monkeypatch):
        """The last block is what remains."""
        tree = stump()
        monkeypatch.setattr(shapley, "_BLOCK_ROWS", 3)
        rows = np.repeat(np.arange(7)[:, np.newaxis] % 2.0, 3, axis=1)

        values = values_of([tree], rows)

        assert Shapley([tree]).base == pytest.approx(1.25)
        np.testing.assert_allclose(values[:, 0], rows[:, 0] - 0.25)
        assert not values[:, 1:].any()

    def test_of_a_column_that_no_node_compares_are_zero(self):
        """What a model does not read is no reason."""
        assert math.isclose(np.abs(values_of([], np.ones((2, 3)))).max(), 0.0)
