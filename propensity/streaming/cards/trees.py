"""Fits of Half-Space Trees, which learn from events whether a label is known or not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from sklearn.compose import ColumnTransformer

from propensity.learning.candidates import unfit
from propensity.learning.model import Model
from propensity.learning.task import NUMBER, Candidate
from propensity.models.encoding import floats_of, to_frame
from propensity.models.half_space_trees import HalfSpaceTrees


def fit_trees(
    candidate: Candidate, rows: pa.Table, features: Mapping[str, str], *, seed: int
) -> Model:
    """Fit Half-Space Trees on rows in time order; UseCaseError if they are wrong."""
    numbers = {name: kind for name, kind in features.items() if kind == NUMBER}
    passing = ColumnTransformer([("numbers", "passthrough", list(numbers))])
    encoded = passing.fit_transform(to_frame(_thinned(rows, seed), numbers))
    try:
        parameters = {"random_state": seed, **candidate.parameters}
        trees = HalfSpaceTrees(**parameters).fit(np.asarray(encoded))
    except (ValueError, TypeError) as error:
        raise unfit(candidate, error) from error
    return Model(preprocessor=passing, classifier=trees)


def _thinned(rows: pa.Table, seed: int) -> pa.Table:
    """
    Return a sample of rows in proportion to their weights.

    Trees count rows and ignore weights: if a sample has kept all frauds, they would
    look usual. Rows with at least the median weight of label 0 stay.
    """
    weight = rows["weight"].to_numpy()
    others = floats_of(rows["label"]) != 1
    chance = weight / np.median(weight[others]) if others.any() else weight
    drawn = np.random.default_rng(seed).random(len(rows))
    return rows.filter(pa.array(drawn < chance))
