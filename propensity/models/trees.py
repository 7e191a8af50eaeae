"""
Ensembles of trees as tables of bits: blocks of rows at the speed of array operations.

A leaf is a bit. A feature's thresholds divide its values into ranges, and a table says
for each range which leaves can still be reached. A row looks up a line in the table of
each feature; what all of them leave over is one bit a tree, the row's leaf. Missing
values and categories are ranges, too; features with few ranges share a table. Sums are
in scikit-learn's order, so they are its bits.

Source:
    C. Lucchese et al., "QuickScorer: a Fast Algorithm to Rank Documents with Additive
    Ensembles of Regression Trees", SIGIR 2015, which strikes out leaves node by node.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np

from propensity.models.nodes import Array, Nodes

Edges = Mapping[int, Array]

# The bits of a block of rows, twice, and a table fit into a processor's second cache.
_BLOCK_BYTES = 200_000
# Lines of a table that features share.
_SHARED_LINES = 256
# Larger tables cost more memory and time than they save.
_MOST_BYTES = 32_000_000
# Up to so many rows are looked up one by one, without the calls for a block.
_FEW_ROWS = 6
# A range is guessed from so many bits of a float32: sign, exponent and a few more.
_GUESS_BITS = 14

# A bit times this has the bit's number in its highest bits: de Bruijn sequences, by
# number of bits. Bit 0 is no leaf, so that a word without a bit has its number, too.
_SEQUENCES: Mapping[int, Any] = {
    32: np.uint32(0x077CB531),
    64: np.uint64(0x022FDD63CC95386D),
}


class Ranges:
    """
    The ranges of values between the edges of each feature, the last one infinite.

    A value's range is the number of edges below it, a missing value's that of all. It
    is guessed from the value's first bits, and searched between edges that begin so: a
    search among all takes ten times as long.
    """

    def __init__(self, edges: Edges) -> None:
        first = np.arange(1 << _GUESS_BITS, dtype=np.uint32)
        is_gap = np.isnan((first << (32 - _GUESS_BITS)).view(np.float32))
        keys = {feature: _key(_first_bits(of + 0.0)) for feature, of in edges.items()}
        alike = {at: int(np.bincount(key).max()) for at, key in keys.items()}
        # The longest searches first, so that each step is of the first features.
        self.features = sorted(edges, key=lambda at: -alike[at])
        longest = sorted(alike.values())
        steps = [1 << n for n in reversed(range(longest[-1].bit_length()))]
        self._steps = [(n, len(longest) - bisect_left(longest, n)) for n in steps]
        # A step may look beyond a feature's edges.
        padded = [np.append(edges[at], [inf] * steps[0]) for at in self.features]
        self._edges = np.concatenate(padded)
        self.shifts = np.cumsum([0, *map(len, padded[:-1])]).tolist()
        self._guesses = np.concatenate(
            [
                np.where(is_gap, len(edges[at]), keys[at].searchsorted(_key(first)))
                + shift
                for at, shift in zip(self.features, self.shifts, strict=True)
            ]
        ).astype(np.int32)
        self._begins = np.arange(len(padded))[:, np.newaxis] << _GUESS_BITS

    def places(self, rows: Array) -> Array:
        """Return ranges plus ``shifts``, by ``features`` in their order and row."""
        values = np.ascontiguousarray(rows.T.take(self.features, axis=0))
        guessed = self._guesses.take(_first_bits(values) + self._begins)
        places: Array = guessed.astype(np.intp)
        for step, count in self._steps:
            part = places[:count]
            part += step * (self._edges.take(part + (step - 1)) < values[:count])
        return places


def _first_bits(values: Array) -> Array:
    with np.errstate(over="ignore"):  # to infinity, which is as good a guess
        bits = values.astype(np.float32).view(np.uint32)
    return np.asarray(bits >> (32 - _GUESS_BITS))


def _key(bits: Array) -> Array:
    """Return first bits as numbers that are in the order of the values."""
    sign = 1 << _GUESS_BITS - 1
    return np.asarray(np.where(bits & sign, 2 * sign - 1 - bits, bits | sign))


class Tables:
    """
    The sums of the leaves that rows reach, tree by tree; a row reads ``line_bytes``.

    Raises OverflowError where the tables would be too large.
    """

    def __init__(self, trees: Sequence[Nodes]) -> None:
        edges = _edges(trees)
        leaves = [int((tree.left == 0).sum()) for tree in trees]
        bits = 32 if max(leaves) < 32 else 64
        # A tree of many leaves has several words; of all but one no bit is left over.
        words = [
            (tree, low)
            for tree, count in zip(trees, leaves, strict=True)
            for low in range(0, count, bits - 1)
        ]
        width = len(words)
        if sum(len(of) + 1 for of in edges.values()) * width * bits // 8 > _MOST_BYTES:
            raise OverflowError("the tables would be too large")
        self._sequence = _SEQUENCES[bits]
        self._shift = self._sequence.dtype.type(bits - bits.bit_length() + 1)
        self._offsets = np.arange(width, dtype=self._sequence.dtype) * bits
        self._values = np.zeros(width * bits)
        self._ranges = Ranges(edges)
        sizes = [len(edges[feature]) + 1 for feature in self._ranges.features]
        begins = np.cumsum([0, *sizes]).tolist()
        ends = dict(zip(self._ranges.features, pairwise(begins), strict=True))
        self._table: Array = np.zeros((width, begins[-1]), self._sequence.dtype)
        for word, (tree, low) in enumerate(words):
            self._fill(word, tree, low, edges, ends)
        self._table = np.ascontiguousarray(self._table.T)
        self._listed = [(name, edges[name].tolist(), *of) for name, of in ends.items()]
        self._groups = []
        for group in _shared(sizes):
            table, shift, parts = ~np.zeros_like(self._table[:1]), 0, []
            for at in group:
                more = self._table[begins[at] : begins[at + 1], np.newaxis]
                parts.append((at, len(table)))
                shift += len(table) * self._ranges.shifts[at]
                table = (more & table).reshape(-1, width)
            self._groups.append((table, shift, parts))
        self.line_bytes = len(self._groups) * self._table[0].nbytes
        self._rows = max(_FEW_ROWS, _BLOCK_BYTES // self._table[0].nbytes)

    def _fill(
        self, word: int, tree: Nodes, low: int, edges: Edges, ends: Mapping[int, Any]
    ) -> None:
        """Fill a word of all lines and its values: a tree's leaves from ``low`` on."""
        kind, places = self._sequence.dtype.type, 8 * self._sequence.itemsize - 1
        leaf, end = _spans(tree)
        first, last = (np.clip(of - low, 0, places).tolist() for of in (leaf, end))
        before = [kind(((1 << bit) - 1) << 1) for bit in range(places + 1)]
        self._table[word] = before[last[0]]
        for node in np.flatnonzero(tree.left).tolist():
            feature, middle = int(tree.feature[node]), first[tree.right[node]]
            if node in tree.categories:
                is_left = np.isin(edges[feature], tree.categories[node])
            else:
                is_left = edges[feature] <= tree.threshold[node]
            self._table[word, slice(*ends[feature])] &= ~np.where(
                np.append(is_left, tree.gap_left[node]),
                before[last[node]] - before[middle],
                before[middle] - before[first[node]],
            )
        is_here = (tree.left == 0) & (leaf >= low) & (leaf < low + places)
        bit = (leaf[is_here] - low + 1).astype(kind)
        numbers = (self._sequence << bit >> self._shift).astype(np.intp)
        self._values[int(self._offsets[word]) + numbers] = tree.value[is_here]

    def sums(self, rows: Array) -> Array:
        """Return the sum of the leaves of each row of float64, (rows, columns)."""
        if len(rows) <= _FEW_ROWS:
            lines = [  # NaN is not at most infinity
                [
                    begin + bisect_left(edges, row[at]) if row[at] <= inf else end - 1
                    for at, edges, begin, end in self._listed
                ]
                for row in rows.tolist()
            ]
            few = self._table.take(lines, axis=0)
            return self._summed(np.bitwise_and.reduce(few, axis=1))
        sums, block = np.empty(len(rows)), min(len(rows), self._rows)
        # All blocks share memory: to allocate it takes a tenth of the time.
        memory = np.empty((2, block, self._table.shape[1]), self._table.dtype)
        for first in range(0, len(rows), block):
            places = self._ranges.places(rows[first : first + block])
            kept, reached = memory[:, : places.shape[1]]
            for number, (table, shift, parts) in enumerate(self._groups):
                line = places[parts[0][0]] - shift
                for at, stride in parts[1:]:
                    line += stride * places[at]
                # All lines exist, and only a take that clips writes straight to memory.
                table.take(line, axis=0, out=reached if number else kept, mode="clip")
                if number:
                    np.bitwise_and(kept, reached, kept)
            sums[first : first + len(kept)] = self._summed(kept)
        return sums

    def _summed(self, kept: Array) -> Array:
        """Return the sum of the values of the leaves that are bits, in order."""
        numbers = kept * self._sequence
        numbers >>= self._shift
        numbers += self._offsets
        values = self._values.take(numbers.view(f"i{numbers.itemsize}").T)
        # A sum of a single column is not in order.
        if len(kept) <= _FEW_ROWS:
            return np.asarray(np.add.accumulate(values)[-1])
        return np.asarray(np.add.reduce(values))


def _edges(trees: Sequence[Nodes]) -> dict[int, Array]:
    """Return the thresholds of each feature and infinity, ascending and distinct."""
    feature = np.concatenate([tree.feature[tree.left > 0] for tree in trees])
    threshold = np.concatenate([tree.threshold[tree.left > 0] for tree in trees])
    known = {
        int(number): [threshold[feature == number], [inf]]
        for number in np.unique(feature)
    } or {0: [[inf]]}
    for tree in trees:
        for node, left in tree.categories.items():
            # Whole numbers, each with a range of its own.
            known[int(tree.feature[node])] += [left - 1, left]
    return {number: np.unique(np.concatenate(of)) for number, of in known.items()}


def _shared(sizes: Sequence[int]) -> list[list[int]]:
    """Return groups of features, by place, with few combinations of ranges."""
    groups: list[list[int]] = []
    lines = _SHARED_LINES
    for at in sorted(range(len(sizes)), key=lambda at: sizes[at]):
        lines *= sizes[at]
        if lines > _SHARED_LINES:
            groups.append([])
            lines = sizes[at]
        groups[-1].append(at)
    return groups


def _spans(tree: Nodes) -> tuple[Array, Array]:
    """Return the first and the end of the leaves below each node, from the left on."""
    first = np.zeros(len(tree.left), dtype=np.intp)
    count = (tree.left == 0).astype(np.intp)
    inner = np.flatnonzero(tree.left)
    for node in inner[::-1].tolist():
        count[node] = count[tree.left[node]] + count[tree.right[node]]
    for node in inner.tolist():
        first[tree.left[node]] = first[node]
        first[tree.right[node]] = first[node] + count[tree.left[node]]
    return first, first + count
