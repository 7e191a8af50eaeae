"""
The threshold that a training finds, and the budget that its holdout is measured with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from propensity.learning import calibration, metrics, thresholds
from propensity.learning.thresholds import TRAINING, Selection
from propensity.models.anomaly import AnomalyModel

Floats = NDArray[np.float64]

if TYPE_CHECKING:
    from propensity.learning.data import Slice
    from propensity.learning.fit import Trained
    from propensity.settings import Settings
    from propensity.usecases import UseCase


def best_threshold(
    model: Any, method: str, encoded: Any, choosing: Slice, *, seed: int
) -> float | None:
    """
    Return the threshold with the highest F1 on the rows to choose on.

    Their probabilities are out of sample: the model was fitted on older rows, and each
    user's calibration on the rows of other users.

    Args:
        model: The chosen model, not calibrated.
        method: Its calibration.
        encoded: The rows as it takes them; None if it gives no scores.
        choosing: The same rows, with labels and weights.
        seed: Of the folds.

    Returns:
        A probability, or an anomaly score; None where the rows lack a class.
    """
    if encoded is None or not choosing.has_both_classes:
        return None
    if isinstance(model, AnomalyModel):
        score = model.predict_proba(np.asarray(encoded))[:, 1]
    else:
        score = calibration.out_of_sample(model, encoded, choosing, seed)[method]
    return best_threshold_of(choosing, score)


def best_threshold_of(rows: Slice, score: Floats) -> float | None:
    """Return the threshold with the highest F1 on rows, by scores out of sample."""
    if not rows.has_both_classes:
        return None
    seen = metrics.outcomes(score, rows.label, weight=rows.weight)
    return thresholds.best_threshold(seen)


def of_holdout(trained: Trained, use_case: UseCase, settings: Settings) -> Selection:
    """Return the selection that a model's holdout is measured with."""
    return Selection(
        budget=use_case.chosen_budget(settings),
        dates=len(trained.split.holdout),
        threshold=trained.best_threshold,
        source=None if trained.best_threshold is None else TRAINING,
    )
