"""
Candidates: from a use case's declaration to a fitted classifier.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from propensity.errors import UseCaseError
from propensity.learning import metrics
from propensity.learning.data import Slice
from propensity.models.scoring import MeanOfModels, Pools, native_threads
from propensity.usecases import Candidate
from propensity.usecases.declaration import MEAN

Floats = NDArray[np.float64]
T = TypeVar("T")

# With fewer rows the threads of OpenMP and BLAS wait for each other longer than they
# work: one thread is as fast on an idle machine, and up to ten times as fast on a busy.
PARALLEL_ROWS = 200_000

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

# Figures that compare candidates.
FIGURES: Mapping[str, Callable[[metrics.Outcomes], float | None]] = {
    "roc_auc": metrics.roc_auc,
    "pr_auc": metrics.pr_auc,
    "log_loss": metrics.log_loss,
    "brier": metrics.brier,
}


@dataclass(frozen=True, kw_only=True)
class FittedCandidate:
    """
    A fitted candidate, with its figures on the rows to choose on.

    Without labelled rows to choose on, or from trees that are not warm, there are none.

    Attributes:
        score: Its scores of these rows, where they are judged further; of events only.
    """

    candidate: Candidate
    model: Any
    figures: Mapping[str, float | None]
    fit_s: float
    score: Floats | None = field(default=None, repr=False)


def estimator(candidate: Candidate, fitted: Mapping[str, Any], *, seed: int) -> Any:
    """
    Return a candidate's unfitted classifier.

    A ``MeanOfModels`` has the fitted models ``of`` candidates listed before it, with
    equal weights.

    Args:
        fitted: Models of the candidates before it, by name.
        seed: Of the classifier, unless the candidate fixes its own.

    Raises:
        UseCaseError: Its algorithm or a parameter is unknown.
    """
    if candidate.algorithm == MEAN:
        return MeanOfModels([fitted[name] for name in members(candidate, fitted)])
    algorithm = ALGORITHMS.get(candidate.algorithm)
    if algorithm is None:
        raise UseCaseError(
            f"candidate {candidate.name}: unknown algorithm {candidate.algorithm!r}; "
            f"known are {', '.join(sorted(ALGORITHMS))} and {MEAN}"
        )
    try:
        parameters = {**_DEFAULTS.get(candidate.algorithm, {}), **candidate.parameters}
        if isinstance(weights := parameters.get("class_weight"), Mapping):
            # TOML's keys are texts, and the classes are 0 and 1.
            parameters["class_weight"] = {int(key): weights[key] for key in weights}
        return algorithm().set_params(**{"random_state": seed, **parameters})
    except ValueError as error:
        raise UseCaseError(f"candidate {candidate.name}: {error}") from error


def is_mean(candidate: Candidate) -> bool:
    """Tell whether a candidate is a mean of others, which needs no fit of its own."""
    return candidate.algorithm == MEAN


def members(candidate: Candidate, earlier: Mapping[str, Any]) -> list[str]:
    """
    Return the names of a mean's members.

    Raises:
        UseCaseError: A parameter is unknown, or a member is not among ``earlier``.
    """
    parameters = candidate.parameters
    odd = sorted(set(parameters) - {"of"})
    if odd:
        raise UseCaseError(
            f"candidate {candidate.name}: a {candidate.algorithm} has no parameter "
            f"{', '.join(odd)}, only of"
        )
    names = list(parameters.get("of", ()))
    unknown = sorted(set(names) - set(earlier))
    if unknown or not names:
        raise UseCaseError(
            f"candidate {candidate.name} is the mean of {unknown or 'none'}, "
            f"but the candidates before it are {', '.join(earlier) or 'none'}"
        )
    return names


def side_by_side(
    fits: Sequence[Callable[[], T]], *, rows: int, pools: Pools | None
) -> list[T]:
    """
    Return the results of fits that do not depend on each other, in their order.

    Few rows are fitted side by side, each on one processor. Many rows are fitted one
    after another, each on all processors, and then only one fit takes memory.

    Args:
        fits: Begin with the quickest.
        rows: Of the largest.
        pools: Opens the threads; without, few rows are fitted in turn, too.
    """
    if rows > PARALLEL_ROWS or pools is None:
        return [fit() for fit in fits]
    # Filters belong to the process, and scikit-learn sets and resets them in every
    # thread: none may be there that turns a warning into an error, and what is warned
    # of meanwhile goes nowhere.
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        with pools(cpu_count(), "fit") as pool:
            # The longest first, so that none is left to run alone at the end.
            futures = [pool.submit(_on_one_processor, fit) for fit in reversed(fits)]
            return [future.result() for future in reversed(futures)]


def _on_one_processor(fit: Callable[[], T]) -> T:
    with native_threads().limit(limits=1, user_api="openmp"):
        return fit()


def fit_on(model: Any, encoded: Any, part: Slice, *, name: str) -> Any:
    """
    Fit a candidate on all processors, few rows on one; it predicts on one.

    A forest that predicts in threads adds its trees up in the order in which they
    finish, so that no two predictions agree to the last bit. Scoring has threads of
    its own anyway.

    Raises:
        UseCaseError: It cannot be fitted on these rows.
    """
    if isinstance(model, MeanOfModels):
        return model  # its members are fitted
    has_jobs = "n_jobs" in model.get_params() and not isinstance(
        model, LogisticRegression
    )
    if has_jobs and len(part) > PARALLEL_ROWS:
        model.set_params(n_jobs=-1)
    share = model.get_params().get("max_samples")
    has_share = isinstance(share, float) and 0 < share <= 1
    if has_share:
        # A share of the weight, as in scikit-learn. Rows of a sample stand for many
        # others: a tree draws as many as there are at most.
        draws = int(min(share * part.weight.sum(), len(part)))
        model.set_params(max_samples=max(1, draws))
    try:
        with warnings.catch_warnings():
            # A fit that stops at max_iter is judged by its figures like any other.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(encoded, part.label, **part.sample_weight)
    except (ValueError, TypeError) as error:
        raise UseCaseError(f"candidate {name} cannot be fitted: {error}") from error
    if has_jobs:
        model.set_params(n_jobs=None)
    if has_share:
        model.set_params(max_samples=share)
    return model


def figures(probability: Floats, part: Slice) -> dict[str, float | None]:
    """Return the figures of a candidate's probabilities of some rows."""
    outcomes = part.outcomes(probability)
    return {name: measure(outcomes) for name, measure in FIGURES.items()}
