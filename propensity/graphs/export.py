"""
A fitted preprocessor and model as the bytes of ``model.onnx``.

Inputs are the features, each a column (n, 1): numbers as float64, NaN for NULL, and
categories as texts that ``categories.PREFIX`` marks, so that NULL has its own text.
The one output is the probability of class 1, (n,), float64: the calibrated one, without
a season's shift. A row that the model refuses, such as a gap where it has none, has
NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from propensity.graphs import trees
from propensity.graphs.builder import OUTPUT, Graph, Unsupported
from propensity.graphs.columns import Columns
from propensity.models.encoder import Encoder
from propensity.models.encoding import Kind
from propensity.models.nodes import grown
from propensity.models.scoring import NEVER, MeanOfModels

Floats = NDArray[np.float64]


def exported(
    preprocessor: Any,
    model: Any,
    *,
    features: Mapping[str, Kind],
    nudge: float = 0.0,
) -> bytes:
    """
    Return the graph of a fitted preprocessor and model.

    Args:
        preprocessor: As for ``Scorer.compile``.
        nudge: Added to what an isotonic calibration reads, to see what a last digit
            decides; such a graph is not to be kept.

    Raises:
        Unsupported: A part of them has no graph; the message says which.
        SchemaError: Features, preprocessor and model do not fit together.
    """
    if any(name.lower() == OUTPUT for name in features):
        raise Unsupported(f"a feature is named {OUTPUT}, as the graph's output is")
    if getattr(model, "feature_names_in_", None) is not None:
        raise Unsupported("the model was fitted on named columns")
    graph = Graph(nudge=nudge)
    columns = Columns(graph, Encoder.compile(preprocessor, features))
    if model.n_features_in_ != columns.width:
        raise Unsupported(
            f"the model reads {model.n_features_in_} columns of {columns.width}"
        )
    return graph.serialized(columns.but_for_refused(_probability(columns, model)))


def has_steps(model: Any) -> bool:
    """Tell whether a part of a model is an isotonic calibration: what a nudge moves."""
    parts = getattr(model, "calibrated_classifiers_", ())
    inner = [
        *getattr(model, "members", ()),
        *(part.estimator for part in parts),
        *([model.estimator] if type(model) is FrozenEstimator else ()),
    ]
    return any(part.method == "isotonic" for part in parts) or any(
        map(has_steps, inner)
    )


def _probability(columns: Columns, model: Any) -> str:
    """Add a model to a graph, and return its probability of class 1, (n,)."""
    graph = columns.graph
    if type(model) is FrozenEstimator:
        return _probability(columns, model.estimator)
    if type(model) is MeanOfModels:
        count = len(model.members)
        weights = [1.0] * count if model.weights is None else model.weights
        each = [_probability(columns, member) for member in model.members]
        total = _weighted(graph, each, weights)
        return total if model.weights else _divided(graph, total, count)
    if type(model) is CalibratedClassifierCV:
        parts = [_calibrated(columns, part) for part in model.calibrated_classifiers_]
        total = _weighted(graph, parts, [1.0] * len(parts))
        return _divided(graph, total, len(parts))
    if type(model) in (RandomForestClassifier, ExtraTreesClassifier):
        return _forest(columns, model)
    return _expit(graph, _decision(columns, model))


def _decision(columns: Columns, model: Any) -> str:
    """Add a model to a graph, and return what a calibration reads, (n,)."""
    graph = columns.graph
    if type(model) is FrozenEstimator:
        return _decision(columns, model.estimator)
    if type(model) is MeanOfModels:
        ends = [graph.constant(end) for end in (NEVER, 1 - NEVER)]
        inside = graph.add("Clip", _probability(columns, model), *ends)
        against = graph.add("Sub", graph.constant(1.0), inside)
        return graph.add("Log", graph.add("Div", inside, against))
    if type(model) in (RandomForestClassifier, ExtraTreesClassifier):
        return _forest(columns, model)
    if len(getattr(model, "classes_", ())) != 2:
        raise Unsupported("a model of other than two classes")
    if type(model) is LogisticRegression:
        product = columns.product(np.asarray(model.coef_[0], dtype=np.float64))
        logit = graph.add("Add", product, graph.constant(float(model.intercept_[0])))
        # NaN where it is infinite: scikit-learn refuses such a row.
        return graph.add("Add", logit, graph.add("Sub", logit, logit))
    if type(model) is HistGradientBoostingClassifier:
        total = trees.total(columns, trees.boosted(model), is_single=False)
        baseline = float(model._baseline_prediction.ravel()[0])
        return graph.add("Add", total, graph.constant(baseline))
    raise Unsupported(f"a {type(model).__name__} has no graph")


def _forest(columns: Columns, model: Any) -> str:
    graph = columns.graph
    total = trees.total(columns, grown(model), is_single=True)
    mean = _divided(graph, total, len(model.estimators_))
    # It refuses what is no float32, and perhaps gaps: the row is NaN.
    values = graph.cast(columns.narrow)
    zeros = graph.add("Sub", values, values)
    if model.__sklearn_tags__().input_tags.allow_nan and model.monotonic_cst is None:
        is_there = graph.add("Equal", values, values)
        zeros = graph.add("Where", is_there, zeros, graph.constant([[0.0]]))
    return graph.add("Add", mean, graph.total(zeros))


def _calibrated(columns: Columns, part: Any) -> str:
    graph, decision = columns.graph, _decision(columns, part.estimator)
    if part.method == "temperature":
        if type(part.estimator) in (RandomForestClassifier, ExtraTreesClassifier):
            raise Unsupported("a temperature of a forest's probabilities")
        # A softmax over minus and plus the decision.
        beta = 2.0 * float(part.calibrators[0].beta_)
        return _expit(graph, graph.scaled(decision, beta))
    [calibrator] = part.calibrators
    if part.method == "sigmoid":
        slope, shift = -float(calibrator.a_), graph.constant(-float(calibrator.b_))
        return _expit(graph, graph.add("Add", graph.scaled(decision, slope), shift))
    if graph.nudge:
        decision = graph.add("Add", decision, graph.constant(graph.nudge))
    return _interpolated(
        graph, decision, calibrator.X_thresholds_, calibrator.y_thresholds_
    )


def _interpolated(graph: Graph, x: str, known: Floats, values: Floats) -> str:
    """Add a linear interpolation as numpy's, constant beyond the ends."""
    known, values = (np.asarray(v, dtype=np.float64) for v in (known, values))
    if len(known) == 1:
        zero = graph.add("Sub", x, x)
        return graph.add("Add", zero, graph.constant(float(values[0])))
    ends = (graph.constant(float(known[end])) for end in (0, -1))
    inside = graph.add("Clip", x, *ends)
    segment = trees.place(graph, inside, known[1:-1])

    def of_segment(table: Floats) -> str:
        return graph.add("Gather", graph.constant(table), segment)

    offset = graph.add("Sub", inside, of_segment(known[:-1]))
    slopes = np.diff(values) / np.diff(known)
    rise = graph.add("Mul", offset, of_segment(slopes))
    return graph.add("Add", rise, of_segment(values[:-1]))


def _weighted(graph: Graph, tensors: list[str], weights: Any) -> str:
    parts = [
        graph.scaled(tensor, float(weight))
        for tensor, weight in zip(tensors, weights, strict=True)
    ]
    return graph.add("Sum", *parts)


def _divided(graph: Graph, tensor: str, count: int) -> str:
    return graph.add("Div", tensor, graph.constant(float(count)))


def _expit(graph: Graph, x: str) -> str:
    # Not the operator Sigmoid, which loses the last digits of small probabilities.
    power = graph.add("Exp", graph.add("Neg", x))
    return graph.add("Reciprocal", graph.add("Add", power, graph.constant(1.0)))
