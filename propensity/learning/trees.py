"""
Half-Space Trees, fitted on all rows, with and without a truth.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.compose import ColumnTransformer

from propensity.errors import UseCaseError
from propensity.learning.data import Slice, labels
from propensity.learning.preprocessor import fitted, transformed
from propensity.models.anomaly import AnomalyModel
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.usecases import NUMBER, Candidate, UseCase


def features_of(use_case: UseCase) -> dict[str, str]:
    """Return the features that trees learn: the numbers."""
    return {name: kind for name, kind in use_case.features.items() if kind == NUMBER}


def fitted_trees(
    candidate: Candidate, rows: pa.Table, use_case: UseCase, *, seed: int
) -> tuple[AnomalyModel, Any, float]:
    """
    Fit trees on rows in time order.

    Returns:
        The model, its preprocessor, and the seconds that the fit took.

    Raises:
        UseCaseError: A parameter of the candidate is wrong.
    """
    features = features_of(use_case)
    passing = ColumnTransformer([("numbers", "passthrough", list(features))])
    usual = _thinned(rows, seed)
    every = Slice(
        rows=usual, label=np.zeros(len(usual), np.int8), weight=np.ones(len(usual))
    )
    encoder = fitted(passing, every, features)
    encoded = transformed(encoder, usual, features)
    began = time.perf_counter()
    try:
        parameters = {"random_state": seed, **candidate.parameters}
        model = AnomalyModel(HalfSpaceTrees(**parameters)).fit(np.asarray(encoded))
    except (ValueError, TypeError) as error:
        raise UseCaseError(
            f"candidate {candidate.name} cannot be fitted: {error}"
        ) from error
    return model, encoder, time.perf_counter() - began


def _thinned(rows: pa.Table, seed: int) -> pa.Table:
    """
    Return a sample of rows in proportion to their weights.

    Trees count rows and ignore weights: if a sample has kept all frauds, they would
    look usual. Rows with at least the median weight of label 0 stay.
    """
    weight, others = rows["weight"].to_numpy(), labels(rows) != 1
    chance = weight / np.median(weight[others]) if others.any() else weight
    if chance.min(initial=1.0) >= 1:
        return rows
    drawn = np.random.default_rng(seed).random(len(rows))
    return rows.filter(pa.array(drawn < chance))
