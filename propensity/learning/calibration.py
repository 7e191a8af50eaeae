"""
Calibration: from a model's scores to probabilities that come true as often as they say.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow.compute as pc
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from propensity.learning import metrics
from propensity.learning.data import Slice
from propensity.models.scoring import MeanOfModels

CALIBRATIONS = ("none", "sigmoid", "isotonic", "temperature")

_FOLDS = 5


def losses(model: Any, encoded: Any, part: Slice, seed: int) -> dict[str, float]:
    """
    Return each calibration's log loss on the slice, cross-fitted.

    Folds are of users, since one user's rows of several weeks are alike; what would be
    fitted and judged on the same users would prefer the most flexible.
    """
    users = pc.unique(part.rows["user_id"])
    place = pc.index_in(part.rows["user_id"], value_set=users).to_numpy()
    fold = np.random.default_rng(seed).integers(0, _FOLDS, len(users))[place]
    # The model predicts once; what is fitted in each fold reads only its decisions.
    decided, decisions = _decided(model), LogisticRegression()
    decisions.classes_, decisions.n_features_in_ = np.array([0, 1]), 1
    decisions.coef_, decisions.intercept_ = np.ones((1, 1)), np.zeros(1)
    decision = decided.decision_function(encoded)[:, np.newaxis]
    as_it_is = model.predict_proba(encoded)[:, 1]
    seen = metrics.outcomes(as_it_is, part.label, weight=part.weight)
    found = {"none": float(metrics.log_loss(seen) or 0.0)}
    for method in CALIBRATIONS[1:]:
        probability = np.empty(len(part))
        for number in range(_FOLDS):
            inside = fold == number
            if not inside.any():
                continue
            outside = Slice(
                rows=part.rows, label=part.label[~inside], weight=part.weight[~inside]
            )
            if outside.conversions in (0, len(outside)):
                break
            fitted = calibrated(decisions, method, decision[~inside], outside)
            probability[inside] = fitted.predict_proba(decision[inside])[:, 1]
        else:
            seen = metrics.outcomes(probability, part.label, weight=part.weight)
            found[method] = float(metrics.log_loss(seen) or 0.0)
    return found


def _decided(model: Any) -> Any:
    """Return a model as one that has a decision: log-odds where it has none."""
    return model if hasattr(model, "decision_function") else MeanOfModels([model])


def calibrated(model: Any, method: str, encoded: Any, part: Slice) -> Any:
    """Return a model whose scores are calibrated by a method, fitted on later rows."""
    if method == "none":
        return model
    calibrator = CalibratedClassifierCV(FrozenEstimator(_decided(model)), method=method)
    with warnings.catch_warnings():
        # Neither matters to a model that is frozen: that it ignores weights (the
        # calibration reads them), and that a fold of its predictions has one class.
        for about in ("Since FrozenEstimator", "The least populated class"):
            warnings.filterwarnings("ignore", f"{about} .*", UserWarning)
        return calibrator.fit(encoded, part.label, **part.sample_weight)
