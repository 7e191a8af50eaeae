"""
Trees as tables of bits, specified: the sums of scikit-learn's trees, to the bit.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.models.branches import Branches
from propensity.models.nodes import Nodes
from propensity.models.trees import Ranges, Tables

FLOATS = st.one_of(
    st.floats(width=64),
    st.integers(-20, 20).map(float),
    st.sampled_from([0.0, -0.0, 1e-300, -1e-300, 3.5e38, -3.5e38, np.inf, -np.inf]),
)
THRESHOLDS = FLOATS.filter(lambda value: not math.isnan(value))


def following(tree: Nodes, row: np.ndarray, node: int) -> int:
    """Return the child to which a row goes."""
    value = row[tree.feature[node]]
    if np.isnan(value):
        is_left = tree.gap_left[node]
    elif node in tree.categories:
        is_left = value in tree.categories[node]
    else:
        is_left = value <= tree.threshold[node]
    return (tree.left if is_left else tree.right)[node]


def walked(tree: Nodes, row: np.ndarray) -> float:
    """Return the value of a row's leaf, node by node."""
    node = 0
    while tree.left[node]:
        node = following(tree, row, node)
    return tree.value[node]


def stump() -> Nodes:
    """Return a tree whose first column decides between 1 and 2."""
    return Nodes(
        feature=np.array([0, 0, 0]),
        threshold=np.array([0.5, 0, 0]),
        gap_left=np.array([True, False, False]),
        left=np.array([1, 0, 0]),
        right=np.array([2, 0, 0]),
        value=np.array([0.0, 1.0, 2.0]),
        categories={},
        cover=np.array([4, 3, 1]),
    )


@st.composite
def grown(draw, *, leaves: int, thresholds=THRESHOLDS) -> Nodes:
    """Draw a tree of three columns: leaves of it are split until it has as many."""
    children: list[list[int]] = [[0, 0]]
    ends = [0]
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, leaves)) - 1):
        node = ends.pop(generator.integers(len(ends)))
        children[node] = [len(children), len(children) + 1]
        ends += children[node]
        children += [[0, 0], [0, 0]]
    left, right = np.array(children).T
    some = np.array(draw(st.lists(thresholds, min_size=1, max_size=12)))
    count = len(left)
    feature = generator.integers(0, 3, count)
    # The last column is a category.
    compared = np.flatnonzero((left > 0) & (feature == 2)).tolist()
    return Nodes(
        feature,
        np.where(feature == 2, 0.0, generator.choice(some, count)),
        generator.random(count) < 0.5,
        left,
        right,
        generator.normal(size=count),
        {at: np.flatnonzero(generator.random(6) < 0.5) for at in compared},
        generator.integers(1, 50, count),
    )


@st.composite
def rows_of(draw, trees: list[Nodes]) -> np.ndarray:
    """Draw rows at thresholds, between and beyond them, and gaps."""
    known = np.concatenate([tree.threshold for tree in trees])
    drawn = np.array(draw(st.lists(FLOATS, min_size=1, max_size=10)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = (draw(st.sampled_from([1, 4, 30])), 2)
    with np.errstate(over="ignore"):
        near = np.nextafter(known, generator.choice([-np.inf, np.inf], len(known)))
    numbers = generator.choice(np.concatenate([known, near, drawn, [np.nan]]), size)
    categories = generator.choice([*range(9), np.nan], (size[0], 1))
    return np.hstack([numbers, categories])


class TestTables:
    @given(data=st.data(), leaves=st.sampled_from([1, 2, 31, 32, 63, 64, 200]))
    def test_add_up_the_leaves_of_rows_in_order(self, data, leaves):
        """For any thresholds, values, gaps and categories, in blocks of any size, also
        of a single row."""
        # From eight numbers on NumPy may add up in another order.
        trees = data.draw(st.lists(grown(leaves=leaves), min_size=1, max_size=3)) * 5
        rows = data.draw(rows_of(trees))
        tables = Tables(trees)
        tables._rows = data.draw(st.sampled_from([1, 7, 29, 1_000]))

        expected = [sum(walked(tree, row) for tree in trees) for row in rows]
        np.testing.assert_array_equal(tables.sums(rows), expected)

    def test_go_through_rows_by_blocks(self):
        """The last block is what remains."""
        tables = Tables([stump()])
        count = 2 * tables._rows + 1
        rows = np.arange(count)[:, np.newaxis] % 2.0

        np.testing.assert_array_equal(tables.sums(rows), 1 + rows[:, 0])

    def test_have_bounds(self, monkeypatch):
        """Tables that would take too much memory are not made."""
        tree = Nodes(*(np.zeros(1, int),) * 5, np.ones(1), {}, np.ones(1))
        monkeypatch.setattr("propensity.models.trees._MOST_BYTES", 1)

        with pytest.raises(OverflowError):
            Tables([tree])


class TestRanges:
    @given(
        edges=st.lists(st.lists(THRESHOLDS, max_size=40), min_size=1, max_size=3),
        values=st.lists(FLOATS, min_size=1, max_size=20),
    )
    def test_count_the_edges_below_a_value(self, edges, values):
        """For any numbers; a missing value has the range after all."""
        of = {at: np.unique([*each, np.inf]) for at, each in enumerate(edges)}
        values = np.array([np.nan, *values, *(edge for each in edges for edge in each)])
        rows = np.repeat(values[:, np.newaxis], len(of), axis=1)
        ranges = Ranges(of)

        places = ranges.places(rows) - np.array(ranges.shifts)[:, np.newaxis]

        for at, feature in enumerate(ranges.features):
            np.testing.assert_array_equal(places[at], of[feature].searchsorted(values))


class TestBranches:
    @given(data=st.data())
    def test_add_up_the_leaves_of_rows_in_order(self, data):
        """As tables do."""
        trees = data.draw(st.lists(grown(leaves=40), min_size=1, max_size=4))
        trees = [tree._replace(categories={}) for tree in trees]
        rows = data.draw(rows_of(trees))

        expected = [sum(walked(tree, row) for tree in trees) for row in rows]
        np.testing.assert_array_equal(Branches(trees).sums(rows), expected)

    def test_are_of_numbers_only(self):
        """Trees that compare categories are refused."""
        tree = stump()._replace(categories={0: np.array([1])})

        with pytest.raises(ValueError, match="numbers"):
            Branches([tree])
