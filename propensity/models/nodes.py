"""
The trees of fitted scikit-learn models, as arrays of their nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Nodes(NamedTuple):
    """A tree: arrays of its nodes, each before its children, from the root on."""

    feature: Array  # that a node compares
    threshold: Array  # the greatest value that goes left
    gap_left: Array  # whether a missing value does
    left: Array  # child; 0 for leaves
    right: Array
    value: Array  # of leaves
    categories: Mapping[int, Array]  # that go left, by node that compares one
    cover: Array  # rows of the training that a node has seen, weighted or not


def boosted(model: Any) -> list[Nodes]:
    """Return the trees of a binary HistGradientBoostingClassifier."""
    trees = []
    for [tree] in model._predictors:
        nodes = tree.nodes
        inner, left, right = ~(nodes["is_leaf"] > 0), nodes["left"], nodes["right"]
        sets = np.ascontiguousarray(tree.raw_left_cat_bitsets).view(np.uint8)
        known = np.unpackbits(sets, axis=-1, bitorder="little")
        compared = np.flatnonzero(inner & (nodes["is_categorical"] > 0)).tolist()
        trees.append(
            Nodes(
                feature=nodes["feature_idx"],
                threshold=nodes["num_threshold"],
                gap_left=nodes["missing_go_to_left"] > 0,
                left=inner * left,
                right=inner * right,
                value=nodes["value"],
                categories={
                    at: np.flatnonzero(known[nodes["bitset_idx"][at]])
                    for at in compared
                },
                cover=nodes["count"],
            )
        )
    return trees


def grown(model: Any) -> list[Nodes]:
    """Return the trees of a binary forest."""
    return [
        Nodes(
            feature=tree.feature,
            threshold=tree.threshold,
            gap_left=tree.missing_go_to_left > 0,
            left=np.maximum(tree.children_left, 0),
            right=np.maximum(tree.children_right, 0),
            value=tree.value[:, 0, 1],
            categories={},
            cover=tree.weighted_n_node_samples,
        )
        for tree in (estimator.tree_ for estimator in model.estimators_)
    ]


def narrowed(trees: Sequence[Nodes]) -> list[Nodes]:
    """Return trees that compare float32 as they compare the same values in float64."""
    return [tree._replace(threshold=_lowered(tree.threshold)) for tree in trees]


def _lowered(threshold: Array) -> Array:
    """Return the greatest float32 that are at most the thresholds."""
    with np.errstate(over="ignore"):  # beyond the last is infinity
        near = threshold.astype(np.float32)
        below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near > threshold, below, near)
