"""
Candidates: from a use case's declaration to a fitted classifier of scikit-learn.

A model is a candidate, or the mean of several, with or without a calibration. All its
classes are scikit-learn's own, so that a notebook loads it without this package.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from propensity.errors import UseCaseError
from propensity.learning.rows import Slice
from propensity.models.scoring import native_threads
from propensity.usecases import Candidate
from propensity.usecases.declaration import MEAN

Floats = NDArray[np.float64]
T = TypeVar("T")

CALIBRATIONS = ("none", "sigmoid", "isotonic")

# With fewer rows the threads of OpenMP and BLAS wait for each other longer than they
# work: one thread is as fast on an idle machine, and up to ten times as fast on a busy.
PARALLEL_ROWS = 200_000

# Log-odds of a probability of 0 or 1 are infinite.
_SMALLEST = 1e-9

# Defaults of ours, for parameters that a candidate leaves out. A logistic regression
# stops when its mean probability is within ``tol`` of the base rate: scikit-learn's
# default of 1e-4 is a tenth of a base rate of 0.1%.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"LogisticRegression": {"tol": 1e-7}}

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
        raise UseCaseError(f"candidate {candidate.name}: {error}") from error


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
        raise UseCaseError(
            f"candidate {candidate.name} cannot be fitted: {error}"
        ) from error
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


def combined(models: Sequence[Any], calibrator: Any | None = None) -> Any:
    """
    Return the mean of fitted classifiers, calibrated.

    Args:
        models: With the classes 0 and 1. One without a calibration is returned as it
            is.
        calibrator: From ``calibrator``; None for none.
    """
    if len(models) == 1 and calibrator is None:
        return models[0]
    named = [(f"model_{n}", FrozenEstimator(model)) for n, model in enumerate(models)]
    whole: Any = VotingClassifier(named, voting="soft")
    if calibrator is not None:
        whole = StackingClassifier(
            named,
            final_estimator=FrozenEstimator(calibrator),
            cv="prefit",
            stack_method="predict_proba",
        )
    # A row of each class: all parts are fitted, and learn nothing of these.
    return whole.fit(np.zeros((2, models[0].n_features_in_)), np.array([0, 1]))


def calibrator(method: str, probability: Floats, part: Slice) -> Any | None:
    """
    Return a classifier that calibrates the mean of probabilities; None for "none".

    It calibrates log-odds: a sigmoid of probabilities would bend them the wrong way.

    Args:
        method: One of ``CALIBRATIONS``.
        probability: Of class 1 by model, (rows, models).
        part: The same rows, which none of the models has learned from.
    """
    if method == "none":
        return None
    every = np.arange(len(part))
    calibrated = CalibratedClassifierCV(
        FrozenEstimator(_log_odds_of_mean()), method=method, cv=[(every, every)]
    )
    with warnings.catch_warnings():
        # The frozen model ignores weights, which the calibration reads.
        warnings.filterwarnings("ignore", "Since FrozenEstimator .*", UserWarning)
        calibrated.fit(probability, part.label, sample_weight=part.sample_weight)
    return calibrated.set_params(cv=None)


def _log_odds_of_mean() -> Pipeline:
    """Return a fitted classifier whose decision is the log-odds of a row's mean."""
    unchanged = LogisticRegression()
    unchanged.classes_, unchanged.n_features_in_ = np.array([0, 1]), 1
    unchanged.coef_, unchanged.intercept_ = np.ones((1, 1)), np.zeros(1)
    return make_pipeline(
        FunctionTransformer(np.mean, kw_args={"axis": 1, "keepdims": True}),
        FunctionTransformer(
            np.clip, kw_args={"a_min": _SMALLEST, "a_max": 1 - _SMALLEST}
        ),
        FunctionTransformer(logit),
        unchanged,
    )
