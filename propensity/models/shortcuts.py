"""
Scikit-learn's transformers and models for a few rows, without their overhead.

For a single row scikit-learn spends a hundred times the computation on checks of its
input and names, and calls boosted trees one after the other. Here are the same sums,
on arrays, for the most frequent transformers and models.

A new shortcut is compared with its original, on rows with gaps and extremes, and is
used only if the results agree. So it may read private attributes of scikit-learn: if
another version changes them, the original is called again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

Array = NDArray[Any]
# From rows (n, F), which it may overwrite, to rows or a number for each.
Shortcut = Callable[[Array], Array]

# With more pairs of row and node, scikit-learn's loop over trees is as fast.
FEW_NODES = 300_000

_TEST_ROWS = 64
_TOLERANCE = 1e-12
_ALL_LEAVES = np.uint64(2**64 - 1)
# Errors of reading the attributes of another version.
_UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def transform_of(step: Any) -> Shortcut | None:
    """Return the shortcut of a fitted transformer of numbers; None if there is none."""
    return _verified(
        _transform(step), step.transform, getattr(step, "n_features_in_", 0)
    )


def probability_of(model: Any, *, width: int) -> Shortcut | None:
    """
    Return the shortcut to the probability of class 1; None if there is none.

    It raises ValueError if a linear model gets a number that is not finite.

    Args:
        model: Fitted, on columns without names.
        width: Number of columns.
    """
    return _verified(
        _probability(model), lambda rows: model.predict_proba(rows)[:, 1], width
    )


def _verified(
    shortcut: Shortcut | None, original: Shortcut, width: int
) -> Shortcut | None:
    """Return a shortcut if its results are those of the original."""
    if shortcut is None or not width:
        return None
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(_TEST_ROWS, width))
    rows *= 10.0 ** generator.integers(-3, 7, size=(_TEST_ROWS, 1))
    gaps = rows.copy()
    gaps[generator.random(gaps.shape) < 0.2] = np.nan
    gaps[0] = np.nan
    try:
        is_alike = all(
            _alike(shortcut(test.copy()), original(test.copy()))
            for test in (rows, rows[:1])
        ) and _alike(_result(shortcut, gaps), _result(original, gaps))
    except _UNREADABLE:
        return None
    return shortcut if is_alike else None


def _result(function: Shortcut, rows: Array) -> Array | None:
    """Return the result for rows with gaps; None if they are refused."""
    try:
        return np.asarray(function(rows.copy()))
    except ValueError:
        return None


def _alike(result: Any, expected: Any) -> bool:
    if result is None or expected is None:
        return result is expected
    return np.shape(result) == np.shape(expected) and np.allclose(
        result, expected, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
    )


# -- transformers ----------------------------------------------------------------------


def _transform(step: Any) -> Shortcut | None:
    try:
        if type(step) is StandardScaler:
            return _standard(step)
        if type(step) is MinMaxScaler:
            return _between(step)
        if type(step) is SimpleImputer:
            return _imputed(step)
        if type(step) is FunctionTransformer and not step.kw_args:
            function = step.func
            return (lambda rows: rows) if function is None else function
    except _UNREADABLE:
        return None
    return None


def _standard(step: StandardScaler) -> Shortcut:
    mean = step.mean_ if step.with_mean else np.zeros(step.n_features_in_)
    scale = step.scale_ if step.with_std else np.ones(step.n_features_in_)

    def scaled(rows: Array) -> Array:
        rows -= mean
        rows /= scale
        return rows

    return scaled


def _between(step: MinMaxScaler) -> Shortcut:
    scale, least, limits = step.scale_, step.min_, step.feature_range

    def scaled(rows: Array) -> Array:
        rows *= scale
        rows += least
        return np.clip(rows, *limits, out=rows) if step.clip else rows

    return scaled


def _imputed(step: SimpleImputer) -> Shortcut | None:
    values = np.asarray(step.statistics_, dtype=np.float64)
    if not np.isnan(step.missing_values) or np.isnan(values).any():
        return None
    shown = step.indicator_.features_ if step.add_indicator else None

    def filled(rows: Array) -> Array:
        is_gap = np.isnan(rows)
        if is_gap.any():
            rows = np.where(is_gap, values, rows)
        return rows if shown is None else np.hstack([rows, is_gap[:, shown]])

    return filled


# -- models ----------------------------------------------------------------------------


def _probability(model: Any) -> Shortcut | None:
    try:
        if type(model) is FrozenEstimator:
            return _probability(model.estimator)
        if type(model) is CalibratedClassifierCV:
            return _calibrated(model)
        decision = _decision(model)
    except _UNREADABLE:
        return None
    return None if decision is None else lambda rows: expit(decision(rows))


def _decision(model: Any) -> Shortcut | None:
    """Return the shortcut to the log-odds of a classifier."""
    if type(model) is FrozenEstimator:
        return _decision(model.estimator)
    if type(model) is LogisticRegression:
        return _linear(model)
    if type(model) is HistGradientBoostingClassifier:
        return _boosted(model)
    return None


def _linear(model: LogisticRegression) -> Shortcut:
    weights, intercept = model.coef_[0], model.intercept_[0]

    def decision(rows: Array) -> Array:
        logits = rows @ weights + intercept
        if not np.isfinite(logits).all():
            raise ValueError("a number is not finite")
        return np.asarray(logits)

    return decision


def _calibrated(model: CalibratedClassifierCV) -> Shortcut | None:
    if len(model.calibrated_classifiers_) != 1:
        return None
    [inner] = model.calibrated_classifiers_
    decision = _decision(inner.estimator)
    if decision is None:
        return None
    [calibrator] = inner.calibrators
    if inner.method == "sigmoid":
        slope, shift = calibrator.a_, calibrator.b_
        return lambda rows: expit(-(slope * decision(rows) + shift))
    known, values = calibrator.X_thresholds_, calibrator.y_thresholds_
    return lambda rows: np.interp(decision(rows), known, values)


def _boosted(model: HistGradientBoostingClassifier) -> Shortcut | None:
    """
    Return boosted trees that are searched all at once.

    Every node of every tree is compared. Where a row goes right, the leaves on the left
    of the node are struck out; the first leaf that remains is the row's.

    Source:
        C. Lucchese et al., "QuickScorer: a Fast Algorithm to Rank Documents with
        Additive Ensembles of Regression Trees", SIGIR 2015.
    """
    features: list[int] = []
    thresholds: list[float] = []
    gaps_go_left: list[bool] = []
    masks: list[int] = []
    starts: list[int] = []
    leaves: list[float] = []
    first_leaves: list[int] = []
    for [tree] in model._predictors:
        nodes = tree.nodes
        if nodes["is_categorical"].any() or nodes["is_leaf"].sum() > 64:
            return None
        starts.append(len(features))
        first_leaves.append(len(leaves))
        base = len(leaves)

        def walk(place: int, nodes: Any = nodes, base: int = base) -> int:
            """Add a node with all below it; return the leaves below, as bits."""
            node = nodes[place]
            if node["is_leaf"]:
                leaves.append(float(node["value"]))
                return 1 << (len(leaves) - 1 - base)
            at = len(features)
            features.append(int(node["feature_idx"]))
            thresholds.append(float(node["num_threshold"]))
            gaps_go_left.append(bool(node["missing_go_to_left"]))
            masks.append(0)
            left = walk(int(node["left"]))
            masks[at] = int(_ALL_LEAVES) & ~left
            return left | walk(int(node["right"]))

        if nodes["is_leaf"][0]:
            # A tree of a single leaf gets a node that strikes out nothing.
            features.append(0)
            thresholds.append(np.inf)
            gaps_go_left.append(True)
            masks.append(int(_ALL_LEAVES))
        walk(0)
    column, threshold = np.array(features), np.array(thresholds)
    is_left, mask = np.array(gaps_go_left), np.array(masks, dtype=np.uint64)
    values, offsets = np.array(leaves), np.array(first_leaves)
    begin = np.array(starts)
    baseline = float(model._baseline_prediction.ravel()[0])

    def decision(rows: Array) -> Array:
        if len(rows) * len(column) > FEW_NODES:
            return np.asarray(model.decision_function(rows))
        values_at_nodes = rows.take(column, axis=1)
        goes_left = values_at_nodes <= threshold
        is_gap = np.isnan(values_at_nodes)
        if is_gap.any():
            goes_left |= is_gap & is_left
        kept = np.where(goes_left, _ALL_LEAVES, mask)
        kept = np.bitwise_and.reduceat(kept, begin, axis=1)
        # The lowest bit alone, whose logarithm is its number.
        kept &= ~kept + np.uint64(1)
        leaf = np.log2(kept.astype(np.float64)).astype(np.intp)
        return np.asarray(values.take(offsets + leaf).sum(axis=1) + baseline)

    return decision
