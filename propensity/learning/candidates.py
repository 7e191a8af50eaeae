"""
Candidates: from a use case's declaration to a fitted classifier.

A model is a candidate, or the mean of several. All its classes are scikit-learn's own,
so that a notebook loads it without this package; but for those of Half-Space Trees.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from joblib import Parallel, delayed
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from propensity.errors import UseCaseError
from propensity.learning.rows import Slice
from propensity.learning.trained import Model
from propensity.models.encoding import numbers_of, to_frame
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.models.scoring import native_threads
from propensity.usecases import NUMBER, Candidate
from propensity.usecases.declaration import MEAN

T = TypeVar("T")

# With fewer rows the threads of OpenMP and BLAS wait for each other longer than they
# work: one thread is as fast on an idle machine, and up to ten times as fast on a busy.
PARALLEL_ROWS = 200_000

# Defaults of ours, for parameters that a candidate leaves out. A logistic regression
# stops when its mean probability is within ``tol`` of the base rate: scikit-learn's
# default of 1e-4 is a tenth of a base rate of 0.1%.
_DEFAULTS = {"LogisticRegression": {"tol": 1e-7}}

ALGORITHMS: Mapping[str, type] = {
    "LogisticRegression": LogisticRegression,
    "HistGradientBoostingClassifier": HistGradientBoostingClassifier,
    "RandomForestClassifier": RandomForestClassifier,
    "ExtraTreesClassifier": ExtraTreesClassifier,
}


def estimator(candidate: Candidate, *, seed: int) -> Any:
    """
    Return a candidate's unfitted classifier; its own seed comes first.

    Raises:
        UseCaseError: A parameter is unknown.
    """
    algorithm = ALGORITHMS[candidate.algorithm]
    try:
        parameters = {**_DEFAULTS.get(candidate.algorithm, {}), **candidate.parameters}
        if isinstance(weights := parameters.get("class_weight"), Mapping):
            # TOML's keys are texts, and the classes are 0 and 1.
            parameters["class_weight"] = {int(key): weights[key] for key in weights}
        return algorithm().set_params(**{"random_state": seed, **parameters})
    except ValueError as error:
        raise unfit(candidate, error) from error


def unfit(candidate: Candidate, error: Exception) -> UseCaseError:
    """Return the message for a candidate that its library rejects."""
    reason, _, _ = str(error).partition("\n")
    return UseCaseError(
        f"candidate {candidate.name} cannot be fitted",
        hint=f"Correct its parameters in usecase.toml: {reason}",
    )


def members(candidate: Candidate) -> list[str]:
    """Return the names of the candidates that a model is made of: a mean's, or its."""
    is_mean = candidate.algorithm == MEAN
    return list(candidate.parameters["of"]) if is_mean else [candidate.name]


def fit(candidate: Candidate, encoded: Any, part: Slice, *, seed: int) -> Any:
    """
    Return a candidate, fitted on encoded rows; few rows take one processor.

    Raises:
        UseCaseError: It cannot be fitted on these rows.
    """
    model, is_large = estimator(candidate, seed=seed), len(part) > PARALLEL_ROWS
    is_forest = isinstance(model, RandomForestClassifier | ExtraTreesClassifier)
    if is_forest and is_large:
        model.set_params(n_jobs=-1)
    threads = native_threads().limit(limits=None if is_large else 1, user_api="openmp")
    try:
        with warnings.catch_warnings(), threads:
            # A fit that stops at max_iter is judged by its metrics like any other.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(encoded, part.label, sample_weight=part.sample_weight)
    except (ValueError, TypeError) as error:
        raise unfit(candidate, error) from error
    # Threads would add the trees up in another order each time.
    return model.set_params(n_jobs=None) if is_forest else model


def side_by_side(calls: Sequence[Callable[[], T]], *, jobs: int) -> list[T]:
    """Return the results of fits of few rows, so many at once."""
    # Filters of warnings belong to the process, and scikit-learn sets and resets them
    # in every thread: none may be there that turns a warning into an error.
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        # The longest first, so that none is left to run alone at the end.
        results = Parallel(n_jobs=jobs, backend="threading")(
            delayed(call)() for call in reversed(calls)
        )
    return list(reversed(results))


def combined(models: Sequence[Any]) -> Any:
    """Return the mean of fitted classifiers with the classes 0 and 1; one is itself."""
    if len(models) == 1:
        return models[0]
    named = [(f"model_{n}", FrozenEstimator(model)) for n, model in enumerate(models)]
    mean = VotingClassifier(named, voting="soft")
    # A row of each class: all parts are fitted, and learn nothing of these.
    return mean.fit(np.zeros((2, models[0].n_features_in_)), np.array([0, 1]))


def fit_trees(
    candidate: Candidate, rows: pa.Table, features: Mapping[str, str], *, seed: int
) -> Model:
    """
    Fit Half-Space Trees on the numbers of rows in time order.

    Raises:
        UseCaseError: A parameter is wrong.
    """
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
    weight, others = rows["weight"].to_numpy(), numbers_of(rows["label"]) != 1
    chance = weight / np.median(weight[others]) if others.any() else weight
    drawn = np.random.default_rng(seed).random(len(rows))
    return rows.filter(pa.array(drawn < chance))
