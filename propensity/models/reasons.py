"""
Reasons for probabilities: what each feature adds to a user's log-odds.

A base and one number for each feature have the log-odds of the probability as their
sum. Of trees they are Shapley values (``shapley``), of a linear model its weight times
the feature's distance from the mean of the training. What a preprocessor makes of one
feature counts for that feature.

A sum becomes another number on its way to the probability: log-odds and probabilities
of the members of a mean become each other, and a calibration bends them. Each time the
numbers follow in proportion, so that their sum is the new difference from the base. A
step of an isotonic calibration is too steep for that: positive and negative numbers
would cancel each other out at any size. So the last difference raises the ones by the
factor by which it lowers the others, and no number changes its sign.

Source:
    H. Chen, S. Lundberg and S.-I. Lee, "Explaining a series of models by propagating
    Shapley values", Nature Communications 13, 2022: the proportional rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression

from propensity.errors import Unexplained
from propensity.models import nodes
from propensity.models.anomaly import AnomalyModel
from propensity.models.encoder import Encoder, is_elementwise
from propensity.models.encoder_parts import Categories, Frame, Numbers
from propensity.models.encoding import Array, Kind
from propensity.models.scoring import NEVER, MeanOfModels, log_odds
from propensity.models.shapley import Shapley

Floats = NDArray[np.float64]

# Closer sums have a slope that only rounding decides on.
_CLOSE = 1e-6
# Differences between two ways to the same sum.
_ROUNDING = 1e-11


class _Sum(NamedTuple):
    """
    A model as a sum.

    Attributes:
        base: Log-odds or probability without any feature.
        parts: From encoded rows (n, columns) to what each feature adds, (features, n).
    """

    base: float
    parts: Callable[[Array], Floats]


class Explainer:
    """
    Explain the probabilities of a fitted preprocessor and model.

    Like a scorer, it remembers categories: only one thread may use it at a time.

    Attributes:
        features: Names, in the order of the columns of ``contributions``.
        base: Log-odds of a user without features, before any season's shift.
    """

    def __init__(self, encoder: Encoder, model: _Sum) -> None:
        self.features = tuple(encoder.features)
        self.base = model.base
        self._encoder = encoder
        self._parts = model.parts

    @classmethod
    def compile(
        cls, preprocessor: Any, model: Any, *, features: Mapping[str, Kind]
    ) -> Explainer:
        """
        Prepare to explain a model; arguments are those of ``Scorer.compile``.

        Raises:
            Unexplained: The model is not a sum over features, as Half-Space Trees are
                not, or the preprocessor mixes features.
            SchemaError: As ``Scorer.compile``.
        """
        if isinstance(model, AnomalyModel):
            raise Unexplained(
                "Half-Space Trees give an anomaly score, which is not a sum over "
                "features. Only classifiers that learn from labels have reasons"
            )
        encoder = Encoder.compile(preprocessor, features)
        owners = _Owners(_owners(encoder), len(encoder.features))
        return cls(encoder, _in_log_odds(model, owners))

    def contributions(
        self,
        batch: pa.RecordBatch,
        probability: Floats,
        *,
        log_odds_shift: float | None = None,
    ) -> Floats:
        """
        Return what each feature adds to the log-odds of rows, (rows, features).

        With ``base`` and the shift they have the log-odds of ``probability`` as their
        sum; for a probability of 0 or 1, which has none, those of 1e-9 from there.

        Args:
            batch: The rows, as they were scored.
            probability: Of each row, as published.
            log_odds_shift: The season's, in the probabilities; None without.
        """
        if not batch.num_rows:
            return np.empty((0, len(self.features)))
        parts = self._parts(self._encoder.encode(batch))
        target = _published(probability) - (self.base + (log_odds_shift or 0.0))
        return _balanced(parts, target).T


def _published(probability: Floats) -> Floats:
    """Return the log-odds of probabilities, finite also for 0 and 1."""
    is_inside = (probability > 0) & (probability < 1)
    inside = np.where(is_inside, probability, np.clip(probability, NEVER, 1 - NEVER))
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def _balanced(parts: Floats, target: Floats) -> Floats:
    """
    Return numbers whose sum is the target: positive ones times a factor, others over.

    The factor k solves k P - N / k = target, where P and -N are the sums of positive
    and of negative numbers; it is 1 where the sum is the target already.

    Args:
        parts: (features, rows).
        target: (rows,).
    """
    sums = parts.sum(axis=0)
    if np.abs(target - sums).max() <= _ROUNDING:
        return parts
    positive = np.maximum(parts, 0.0).sum(axis=0)
    negative = positive - sums
    root = np.sqrt(target**2 + 4 * positive * negative)
    # Of the two forms of each root, the one that does not cancel out.
    larger = (np.abs(target) + root) / 2
    smaller = _ratio(positive * negative, larger)
    is_up = target >= 0
    up = _ratio(np.where(is_up, larger, smaller), positive)
    down = _ratio(np.where(is_up, smaller, larger), negative)
    scaled = parts * np.where(parts > 0, up, down)
    # What is left because no part has its sign is shared out equally.
    left = target - scaled.sum(axis=0)
    return np.asarray(
        scaled + np.where(np.abs(left) <= _ROUNDING, 0, left) / len(parts)
    )


def _ratio(numbers: Floats, by: Floats) -> Floats:
    """Return quotients, 0 where there is next to nothing to divide by."""
    return np.divide(numbers, by, out=np.zeros_like(by), where=by > _ROUNDING)


# -- models as sums --------------------------------------------------------------------


class _Owners:
    """The feature of each encoded column."""

    def __init__(self, places: Sequence[int], features: int) -> None:
        self.places = places
        self.features = features

    def zeros(self, rows: int) -> Floats:
        """Return a sum for each feature and row."""
        return np.zeros((self.features, rows))


def _in_log_odds(model: Any, owners: _Owners) -> _Sum:
    """
    Return a classifier as a sum of log-odds.

    Raises:
        Unexplained: It is no sum.
    """
    model = _thawed(model)
    if type(model) is LogisticRegression and len(model.coef_) == 1:
        return _linear(model, owners)
    if type(model) is HistGradientBoostingClassifier:
        return _boosted(model, owners)
    if type(model) is CalibratedClassifierCV:
        return _calibrated(model, owners)
    if _is_forest(model) or isinstance(model, MeanOfModels):
        mean = _in_probability(model, owners)
        base = float(log_odds(np.array(mean.base)))
        return _Sum(base, lambda rows: _followed(mean, rows, log_odds, base))
    raise Unexplained(
        f"{type(model).__name__} is no sum over features that is known here: linear "
        "models, boosted trees, forests, their means and calibrations are"
    )


def _in_probability(model: Any, owners: _Owners) -> _Sum:
    """Return a classifier as a sum of probabilities."""
    if isinstance(model, MeanOfModels):
        count = len(model.members)
        weights = model.weights or [1 / count] * count
        members = [_in_probability(member, owners) for member in model.members]
        each = list(zip(weights, members, strict=True))
        base = sum(weight * member.base for weight, member in each)
        return _Sum(base, lambda rows: _added(each, rows))
    if _is_forest(model):
        return _forest(model, owners)
    inner = _in_log_odds(model, owners)
    base = float(expit(inner.base))
    return _Sum(base, lambda rows: _followed(inner, rows, expit, base))


def _added(each: Sequence[tuple[float, _Sum]], rows: Array) -> Floats:
    total: Any = sum(weight * member.parts(rows) for weight, member in each)
    return np.asarray(total, dtype=np.float64)


def _followed(
    inner: _Sum, rows: Array, function: Callable[[Floats], Floats], base: float
) -> Floats:
    """Return parts in proportion to the difference that a function makes of a sum."""
    parts = inner.parts(rows)
    difference = parts.sum(axis=0)
    is_close = np.abs(difference) < _CLOSE
    difference = np.where(is_close, _CLOSE, difference)
    # In the same memory: to allocate it takes as long as to multiply.
    parts *= (function(inner.base + difference) - base) / difference
    return parts


def _linear(model: LogisticRegression, owners: _Owners) -> _Sum:
    weights = model.coef_[0]
    # Means of the rows that it was fitted on. Older models have none, and are explained
    # against the average number and no category at all.
    means = getattr(model, "column_means_", np.zeros(len(weights)))
    base = float(model.intercept_[0] + weights @ means)
    middle = np.bincount(owners.places, weights * means, owners.features)

    def parts(rows: Array) -> Floats:
        total = owners.zeros(len(rows))
        for place, weight, column in zip(owners.places, weights, rows.T, strict=True):
            total[place] += weight * column
        return np.asarray(total - middle[:, np.newaxis])

    return _Sum(base, parts)


def _boosted(model: HistGradientBoostingClassifier, owners: _Owners) -> _Sum:
    places, encoder = np.asarray(owners.places), model._preprocessor
    if encoder is not None:  # of categories, which it puts first
        chosen = [places[selection] for _, _, selection in encoder.transformers_]
        places = np.concatenate(chosen)
    shapley = Shapley(nodes.boosted(model))
    base = float(model._baseline_prediction.ravel()[0]) + shapley.base

    def parts(rows: Array) -> Floats:
        total = owners.zeros(len(rows))
        encoded = rows if encoder is None else encoder.transform(rows)
        shapley.add(np.asarray(encoded, dtype=np.float64), places.tolist(), total)
        return total

    return _Sum(base, parts)


def _thawed(model: Any) -> Any:
    return _thawed(model.estimator) if type(model) is FrozenEstimator else model


def _is_forest(model: Any) -> bool:
    return type(model) in {RandomForestClassifier, ExtraTreesClassifier}


def _forest(model: Any, owners: _Owners) -> _Sum:
    count = len(model.estimators_)
    trees = nodes.narrowed(nodes.grown(model))
    shapley = Shapley([tree._replace(value=tree.value / count) for tree in trees])

    def parts(rows: Array) -> Floats:
        total = owners.zeros(len(rows))
        # As the forest compares them.
        shapley.add(np.asarray(rows, dtype=np.float32), owners.places, total)
        return total

    return _Sum(shapley.base, parts)


def _calibrated(model: CalibratedClassifierCV, owners: _Owners) -> _Sum:
    if len(model.calibrated_classifiers_) != 1:
        raise Unexplained("a calibration by several folds is not a sum over features")
    [part] = model.calibrated_classifiers_
    [calibrator] = part.calibrators
    estimator = _thawed(part.estimator)
    # Of a forest it reads the probability, of which only a temperature makes log-odds.
    is_forest = _is_forest(estimator)
    as_sum = _in_log_odds
    if is_forest and part.method != "temperature":
        as_sum = _in_probability
    inner = as_sum(estimator, owners)
    if part.method == "sigmoid":
        slope = -float(calibrator.a_)
        return _scaled(inner, slope, slope * inner.base - float(calibrator.b_))
    if part.method == "temperature":
        # A softmax over minus and plus the decision.
        slope = (1.0 if is_forest else 2.0) * float(calibrator.beta_)
        return _scaled(inner, slope, slope * inner.base)
    known, values = calibrator.X_thresholds_, calibrator.y_thresholds_
    base = log_odds(np.interp(inner.base, known, values))
    # Its steps follow by the last difference, see above.
    return _Sum(float(base), inner.parts)


def _scaled(inner: _Sum, slope: float, base: float) -> _Sum:
    return _Sum(base, lambda rows: inner.parts(rows) * slope)


# -- the features behind columns -------------------------------------------------------


def _owners(encoder: Encoder) -> list[int]:
    """
    Return the place of the feature behind each encoded column.

    Raises:
        Unexplained: A column is of several features, or of unknown ones.
    """
    place = {name: at for at, name in enumerate(encoder.features)}
    owners = [-1] * (encoder.width or 0)
    for columns, part in encoder.parts:
        if isinstance(part, Numbers):
            owners[columns] = _of_numbers(part, [place[name] for name in part.names])
        elif isinstance(part, Categories):
            owners[columns] = [
                place[name]
                for name, own in zip(part.features, part.columns, strict=True)
                for _ in range(own.start, own.stop)
            ]
        elif isinstance(part, Frame) and len(part.features) == 1:
            [name] = part.features
            owners[columns] = [place[name]] * (columns.stop - columns.start)
        else:
            raise _mixed("transformer")
    if not owners or min(owners) < 0 or len(owners) != encoder.width:
        raise _mixed("preprocessor")
    return owners


def _of_numbers(part: Numbers, owners: list[int]) -> list[int]:
    for step in part.steps:
        if type(step) is SimpleImputer:
            kept = ~np.isnan(np.asarray(step.statistics_, dtype=np.float64))
            every, marked = np.asarray(owners), []
            if step.add_indicator:
                marked = step.indicator_.features_
            owners = [*every[kept | step.keep_empty_features], *every[marked]]
        elif not is_elementwise(step):
            raise _mixed(type(step).__name__)
    return owners


def _mixed(name: str) -> Unexplained:
    return Unexplained(
        f"the preprocessor's {name} makes columns that are not of one feature each, so "
        "that no feature has a share of its own"
    )
