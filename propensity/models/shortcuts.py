"""
Scikit-learn's transformers and models without their overhead.

For a single row scikit-learn spends a hundred times the computation on checks of its
input and names, and it walks through trees one after the other. Here are the same sums,
on arrays, for the most frequent transformers and models.

A new shortcut is compared with its original, on rows with gaps and extremes, and is
used only if the results are the same to the bit. So it may read private attributes of
scikit-learn: if another version changes them, the original is called again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from propensity.models import nodes, trees
from propensity.models.branches import Branches

Array = NDArray[Any]
# From rows (n, F), which it may overwrite, to rows or a number for each.
Shortcut = Callable[[Array], Array]

# Beyond these rows scikit-learn's loop over a tree's branches is quicker: where trees
# are too large for tables, and where a row reads more of these than so many bytes a
# tree.
BRANCHES_ROWS = 100
WIDE_ROWS = 2_000
_WIDE_BYTES = 400

_TEST_ROWS = 64
# Errors of reading the attributes of another version.
_UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def transform_of(step: Any) -> Shortcut | None:
    """
    Return the shortcut of a fitted transformer of numbers; None if there is none.

    It raises ValueError where the original refuses a number that is infinite, which a
    step before may have made of a large one.
    """
    original = step.transform
    shortcut = _verified(_transform(step), original, getattr(step, "n_features_in_", 0))
    if shortcut is None:
        return None

    def transformed(rows: Array) -> Array:
        # A step before may have made marks of gaps, whole numbers, or a sparse matrix.
        is_plain = isinstance(rows, np.ndarray) and rows.dtype == np.float64
        return shortcut(rows) if is_plain else original(rows)

    return transformed


def probability_of(model: Any, *, width: int) -> Shortcut | None:
    """
    Return the shortcut to the probability of class 1; None if there is none.

    It raises ValueError if a linear model gets a number that is not finite.

    Args:
        model: Fitted, on columns without names.
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
    # Categories are whole numbers.
    rows[::2] = generator.integers(0, 9, size=rows[::2].shape)
    gaps = rows.copy()
    gaps[generator.random(gaps.shape) < 0.2] = np.nan
    gaps[0] = np.nan
    far = rows[:1].copy()
    far[0, 0] = np.inf
    try:
        # Infinity times a weight of 0 is no number, which both refuse.
        with np.errstate(over="ignore", invalid="ignore"):
            is_alike = all(
                _alike(_result(shortcut, test), _result(original, test))
                for test in (rows, rows[:1], gaps, far)
            )
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
    return np.array_equal(result, expected, equal_nan=True)


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
        _refuse_infinite(rows)
        rows -= mean
        rows /= scale
        return rows

    return scaled


def _between(step: MinMaxScaler) -> Shortcut:
    scale, least, limits = step.scale_, step.min_, step.feature_range

    def scaled(rows: Array) -> Array:
        _refuse_infinite(rows)
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
        _refuse_infinite(rows)
        is_gap = np.isnan(rows)
        if np.count_nonzero(is_gap):
            rows = np.where(is_gap, values, rows)
        return rows if shown is None else np.hstack([rows, is_gap[:, shown]])

    return filled


def _refuse_infinite(rows: Array) -> None:
    # Of a single row ``any`` would take twice as long.
    if np.count_nonzero(np.isinf(rows)):
        raise ValueError("a number is infinite")


# -- models ----------------------------------------------------------------------------


def _probability(model: Any) -> Shortcut | None:
    try:
        if type(model) is FrozenEstimator:
            return _probability(model.estimator)
        if type(model) is CalibratedClassifierCV:
            return _calibrated(model)
        if type(model) in {RandomForestClassifier, ExtraTreesClassifier}:
            return _forest(model)
        if hasattr(model, "members"):
            return _mean(model)
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
    if hasattr(model, "members"):
        mean = _mean(model)
        return None if mean is None else lambda rows: model.log_odds(mean(rows))
    return None


def _mean(model: Any) -> Shortcut | None:
    """Return the shortcut to a ``MeanOfModels``, which this module must not import."""
    each = [_probability(member) for member in model.members]
    if any(shortcut is None for shortcut in each):
        return None
    return lambda rows: model.mean(shortcut(rows) for shortcut in each if shortcut)


def _linear(model: LogisticRegression) -> Shortcut:
    weights, intercept = model.coef_.T, model.intercept_

    def decision(rows: Array) -> Array:
        logits = (rows @ weights + intercept).ravel()
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
    if inner.method == "temperature":
        return lambda rows: calibrator.predict(decision(rows)[:, np.newaxis])[:, 1]
    known, values = calibrator.X_thresholds_, calibrator.y_thresholds_
    return lambda rows: np.interp(decision(rows), known, values)


def _boosted(model: HistGradientBoostingClassifier) -> Shortcut | None:
    first, *others = nodes.boosted(model)
    start = float(model._baseline_prediction.ravel()[0])
    quick, most = _sums([first._replace(value=first.value + start), *others])
    encoder = model._preprocessor  # of categories

    def decision(rows: Array) -> Array:
        if len(rows) > most:
            return np.asarray(model.decision_function(rows))
        return quick(rows if encoder is None else encoder.transform(rows))

    return decision


def _forest(model: Any) -> Shortcut:
    quick, most = _sums(nodes.grown(model))
    count = len(model.estimators_)
    takes_gaps = model.estimators_[0].__sklearn_tags__().input_tags.allow_nan

    def probability(rows: Array) -> Array:
        with np.errstate(over="ignore"):
            narrow = rows.astype(np.float32)
        is_odd = np.isinf(narrow) if takes_gaps else ~np.isfinite(narrow)
        # The original says what is wrong with odd values.
        if len(rows) > most or is_odd.any():
            return np.asarray(model.predict_proba(rows)[:, 1])
        return quick(narrow.astype(np.float64)) / count

    return probability


def _sums(grown: Sequence[nodes.Nodes]) -> tuple[Shortcut, float]:
    """Return the sums of rows' leaves, and up to how many rows they are quick."""
    try:
        tables = trees.Tables(grown)
    except OverflowError:
        return Branches(grown).sums, BRANCHES_ROWS
    is_wide = tables.line_bytes > _WIDE_BYTES * len(grown)
    return tables.sums, WIDE_ROWS if is_wide else np.inf
