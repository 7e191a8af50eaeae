"""
What scikit-learn computes, for a few rows, without what it does around it.

For one row a call of scikit-learn is a hundred times what it computes: it checks its
input and looks for names, and boosted trees are called one by one. Here are the
same sums for the transformers and models that serve most, on arrays.

Each is tried beside its original when it is made, on rows that have gaps and extremes,
and where their results differ there is none. So it may read what scikit-learn keeps to
itself: should another version keep it otherwise, the original is called again.
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
# Rows (n, F) in, which may be written into; rows or a number for each out.
Shortcut = Callable[[Array], Array]

# Pairs of a row and a node beyond which one tree after the other is as fast.
FEW_NODES = 300_000

_TRIED_ROWS = 64
_TOLERANCE = 1e-12
_ALL_LEAVES = np.uint64(2**64 - 1)
# What reading another version's attributes may come to.
_OTHERWISE = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def transform_of(step: Any) -> Shortcut | None:
    """Return what a fitted transformer of numbers does; None without a shortcut."""
    return _proven(_transform(step), step.transform, getattr(step, "n_features_in_", 0))


def probability_of(model: Any, *, width: int) -> Shortcut | None:
    """
    Return what gives the probability of class 1; None without a shortcut.

    It raises ValueError where a linear model meets a number that is not finite.

    Args:
        model: Fitted, on columns without names.
        width: Number of columns.
    """
    return _proven(
        _probability(model), lambda rows: model.predict_proba(rows)[:, 1], width
    )


def _proven(
    shortcut: Shortcut | None, original: Shortcut, width: int
) -> Shortcut | None:
    """Return a shortcut if it gives what the original does."""
    if shortcut is None or not width:
        return None
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(_TRIED_ROWS, width))
    rows *= 10.0 ** generator.integers(-3, 7, size=(_TRIED_ROWS, 1))
    gaps = rows.copy()
    gaps[generator.random(gaps.shape) < 0.2] = np.nan
    gaps[0] = np.nan
    try:
        is_alike = all(
            _alike(shortcut(tried.copy()), original(tried.copy()))
            for tried in (rows, rows[:1])
        ) and _alike(_accepted(shortcut, gaps), _accepted(original, gaps))
    except _OTHERWISE:
        return None
    return shortcut if is_alike else None


def _accepted(function: Shortcut, rows: Array) -> Array | None:
    """Return what comes of rows with gaps, None where they are refused."""
    try:
        return np.asarray(function(rows.copy()))
    except ValueError:
        return None


def _alike(found: Any, expected: Any) -> bool:
    if found is None or expected is None:
        return found is expected
    return np.shape(found) == np.shape(expected) and np.allclose(
        found, expected, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
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
    except _OTHERWISE:
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
    except _OTHERWISE:
        return None
    return None if decision is None else lambda rows: expit(decision(rows))


def _decision(model: Any) -> Shortcut | None:
    """Return what gives a classifier's log-odds."""
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
        found = rows @ weights + intercept
        if not np.isfinite(found).all():
            raise ValueError("a number is not finite")
        return np.asarray(found)

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
    Return boosted trees that are looked through all at once.

    Every node of every tree is compared. One whose row goes right strikes out the
    leaves on its left; of those that are left the first is the row's leaf.

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
            # A tree of one leaf needs a node, too, one that strikes out nothing.
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
        found = rows.take(column, axis=1)
        goes_left = found <= threshold
        is_gap = np.isnan(found)
        if is_gap.any():
            goes_left |= is_gap & is_left
        kept = np.where(goes_left, _ALL_LEAVES, mask)
        kept = np.bitwise_and.reduceat(kept, begin, axis=1)
        # The lowest bit alone, whose logarithm is its number.
        kept &= ~kept + np.uint64(1)
        leaf = np.log2(kept.astype(np.float64)).astype(np.intp)
        return np.asarray(values.take(offsets + leaf).sum(axis=1) + baseline)

    return decision
