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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propensity.graphs.builder import ML, Graph, Unsupported, check_size
from propensity.graphs.columns import Columns
from propensity.models import nodes
from propensity.models.nodes import Nodes

Floats = NDArray[np.float64]

# Of a node in a graph, at the least; while it is made it takes ten times that.
_NODE_BYTES = 48

# A float32 holds integers up to 2**24; one bit is left for the rounding of the parts.
_BITS = 23


def boosted(model: Any) -> list[Nodes]:
    """
    Return the trees of a HistGradientBoostingClassifier of two classes.

    Raises:
        Unsupported: It encodes categories itself.
    """
    trees = nodes.boosted(model)
    if getattr(model, "_preprocessor", None) is not None or any(
        tree.categories for tree in trees
    ):
        raise Unsupported("boosted trees with categorical_features of their own")
    return trees


def total(columns: Columns, trees: Sequence[Nodes], *, is_single: bool) -> str:
    """
    Add trees to a graph, and return the sums of their leaves, (n,).

    Args:
        is_single: Whether they compare float32 values.

    Raises:
        Unsupported: They are larger than BigQuery imports.
    """
    # First, since a forest of very many leaves would take the memory of a training.
    check_size(_NODE_BYTES * sum(len(tree.left) for tree in trees))
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


def _of_raw(
    columns: Columns, trees: Sequence[Nodes], *, is_single: bool
) -> list[Nodes]:
    """Return trees with the thresholds that mean the same for raw values."""
    column = np.concatenate([tree.feature[tree.left > 0] for tree in trees])
    threshold = np.concatenate([tree.threshold[tree.left > 0] for tree in trees])
    encoded = [np.unique(threshold[column == at]) for at in range(columns.width)]
    raw = columns.raw_thresholds(encoded, is_single=is_single)
    moved = []
    for tree in trees:
        values = np.zeros(len(tree.left))
        for at in np.unique(tree.feature[tree.left > 0]):
            here = (tree.left > 0) & (tree.feature == at)
            values[here] = raw[at][np.searchsorted(encoded[at], tree.threshold[here])]
        moved.append(tree._replace(threshold=values))
    return moved


def _parts(trees: Sequence[Nodes]) -> list[Floats]:
    """Return the leaves of all trees, one after the other, as three summands."""
    rest = np.concatenate([np.where(tree.left, 0.0, tree.value) for tree in trees])
    parts = []
    bound = sum(float(np.abs(tree.value[tree.left == 0]).max()) for tree in trees)
    for _ in range(2):
        unit = 2.0 ** (np.ceil(np.log2(bound)) - _BITS) if bound > 0 else 1.0
        coarse = np.round(rest / unit) * unit
        parts.append(coarse)
        rest, bound = rest - coarse, len(trees) * unit / 2
    return [*parts, rest]


def _search_tree(bounds: Floats) -> Nodes:
    """Return a balanced tree whose leaves count the bounds on the left of them."""
    threshold: list[float] = []
    left: list[int] = []
    right: list[int] = []
    value: list[float] = []

    def grow(start: int, stop: int) -> int:
        own = len(left)
        middle = (start + stop) // 2
        threshold.append(bounds[middle] if start < stop else 0.0)
        value.append(float(start))
        left.append(0)
        right.append(0)
        if start < stop:
            left[own] = grow(start, middle)
            right[own] = grow(middle + 1, stop)
        return own

    grow(0, len(bounds))
    return Nodes(
        feature=np.zeros(len(left), dtype=np.int64),
        threshold=np.array(threshold),
        gap_left=np.ones(len(left), dtype=bool),
        left=np.array(left),
        right=np.array(right),
        value=np.array(value),
        categories={},
        cover=np.ones(len(left)),
    )


def _ensemble(
    graph: Graph,
    rows: str,
    trees: Sequence[Nodes],
    parts: Sequence[Floats],
    *,
    mode: str = "BRANCH_LEQ",
) -> str:
    """Add a node for trees whose leaves have these summands, (n, parts) as float32."""
    from onnx import numpy_helper

    sizes = [len(tree.left) for tree in trees]
    number = np.repeat(np.arange(len(trees)), sizes)
    node = np.concatenate([np.arange(size) for size in sizes])
    leaf = np.concatenate([tree.left == 0 for tree in trees])

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
        nodes_featureids=of_nodes([tree.feature for tree in trees], 0).tolist(),
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
