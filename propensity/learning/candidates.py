"""
Candidates: from a use case's declaration to a fitted preprocessor and classifier.

A preprocessor turns features into the numbers that a classifier reads. It is a
scikit-learn ColumnTransformer: the default, the use case's own, or an upload.

A model is a candidate, or the mean of several. All its classes are scikit-learn's own,
so that a notebook loads it without this package; but for those of Half-Space Trees.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn import ensemble
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from propensity.errors import SchemaError, UseCaseError
from propensity.learning.rows import Slice
from propensity.learning.task import CATEGORY, MEAN, NUMBER, Candidate, Task
from propensity.models.encoding import to_frame
from propensity.models.scoring import native_threads
from propensity.watching import Watched, unwatched

T = TypeVar("T")

# With fewer rows the threads of OpenMP and BLAS wait for each other longer than they
# work: one thread is as fast on an idle machine, and up to ten times as fast on a busy.
PARALLEL_ROWS = 200_000

# Defaults of ours, for parameters that a candidate leaves out. A logistic regression
# stops when its mean probability is within ``tol`` of the base rate: scikit-learn's
# default of 1e-4 is a tenth of a base rate of 0.1%.
_DEFAULTS = {"LogisticRegression": {"tol": 1e-7}}

# Values rarer than this share of the training rows are pooled.
_RARE = 0.01

# Numbers in standard deviations end here: at the value of a flag that 5% of the rows
# have. A rarer flag would be farther out the fewer rows have it, so that a single row
# of 100,000 would decide the probability of all later users with that flag or gap.
_FARTHEST = (0.95 / 0.05) ** 0.5

ALGORITHMS: Mapping[str, type] = {
    "LogisticRegression": LogisticRegression,
    "HistGradientBoostingClassifier": ensemble.HistGradientBoostingClassifier,
    "RandomForestClassifier": ensemble.RandomForestClassifier,
    "ExtraTreesClassifier": ensemble.ExtraTreesClassifier,
}


def preprocessor_of(task: Task) -> Any:
    """Return the unfitted preprocessor of a task, or the default."""
    if task.preprocessor is not None:
        return task.preprocessor
    return encoder_of(task.features)


def encoder_of(features: Mapping[str, str]) -> ColumnTransformer:
    """
    Return the default preprocessor of features, unfitted.

    Numbers: the median for missing values, with a column that marks them; arcsinh, a
    logarithm that takes zero and negative numbers; then unit variance, and no value
    farther from the mean than ``_FARTHEST``. Categories: a column per value; rare
    values are pooled, with values that are new.
    """
    numbers = [name for name, kind in features.items() if kind == NUMBER]
    categories = [name for name, kind in features.items() if kind == CATEGORY]
    of_numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        FunctionTransformer(np.arcsinh),
        StandardScaler(),
        FunctionTransformer(np.clip, kw_args={"a_min": -_FARTHEST, "a_max": _FARTHEST}),
    )
    of_categories = make_pipeline(
        SimpleImputer(
            strategy="constant", fill_value="(missing)", keep_empty_features=True
        ),
        OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            min_frequency=_RARE,
            sparse_output=False,
        ),
    )
    return ColumnTransformer(
        [("numbers", of_numbers, numbers), ("categories", of_categories, categories)],
        sparse_threshold=0.0,
    )


def check_preprocessor(
    preprocessor: Any, features: Mapping[str, str]
) -> tuple[NDArray[Any], Slice]:
    """
    Fit a preprocessor on a few generated rows with gaps, or raise SchemaError.

    It must also encode a category that is new to it: next week has some.

    Returns:
        These rows, encoded, and as they were: what a candidate can be fitted on.
    """
    if not isinstance(preprocessor, ColumnTransformer):
        raise SchemaError(
            "a preprocessor is an unfitted sklearn ColumnTransformer, "
            f"not {type(preprocessor).__name__}"
        )
    count = 40
    row = np.arange(count)
    columns = dict[str, pa.Array]()
    for position, (name, kind) in enumerate(features.items()):
        values = pa.array(row * (position + 3) % 11, mask=(row + position) % 7 == 0)
        columns[name] = values.cast(pa.float64() if kind == NUMBER else pa.string())
    # Weights differ, so that a fit is given them: not every classifier takes any.
    targets = {"label": (row % 2).astype(np.int8), "weight": 1.0 + row % 3}
    part = Slice(rows=pa.table({**columns, **targets}))
    fit = fitted(preprocessor, part, features)
    encoded = np.asarray(transformed(fit, part.rows, features))
    if encoded.dtype.kind not in "biuf":
        raise SchemaError(
            f"the preprocessor gives {encoded.dtype}, but models read numbers: encode "
            "every category, and mind what remainder='passthrough' lets through"
        )
    unseen = pa.array(["never seen"] * count)
    columns |= {name: unseen for name, kind in features.items() if kind == CATEGORY}
    transformed(fit, pa.table(columns), features)
    return encoded, part


def fitted(preprocessor: Any, part: Slice, features: Mapping[str, str]) -> Any:
    """Return a fitted clone of a preprocessor; SchemaError if it fits no features."""
    try:
        return clone(preprocessor).fit(to_frame(part.rows, features), part.label)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SchemaError(
            "the preprocessor does not fit the use case's features",
            hint=f"Correct the file that defines it: {error}",
        ) from error


def transformed(encoder: Any, rows: pa.Table, features: Mapping[str, str]) -> Any:
    """
    Return rows, encoded by a fitted preprocessor into a dense array.

    Many are encoded in pieces: a preprocessor holds its rows several times.
    """
    if len(rows) <= PARALLEL_ROWS:
        return _encoded(encoder, rows, features)
    encoded = None
    for first in range(0, len(rows), PARALLEL_ROWS):
        piece = _encoded(encoder, rows[first : first + PARALLEL_ROWS], features)
        if encoded is None:
            encoded = np.empty((len(rows), piece.shape[1]), piece.dtype)
        encoded[first : first + PARALLEL_ROWS] = piece
    return encoded


def _encoded(encoder: Any, rows: pa.Table, features: Mapping[str, str]) -> Any:
    try:
        encoded = encoder.transform(to_frame(rows, features))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SchemaError(
            "the preprocessor cannot encode rows that it was not fitted on",
            hint="Set handle_unknown of encoders, so that they know what to do with a "
            f"new category: {error}",
        ) from error
    # Arrays have no names of columns, and neither has what is scored.
    return np.asarray(encoded.toarray() if hasattr(encoded, "toarray") else encoded)


# -- classifiers -----------------------------------------------------------------------


def estimator(candidate: Candidate, *, seed: int) -> Any:
    """Return an unfitted classifier; its own seed is first. UseCaseError if wrong."""
    algorithm = ALGORITHMS.get(candidate.algorithm)
    if algorithm is None:
        algorithm = imported(candidate)
    try:
        parameters = {**_DEFAULTS.get(candidate.algorithm, {}), **candidate.parameters}
        weights = parameters.get("class_weight")
        if isinstance(weights, Mapping):
            # TOML's keys are texts, and the classes are 0 and 1.
            parameters["class_weight"] = {int(key): weights[key] for key in weights}
        model = algorithm()
        if "random_state" in model.get_params():
            parameters = {"random_state": seed, **parameters}
        return model.set_params(**parameters)
    except (ValueError, TypeError) as error:
        raise unfit(candidate, error) from error


def imported(candidate: Candidate) -> type:
    """Return the class of a candidate of another library, or UseCaseError."""
    module, _, name = candidate.algorithm.rpartition(".")
    try:
        algorithm = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        package = module.partition(".")[0]
        raise UseCaseError(
            f"candidate {candidate.name} needs {candidate.algorithm}, which is not "
            "here",
            hint=f"Install {package}. If it is a file of yours, write PYTHONPATH=. "
            f"before the command. Or correct the name: {error}",
        ) from error
    if not hasattr(algorithm, "fit") or not hasattr(algorithm, "predict_proba"):
        raise UseCaseError(
            f"candidate {candidate.name}: {candidate.algorithm} has no fit and "
            "predict_proba",
            hint="Name a classifier with the interface of scikit-learn",
        )
    return cast(type, algorithm)


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
    """Return a candidate, fitted on encoded rows; UseCaseError if it cannot be."""
    model = estimator(candidate, seed=seed)
    is_large = len(part) > PARALLEL_ROWS
    is_forest = isinstance(
        model, ensemble.RandomForestClassifier | ensemble.ExtraTreesClassifier
    )
    if is_forest and is_large:
        model.set_params(n_jobs=-1)
    is_boosted = isinstance(model, ensemble.HistGradientBoostingClassifier)
    if is_boosted and part.sample_weight is not None:
        encoded = with_few_values(encoded, model.max_bins)
    # Not every classifier takes weights.
    weights = {}
    if part.sample_weight is not None:
        weights["sample_weight"] = part.sample_weight
    threads = native_threads().limit(limits=None if is_large else 1, user_api="openmp")
    try:
        with warnings.catch_warnings(), threads:
            # A fit that stops at max_iter is judged by its metrics like any other.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(encoded, part.label, **weights)
    except (ValueError, TypeError) as error:
        raise unfit(candidate, error) from error
    # Threads would add the trees up in another order each time.
    return model.set_params(n_jobs=None) if is_forest else model


def with_few_values(encoded: Any, most: int) -> Any:
    """
    Return encoded rows with so many values in a column at most, each the nearest.

    Boosted trees read no more. Where rows weigh differently they take longer to choose
    these than for the rest of a fit, so they get no choice. They cut midway between two
    values, which is where the nearest changes: exact rows are scored as these.
    """
    rounded = np.array(encoded, dtype=np.float64, order="F")
    for number in range(rounded.shape[1]):
        column = rounded[:, number]
        is_number = ~np.isnan(column)
        values = np.unique(column[is_number])
        if len(values) <= most:
            continue
        values = np.unique(np.quantile(column[is_number], np.linspace(0, 1, most)))
        middles = (values[:-1] + values[1:]) / 2
        nearest = np.searchsorted(middles, column[is_number])
        rounded[is_number, number] = values[nearest]
    return rounded


def run_parallel(
    calls: Sequence[Callable[[], T]],
    *,
    jobs: int,
    label: str,
    watched: Watched = unwatched,
) -> list[T]:
    """Return the results of fits, so many at once; ``label`` says what they are for."""
    # Filters of warnings belong to the process, and scikit-learn sets and resets them
    # in every thread: none may be there that turns a warning into an error.
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        # The longest first, so that none is left to run alone at the end.
        parallel = Parallel(n_jobs=jobs, backend="threading", return_as="generator")
        fits = parallel(delayed(call)() for call in reversed(calls))
        # Strict, it asks for one more: joblib warns of fits whose end nobody has seen.
        pairs = zip(watched(calls, label), fits, strict=True)
        results = [fitted for _, fitted in pairs]
    return results[::-1]


def combined(models: Sequence[Any]) -> Any:
    """Return the mean of fitted classifiers with the classes 0 and 1; one is itself."""
    if len(models) == 1:
        return models[0]
    estimators = [
        (f"model_{n}", FrozenEstimator(model)) for n, model in enumerate(models)
    ]
    mean = ensemble.VotingClassifier(estimators, voting="soft")
    # A row of each class: all parts are fitted, and learn nothing of these.
    return mean.fit(np.zeros((2, models[0].n_features_in_)), np.array([0, 1]))
