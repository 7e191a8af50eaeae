"""
The threshold that a training finds, and the budget that its holdout is measured with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from propensity.learning import metrics, thresholds
from propensity.learning.thresholds import TRAINING, Selection

Floats = NDArray[np.float64]

if TYPE_CHECKING:
    from propensity.learning.data import Slice
    from propensity.learning.fit import Trained
    from propensity.settings import Settings
    from propensity.usecases import UseCase


def best_threshold(rows: Slice, score: Floats | None) -> float | None:
    """
    Return the threshold with the highest F1 on rows.

    Args:
        rows: With labels and weights.
        score: Of each, out of sample; None for a model that gives none.

    Returns:
        One of the scores; None without scores, or where the rows lack a class.
    """
    if score is None or not rows.has_both_classes:
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
