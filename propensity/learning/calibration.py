"""
Calibration: from scores to probabilities that match the rates of conversion.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from propensity.learning import metrics
from propensity.learning.data import Slice
from propensity.models.scoring import MeanOfModels

Floats = NDArray[np.float64]

CALIBRATIONS = ("none", "sigmoid", "isotonic")

_FOLDS = 5


def losses(crossed: Mapping[str, Floats], part: Slice) -> dict[str, float]:
    """Return the log loss of each calibration, by its ``out_of_sample``."""
    return {
        method: metrics.log_loss(part.outcomes(probability)) or 0.0
        for method, probability in crossed.items()
    }


def out_of_sample(
    model: Any, encoded: Any, part: Slice, seed: int
) -> dict[str, Floats]:
    """Return a model's probabilities of rows by calibration, as ``cross_fitted``."""
    # The model predicts once; the calibrations of the folds read only its decisions.
    decision = _with_decision(model).decision_function(encoded)
    return cross_fitted(model.predict_proba(encoded)[:, 1], decision, part, seed)


def cross_fitted(
    probability: Floats, decision: Floats, part: Slice, seed: int
) -> dict[str, Floats]:
    """
    Return the probabilities of rows by calibration, each fitted on other users.

    Folds are by user, since a user's rows of several weeks are alike: with the same
    users on both sides the most flexible method would win. A calibration that some
    fold cannot fit, for want of a class, is left out.

    Args:
        probability: As the model gives them, (rows,).
        decision: The model's decision or log-odds, (rows,).
    """
    users = pc.unique(part.rows["user_id"])
    place = pc.index_in(part.rows["user_id"], value_set=users).to_numpy()
    fold = np.random.default_rng(seed).integers(0, _FOLDS, len(users))[place]
    by_method = {"none": probability}
    for method in CALIBRATIONS[1:]:
        crossed = np.empty(len(part))
        for number in range(_FOLDS):
            inside = fold == number
            if not inside.any():
                continue
            outside = Slice(
                rows=part.rows, label=part.label[~inside], weight=part.weight[~inside]
            )
            if outside.conversions in (0, len(outside)):
                break
            fitted: Any = calibrator(method, decision[~inside], outside)
            crossed[inside] = fitted.predict_proba(decision[inside, np.newaxis])[:, 1]
        else:
            by_method[method] = crossed
    return by_method


def calibrator(method: str, decision: Floats, part: Slice) -> Any | None:
    """Return a calibration of decisions alone, (rows, 1); None for no calibration."""
    if method == "none":
        return None
    decisions = LogisticRegression()
    decisions.classes_, decisions.n_features_in_ = np.array([0, 1]), 1
    decisions.coef_, decisions.intercept_ = np.ones((1, 1)), np.zeros(1)
    return calibrated(decisions, method, decision[:, np.newaxis], part)


def attached(calibrator: Any | None, model: Any) -> Any:
    """
    Return a model with the calibration of other models' decisions.

    Args:
        calibrator: From ``calibrator``; None leaves the model as it is.
        model: Fitted by the same recipe as those that the calibration was fitted on.
    """
    if calibrator is None:
        return model
    inner = FrozenEstimator(_with_decision(model))
    whole, [only] = copy.copy(calibrator), calibrator.calibrated_classifiers_
    part = copy.copy(only)
    whole.estimator = part.estimator = inner
    whole.calibrated_classifiers_ = [part]
    whole.n_features_in_ = model.n_features_in_
    return whole


def _with_decision(model: Any) -> Any:
    """Return a model with a decision function: its own, or the log-odds."""
    return model if hasattr(model, "decision_function") else MeanOfModels([model])


def calibrated(model: Any, method: str, encoded: Any, part: Slice) -> Any:
    """Return a model with its scores calibrated on later rows by a method."""
    if method == "none":
        return model
    # In folds a model that is fitted would give the same decisions, five times as
    # slowly.
    every = np.arange(len(part))
    calibrator = CalibratedClassifierCV(
        FrozenEstimator(_with_decision(model)), method=method, cv=[(every, every)]
    )
    with warnings.catch_warnings():
        # It ignores weights, which the calibration reads.
        warnings.filterwarnings("ignore", "Since FrozenEstimator .*", UserWarning)
        calibrator.fit(encoded, part.label, **part.sample_weight)
    return calibrator.set_params(cv=None)
