"""
Trees as one node of a graph, TreeEnsembleRegressor of ai.onnx.ml.

It compares float64 features with float64 thresholds, but returns sums as float32. So
every leaf is split into three numbers, each with an output of its own: multiples of two
powers of two, so coarse that all sums of them are float32 numbers, and the rest, whose
rounding is below a float64's. Added up in float64 they are the sum of the leaves.

Source:
    T. J. Dekker, "A floating-point technique for extending the available precision",
    Numerische Mathematik 18, 1971, on numbers as sums of shorter ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propensity.graphs.builder import ML, Graph, Unsupported, check_size
from propensity.graphs.columns import Columns

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

# Of a node in a graph, at the least; while it is made it takes ten times that.
_NODE_BYTES = 48

# A float32 holds integers up to 2**24; one bit is left for the rounding of the parts.
_BITS = 23


@dataclass(frozen=True)
class Tree:
    """
    Nodes of a tree, the root first.

    Attributes:
        column: That a node compares; any at leaves.
        threshold: A row goes left at or below.
        left, right: Places of the children; any at leaves.
        gap_left: Whether a missing value goes left.
        is_leaf: Whether a node has no children.
        value: Of a leaf; any elsewhere.
    """

    column: Integers
    threshold: Floats
    left: Integers
    right: Integers
    gap_left: Booleans
    is_leaf: Booleans
    value: Floats


def boosted(model: Any) -> list[Tree]:
    """
    Return the trees of a HistGradientBoostingClassifier of two classes.

    Raises:
        Unsupported: It encodes categories itself.
    """
    if getattr(model, "_preprocessor", None) is not None:
        raise Unsupported("boosted trees with categorical_features of their own")
    trees = []
    for [predictor] in model._predictors:
        nodes = predictor.nodes
        if nodes["is_categorical"].any():
            raise Unsupported("boosted trees with categorical_features of their own")
        trees.append(
            Tree(
                column=nodes["feature_idx"].astype(np.int64),
                threshold=nodes["num_threshold"].astype(np.float64),
                left=nodes["left"].astype(np.int64),
                right=nodes["right"].astype(np.int64),
                gap_left=nodes["missing_go_to_left"].astype(bool),
                is_leaf=nodes["is_leaf"].astype(bool),
                value=nodes["value"].astype(np.float64),
            )
        )
    return trees


def forest(model: Any) -> list[Tree]:
    """Return the trees of a forest, whose leaves are probabilities of class 1."""
    trees = []
    for estimator in model.estimators_:
        nodes = estimator.tree_.__getstate__()["nodes"]
        trees.append(
            Tree(
                column=nodes["feature"].astype(np.int64),
                threshold=nodes["threshold"].astype(np.float64),
                left=nodes["left_child"].astype(np.int64),
                right=nodes["right_child"].astype(np.int64),
                gap_left=nodes["missing_go_to_left"].astype(bool),
                is_leaf=nodes["left_child"] < 0,
                value=estimator.tree_.value[:, 0, 1].astype(np.float64),
            )
        )
    return trees


def total(columns: Columns, trees: Sequence[Tree], *, is_single: bool) -> str:
    """
    Add trees to a graph, and return the sums of their leaves, (n,).

    Args:
        columns: That the trees were fitted on.
        trees: At least one.
        is_single: Whether they compare float32 values.

    Raises:
        Unsupported: They are larger than BigQuery imports.
    """
    # First, since a forest of very many leaves would take the memory of a training.
    check_size(_NODE_BYTES * sum(len(tree.column) for tree in trees))
    trees = _of_raw(columns, trees, is_single=is_single)
    parts = _parts(trees)
    sums = _ensemble(columns.graph, columns.raw, trees, parts)
    return columns.graph.total(columns.graph.cast(sums))


def place(graph: Graph, values: str, bounds: Floats) -> str:
    """
    Return how many bounds are at or below each number, (n,), as integers.

    Args:
        graph: Gets a search tree.
        values: (n,), no NaN.
        bounds: Ascending.
    """
    from onnx import TensorProto

    search = _search_tree(np.asarray(bounds, dtype=np.float64))
    column = graph.add("Reshape", values, graph.constant([-1, 1]))
    # At a bound a row goes right: "below" and not "at or below".
    slot = _ensemble(graph, column, [search], [search.value], mode="BRANCH_LT")
    return graph.add("Cast", graph.flat(slot), to=TensorProto.INT64)


def _of_raw(columns: Columns, trees: Sequence[Tree], *, is_single: bool) -> list[Tree]:
    """Return trees with the thresholds that mean the same for raw values."""
    column = np.concatenate([tree.column[~tree.is_leaf] for tree in trees])
    threshold = np.concatenate([tree.threshold[~tree.is_leaf] for tree in trees])
    encoded = [np.unique(threshold[column == at]) for at in range(columns.width)]
    raw = columns.raw_thresholds(encoded, is_single=is_single)
    moved = []
    for tree in trees:
        values = np.zeros(len(tree.column))
        for at in np.unique(tree.column[~tree.is_leaf]):
            here = ~tree.is_leaf & (tree.column == at)
            values[here] = raw[at][np.searchsorted(encoded[at], tree.threshold[here])]
        moved.append(replace(tree, threshold=values))
    return moved


def _parts(trees: Sequence[Tree]) -> list[Floats]:
    """Return the leaves of all trees, one after the other, as three summands."""
    rest = np.concatenate([np.where(tree.is_leaf, tree.value, 0.0) for tree in trees])
    parts = []
    bound = sum(float(np.abs(tree.value[tree.is_leaf]).max()) for tree in trees)
    for _ in range(2):
        unit = 2.0 ** (np.ceil(np.log2(bound)) - _BITS) if bound > 0 else 1.0
        coarse = np.round(rest / unit) * unit
        parts.append(coarse)
        rest, bound = rest - coarse, len(trees) * unit / 2
    return [*parts, rest]


def _search_tree(bounds: Floats) -> Tree:
    """Return a balanced tree whose leaves count the bounds on the left of them."""
    column: list[int] = []
    threshold: list[float] = []
    left: list[int] = []
    right: list[int] = []
    value: list[float] = []

    def grow(start: int, stop: int) -> int:
        own = len(column)
        middle = (start + stop) // 2
        column.append(0)
        threshold.append(bounds[middle] if start < stop else 0.0)
        value.append(float(start))
        left.append(0)
        right.append(0)
        if start < stop:
            left[own] = grow(start, middle)
            right[own] = grow(middle + 1, stop)
        return own

    grow(0, len(bounds))
    children = np.array(left)
    return Tree(
        column=np.array(column),
        threshold=np.array(threshold),
        left=children,
        right=np.array(right),
        gap_left=np.ones(len(column), dtype=bool),
        is_leaf=children == 0,
        value=np.array(value),
    )


def _ensemble(
    graph: Graph,
    rows: str,
    trees: Sequence[Tree],
    parts: Sequence[Floats],
    *,
    mode: str = "BRANCH_LEQ",
) -> str:
    """Add a node for trees whose leaves have these summands, (n, parts) as float32."""
    from onnx import numpy_helper

    sizes = [len(tree.column) for tree in trees]
    number = np.repeat(np.arange(len(trees)), sizes)
    node = np.concatenate([np.arange(size) for size in sizes])
    leaf = np.concatenate([tree.is_leaf for tree in trees])

    def of_nodes(values: Sequence[NDArray[Any]], at_leaf: Any) -> NDArray[Any]:
        return np.where(leaf, at_leaf, np.concatenate(values))

    targets = np.tile(np.arange(len(parts)), int(leaf.sum()))
    weights = np.stack([part[leaf] for part in parts], axis=1).ravel()
    return graph.add(
        "TreeEnsembleRegressor",
        rows,
        domain=ML,
        n_targets=len(parts),
        nodes_treeids=number.tolist(),
        nodes_nodeids=node.tolist(),
        nodes_featureids=of_nodes([tree.column for tree in trees], 0).tolist(),
        nodes_modes=np.where(leaf, "LEAF", mode).tolist(),
        nodes_values_as_tensor=numpy_helper.from_array(
            of_nodes([tree.threshold for tree in trees], 0.0)
        ),
        nodes_truenodeids=of_nodes([tree.left for tree in trees], 0).tolist(),
        nodes_falsenodeids=of_nodes([tree.right for tree in trees], 0).tolist(),
        nodes_missing_value_tracks_true=of_nodes(
            [tree.gap_left for tree in trees], False
        )
        .astype(np.int64)
        .tolist(),
        target_treeids=np.repeat(number[leaf], len(parts)).tolist(),
        target_nodeids=np.repeat(node[leaf], len(parts)).tolist(),
        target_ids=targets.tolist(),
        target_weights_as_tensor=numpy_helper.from_array(weights),
    )
