"""
Half-Space Trees as a classifier, with anomaly scores in the place of probabilities.

So a model without labels goes through registry, scorer, gate and stream like any other.
Its scores rank; they are not probabilities.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from propensity.models.half_space_trees import HalfSpaceTrees


class AnomalyModel(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """
    A classifier whose probability of class 1 is an anomaly score.

    Pickles of models name this class.
    """

    def __init__(self, trees: HalfSpaceTrees) -> None:
        self.trees = trees

    @property
    def classes_(self) -> NDArray[Any]:
        """Class 0, and class 1 for anomalies."""
        return np.array([0, 1])

    @property
    def n_features_in_(self) -> int:
        """Number of columns that the trees were fitted on."""
        return int(self.trees.n_features_in_)

    @property
    def is_warm(self) -> bool:
        """Whether the trees have seen a full window; before, all scores are NaN."""
        return self.trees.is_warm

    def fit(self, x: Any, y: Any = None) -> Self:
        """Fit the trees on rows (n, F) in their order; ``y`` is ignored."""
        self.trees.fit(x)
        return self

    def predict_proba(self, x: Any) -> NDArray[np.float64]:
        """Return 1 less the anomaly score, and the score, (rows, 2)."""
        score = self.trees.anomaly_score(x)
        return np.column_stack([1 - score, score])
