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
from propensity.learning.candidates import FIGURES, FittedCandidate
from propensity.learning.cost import floats
from propensity.learning.data import Slice
from propensity.learning.preprocessor import fitted, transformed
from propensity.models.anomaly import AnomalyModel
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.usecases import NUMBER, Candidate, UseCase


def fitted_trees(
    candidate: Candidate,
    rows: pa.Table,
    choosing: Slice,
    use_case: UseCase,
    *,
    seed: int,
) -> tuple[FittedCandidate, Any]:
    """
    Fit trees on the numbers of rows in time order.

    Args:
        rows: With and without a label.
        choosing: Labelled rows, of which the figures are.

    Returns:
        The fitted candidate and its preprocessor.

    Raises:
        UseCaseError: A parameter of the candidate is wrong.
    """
    features = {f: kind for f, kind in use_case.features.items() if kind == NUMBER}
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
    seconds = time.perf_counter() - began
    figures: dict[str, float | None] = dict.fromkeys(FIGURES)
    score = None
    if model.is_warm and len(choosing):
        later = transformed(encoder, choosing.rows, features)
        score = model.predict_proba(np.asarray(later))[:, 1]
        outcomes = choosing.outcomes(score)
        figures |= {name: FIGURES[name](outcomes) for name in ("roc_auc", "pr_auc")}
    fit = FittedCandidate(
        candidate=candidate, model=model, figures=figures, fit_s=seconds, score=score
    )
    return fit, encoder


def _thinned(rows: pa.Table, seed: int) -> pa.Table:
    """
    Return a sample of rows in proportion to their weights.

    Trees count rows and ignore weights: if a sample has kept all frauds, they would
    look usual. Rows with at least the median weight of label 0 stay.
    """
    weight, others = rows["weight"].to_numpy(), floats(rows["label"]) != 1
    chance = weight / np.median(weight[others]) if others.any() else weight
    if chance.min(initial=1.0) >= 1:
        return rows
    drawn = np.random.default_rng(seed).random(len(rows))
    return rows.filter(pa.array(drawn < chance))
