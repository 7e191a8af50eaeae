"""
Shapley values of trees: what each column adds to the sum of a row's leaves.

A coalition's worth is the mean leaf of a tree whose nodes follow a row where they
compare a column of the coalition, and else go both ways, by the rows of the training
that went there. That is path-dependent TreeSHAP. A leaf depends on a row only by which
columns of its path lead to it. So a part of a tree with few nodes has a table: what
each column adds, for each combination of comparisons. A row looks up a line of it.

Sources:
    S. Lundberg et al., "From local explanations to global understanding with
    explainable AI for trees", Nature Machine Intelligence 2, 2020: the coalitions;
    J. Yang, "Fast TreeSHAP", 2021, arXiv:2109.09847: values by combination;
    G. Owen, "Multilinear extensions of games", Management Science 18, 1972: Shapley
    values as an integral, here by Gauss and Legendre's sum, which is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from propensity.models.nodes import Array, Nodes

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

# Comparisons of a part, which has a line for each combination.
_BITS = 10
# Beyond these a part is a leaf that so many columns lead to: no line has two rows.
_MOST_BITS = 16
# Tables in memory; more are made again for each call.
_MOST_BYTES = 32_000_000
# Fewer rows pay for the calls, more leave a processor's caches.
_BLOCK_ROWS = 16_384
# A side that no row of the training went to; a share of 0 would be divided by.
_LEAST_SHARE = 1e-12


class _Step(NamedTuple):
    """A comparison on the way to a leaf."""

    node: int
    column: int
    is_left: bool
    share: float  # of the node's rows of the training that went there


Path = tuple[_Step, ...]


class _Part:
    """
    Some leaves of a tree, and the comparisons that decide between them.

    A column on the way to all of them has one bit: whether all its steps hold. Nodes
    below have a bit each.

    Args:
        leaves: Steps from there to each leaf, and the leaf's value.
    """

    def __init__(self, path: Path, leaves: Sequence[tuple[Path, float]]) -> None:
        self.path = {
            column: [step for step in path if step.column == column]
            for column in dict.fromkeys(step.column for step in path)
        }
        inner = {step.node: step.column for steps, _ in leaves for step in steps}
        self.inner = sorted(inner)
        self.columns = [*dict.fromkeys([*self.path, *inner.values()])]
        self.bits = len(self.path) + len(self.inner)
        self._bit = {node: len(self.path) + at for at, node in enumerate(self.inner)}
        self._place = {column: at for at, column in enumerate(self.columns)}
        self._leaves = [steps for steps, _ in leaves]
        self._value = np.array([value for _, value in leaves])
        # Of rows of the training, by leaf and column: 1 for one off the leaf's way.
        self._share = np.ones((len(leaves), len(self.columns), 1))
        for leaf, steps in enumerate(self._leaves):
            for step in (*path, *steps):
                self._share[leaf, self._place[step.column]] *= step.share

    def values(self, held: Booleans) -> Floats:
        """
        Return what each column adds to the leaves' sum, (columns, combinations).

        If each column joins with a probability t, a leaf is reached with the product of
        t for a column that leads there and of its share else. The derivative by a
        column's own probability, over all t, is its Shapley value.

        Args:
            held: Whether a bit is set, (bits, combinations).
        """
        leads = np.ones((*self._share.shape[:2], held.shape[1]))
        leads[:, : len(self.path)] = held[: len(self.path)]
        for leaf, steps in enumerate(self._leaves):
            for step in steps:
                way = held[self._bit[step.node]] == step.is_left
                leads[leaf, self._place[step.column]] *= way
        total = np.zeros(leads.shape)
        for t, weight in _quadrature(len(self.columns)):
            chance = t * leads + (1 - t) * self._share
            total += weight * np.prod(chance, axis=1, keepdims=True) / chance
        leads -= self._share
        leads *= total
        return np.asarray(np.einsum("l,lcn->cn", self._value, leads))


class Shapley:
    """
    What each column adds to the sum of the leaves that rows reach.

    Attributes:
        base: The sum without any column: the mean of the training.
    """

    def __init__(self, trees: Sequence[Nodes]) -> None:
        self._trees = [(tree, list(_parts(tree))) for tree in trees]
        self.base = float(sum(_mean(tree) for tree in trees))
        size = sum(
            8 * len(part.columns) << part.bits
            for _, parts in self._trees
            for part in parts
        )
        self._keeps_tables = size <= _MOST_BYTES
        self._tables: dict[int, Floats] = {}

    def add(self, rows: Array, owners: Sequence[int], total: Floats) -> None:
        """
        Add the values of rows to ``total``.

        Args:
            rows: Of the thresholds' type, (rows, columns).
            owners: For each column the line of ``total`` that it counts for.
            total: (lines, rows).
        """
        # Tables that are not kept are made once for all rows.
        size = _BLOCK_ROWS if self._keeps_tables else max(1, len(rows))
        for first in range(0, len(rows), size):
            here = slice(first, first + size)
            # By columns, each together in memory.
            block, sums = np.ascontiguousarray(rows[here].T), total[:, here]
            values = np.empty(block.shape[1])
            for tree, parts in self._trees:
                goes_left = {
                    node: _goes_left(tree, node, block)
                    for node in np.flatnonzero(tree.left).tolist()
                }
                for part in parts:
                    table, lines = self._lines(part, _bits(part, goes_left))
                    for column, known in zip(part.columns, table, strict=True):
                        # All lines exist; a take that clips writes straight there.
                        known.take(lines, out=values, mode="clip")
                        own = sums[owners[column]]
                        own += values

    def _lines(
        self, part: _Part, held: Sequence[Booleans]
    ) -> tuple[Floats, NDArray[np.intp]]:
        """Return a table of values, (columns, lines), and the line of each row."""
        if part.bits > _MOST_BITS:
            return part.values(np.array(held)), np.arange(len(held[0]))
        codes = _codes(held)
        if self._keeps_tables:
            table = self._tables.get(id(part))
            if table is None:
                known = np.arange(1 << part.bits)
                table = self._tables[id(part)] = part.values(_held(known, part.bits))
            return table, codes
        known = np.flatnonzero(np.bincount(codes))
        place = np.zeros(1 << part.bits, dtype=np.intp)
        place[known] = np.arange(len(known))
        return part.values(_held(known, part.bits)), place.take(codes)


def _parts(tree: Nodes) -> Iterator[_Part]:
    """Yield the parts of a tree, each as large as its bits allow."""
    inner = (tree.left > 0).astype(np.intp)
    for node in np.flatnonzero(tree.left)[::-1].tolist():
        inner[node] += inner[tree.left[node]] + inner[tree.right[node]]
    waiting: list[tuple[int, Path]] = [(0, ())] if inner[0] else []
    while waiting:
        node, path = waiting.pop()
        columns = len({step.column for step in path})
        if inner[node] and columns + inner[node] > _BITS:
            waiting += [(below, (*path, step)) for below, step in _below(tree, node)]
        else:
            yield _Part(path, list(_leaves(tree, node, ())))


def _leaves(tree: Nodes, node: int, steps: Path) -> Iterator[tuple[Path, float]]:
    """Yield steps and value of each leaf below a node."""
    if not tree.left[node]:
        yield steps, float(tree.value[node])
        return
    for below, step in _below(tree, node):
        yield from _leaves(tree, below, (*steps, step))


def _below(tree: Nodes, node: int) -> list[tuple[int, _Step]]:
    """Return the children of a node, and the steps to them."""
    children = int(tree.left[node]), int(tree.right[node])
    seen = [float(tree.cover[child]) for child in children]
    column, whole = int(tree.feature[node]), sum(seen) or 1.0
    return [
        (child, _Step(node, column, is_left, max(rows / whole, _LEAST_SHARE)))
        for child, is_left, rows in zip(children, (True, False), seen, strict=True)
    ]


def _mean(tree: Nodes) -> float:
    """Return the mean leaf of the rows of the training."""
    value = tree.value.astype(np.float64)
    for node in np.flatnonzero(tree.left)[::-1].tolist():
        value[node] = sum(step.share * value[at] for at, step in _below(tree, node))
    return float(value[0])


def _goes_left(tree: Nodes, node: int, block: Array) -> Booleans:
    """Return which rows go left at a node, (rows,)."""
    values = block[tree.feature[node]]
    if node in tree.categories:
        is_left = np.isin(values, tree.categories[node])
        return is_left | np.isnan(values) if tree.gap_left[node] else is_left
    if tree.gap_left[node]:
        return np.asarray(~(values > tree.threshold[node]))
    return np.asarray(values <= tree.threshold[node])


def _bits(part: _Part, goes_left: Mapping[int, Booleans]) -> list[Booleans]:
    """Return the bits of a part, each of all rows."""
    of_path = [
        reduce(np.logical_and, [goes_left[at.node] == at.is_left for at in steps])
        for steps in part.path.values()
    ]
    return [*of_path, *(goes_left[node] for node in part.inner)]


def _codes(held: Sequence[Booleans]) -> NDArray[np.intp]:
    """Return the number of each row's combination of bits."""
    codes: Array = _byte(held[:8])
    if len(held) > 8:
        more = _byte(held[8:]).astype(np.uint16)
        more <<= 8
        more |= codes
        codes = more
    return codes.astype(np.intp)


def _byte(held: Sequence[Booleans]) -> NDArray[np.uint8]:
    """Return up to eight bits of each row as a number."""
    number = held[-1].astype(np.uint8)
    for is_held in held[-2::-1]:
        # Takes a third of the time of a shift.
        number += number
        number |= is_held.view(np.uint8)
    return number


def _held(codes: NDArray[np.intp], bits: int) -> Booleans:
    """Return the bits of combinations, (bits, combinations)."""
    return np.asarray(codes >> np.arange(bits)[:, np.newaxis] & 1 == 1)


@cache
def _quadrature(columns: int) -> list[tuple[float, float]]:
    """Return points in [0, 1] and weights, exact for a product of columns but one."""
    points, weights = np.polynomial.legendre.leggauss((columns + 1) // 2)
    return [*zip(((points + 1) / 2).tolist(), (weights / 2).tolist(), strict=True)]
