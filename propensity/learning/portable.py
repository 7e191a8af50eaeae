"""
A version as one scikit-learn estimator, which loads where this package is not.

``model.joblib`` names classes of ours, such as ``MeanOfModels``, and its preprocessor
is a file of its own. For whoever works in a notebook both are put into one ``Pipeline``
of scikit-learn's own classes, from a frame of features to probabilities. It serves
nobody: the functions load what the training measured.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from propensity.errors import SchemaError
from propensity.models.encoding import Kind, to_frame
from propensity.models.scoring import NEVER, MeanOfModels
from propensity.registry.versions import pickled

Floats = NDArray[np.float64]

# The largest difference from the probability that is served: sums of floats in another
# order.
TOLERANCE = 1e-12

# Rows that are compared: scikit-learn takes five times as long for them as the scorer.
COMPARED_ROWS = 16_384

# Packages whose classes a pickle may name: those of any scikit-learn. Boosted trees
# with ``categorical_features`` encode them by one of ``functools``.
LIBRARIES = frozenset(
    {"builtins", "copyreg", "functools", "numpy", "pandas", "scipy", "sklearn"}
)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """
    A version in another form, which may stand for it.

    Attributes:
        data: Its bytes; None where there is none.
        note: How equal it is to what serves, or why there is none.
    """

    data: bytes | None
    note: str


def checked(
    preprocessor: Any,
    model: Any,
    *,
    rows: pa.Table,
    expected: Floats,
    features: Mapping[str, Kind],
) -> Exported:
    """
    Return the estimator of a version, if it gives the same probabilities.

    A version without one is no failure of its training.

    Args:
        preprocessor, model: Fitted, as they serve.
        rows: The held-out rows, of which ``COMPARED_ROWS`` at most are compared, evenly
            spread.
        expected: The probabilities of them that the scorer gives, (rows,).
        features: Kind of each feature by name, in the order of the frame.
    """
    if len(rows) > COMPARED_ROWS:
        places = np.linspace(0, len(rows) - 1, COMPARED_ROWS).astype(np.int64)
        rows, expected = rows.take(pa.array(places)), expected[places]
    try:
        pipeline = estimator(preprocessor, model)
        if foreign := sorted(_named_packages(pipeline) - LIBRARIES):
            return _none(f"its pickle needs {', '.join(foreign)}")
        with np.errstate(all="ignore"):  # as the scorer does: rows may be extreme
            probabilities = [
                pipeline.predict_proba(to_frame(batch, features))[:, 1]
                for batch in rows.to_batches()
            ]
    except (AttributeError, LookupError, SchemaError, TypeError, ValueError) as error:
        return _none(str(error))
    if not probabilities:
        return _none("there are no held-out rows to compare")
    apart = np.abs(np.concatenate(probabilities) - expected).max()
    text = f"largest difference {apart:.2g} on {len(expected)} held-out rows"
    if not apart <= TOLERANCE:  # nor where it is NaN
        return _none(f"it differs, {text}")
    return Exported(data=pickled(pipeline), note=text)


def _none(why: str) -> Exported:
    return Exported(data=None, note=f"no estimator: {why}")


def estimator(preprocessor: Any, model: Any) -> Pipeline:
    """
    Return preprocessor and model as one pipeline of scikit-learn's own classes.

    Its input is a frame as ``to_frame`` makes it: features in their order, numbers as
    float64, categories as texts, NaN for what is missing.
    """
    plain = _voting(model) if isinstance(model, MeanOfModels) else _plain(model)
    return Pipeline([("preprocessor", preprocessor), ("model", plain)])


def _plain(model: Any) -> Any:
    """Return a model in which no part is a class of ours."""
    if isinstance(model, MeanOfModels):
        return _stacking(model)
    if type(model) is FrozenEstimator:
        return FrozenEstimator(_plain(model.estimator))
    if type(model) is CalibratedClassifierCV:
        whole, parts = copy.copy(model), []
        for fold in model.calibrated_classifiers_:
            part = copy.copy(fold)
            part.estimator = _plain(fold.estimator)
            parts.append(part)
        whole.calibrated_classifiers_ = parts
        whole.estimator = _plain(model.estimator)
        return whole
    return model


def _voting(mean: MeanOfModels) -> VotingClassifier:
    """Return a mean whose probabilities are asked for."""
    members = [(name, FrozenEstimator(member)) for name, member in _named(mean)]
    voting = VotingClassifier(members, voting="soft")
    return voting.fit(*_any_rows(mean))


def _stacking(mean: MeanOfModels) -> StackingClassifier:
    """
    Return a mean whose decision is asked for: the log-odds of the mean probability.

    A calibration reads these. On top of the members' probabilities a chain takes the
    mean, and its log-odds, and a regression that leaves them as they are.
    """
    unchanged = LogisticRegression()
    unchanged.classes_, unchanged.n_features_in_ = np.array([0, 1]), 1
    unchanged.coef_, unchanged.intercept_ = np.ones((1, 1)), np.zeros(1)
    of_members = {"axis": 1, "keepdims": True}
    chain = make_pipeline(
        FunctionTransformer(np.average, kw_args=of_members),
        FunctionTransformer(np.clip, kw_args={"a_min": NEVER, "a_max": 1 - NEVER}),
        FunctionTransformer(logit),
        unchanged,
    )
    stacking = StackingClassifier(
        _named(mean),
        final_estimator=FrozenEstimator(chain),
        cv="prefit",
        stack_method="predict_proba",
    )
    return stacking.fit(*_any_rows(mean))


def _named(mean: MeanOfModels) -> list[tuple[str, Any]]:
    members = map(_plain, mean.members)
    return [(f"member_{number}", member) for number, member in enumerate(members)]


def _any_rows(mean: MeanOfModels) -> tuple[Floats, NDArray[np.int64]]:
    """Return a row of each class: all parts are fitted, and learn nothing of these."""
    return np.zeros((2, mean.n_features_in_)), np.array([0, 1])


class _Reader(pickle.Unpickler):
    """Read a pickle, and remember the packages that it names."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.packages: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, as ``pickle`` does."""
        self.packages.add(module.partition(".")[0])
        return super().find_class(module, name)


def _named_packages(pipeline: Any) -> set[str]:
    reader = _Reader(io.BytesIO(pickle.dumps(pipeline)))
    reader.load()
    return reader.packages
