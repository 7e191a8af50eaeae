"""
Expected value: what a user pays on average, whether they buy or not.

It is the probability times the amount of a buyer like them. The amount is learned from
the buyers of the snapshots that the classifier learns from, by candidates that are
judged forward in time as classifiers are (``rolling``): the mean of all buyers, or
boosted trees. Amounts have a heavy tail, so their error counts relative to what was
expected (gamma deviance), and no buyer weighs more than a share of a fit.

Source:
    Frees, Lee and Yang, "Multivariate Frequency-Severity Regression Models in
    Insurance", Risks 4, 2016: how many and how much, as two models. McCullagh and
    Nelder, "Generalized Linear Models", 1989, chapter 8: gamma deviance with a
    logarithmic link, for positive amounts whose spread grows with their mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from propensity.learning import cost
from propensity.learning.amounts import AMOUNT, capped, paid
from propensity.learning.candidates import PARALLEL_ROWS
from propensity.learning.data import Parts, Slice, slice_of
from propensity.learning.preprocessor import transformed
from propensity.learning.sample import sampled
from propensity.models.value import ValueModel
from propensity.tables import VALUE
from propensity.usecases import UseCase

if TYPE_CHECKING:
    from propensity.learning.fit import Trained

Floats = NDArray[np.float64]

MEAN, TREES = "mean", "boosted_trees"

# Slow and shallow: a few thousand buyers of one shop.
_TREES: Mapping[str, Any] = {
    "loss": "gamma",
    "learning_rate": 0.05,
    "max_iter": 100,
    "max_leaf_nodes": 6,
    "min_samples_leaf": 50,
    "l2_regularization": 1.0,
    "early_stopping": False,
}

# The gamma deviance needs amounts above zero; this is a share of the mean.
_LEAST = 1e-3


@dataclass(frozen=True, kw_only=True)
class Valued:
    """
    A model of expected values, and what it has shown.

    Attributes:
        model: It serves: fitted on all rows.
        losses: Gamma deviance of the buyers' amounts, by candidate.
        figures: Of the holdout rows, by a model that has not seen them, by column name.
        buyers: Rows fitted on.
        without_amount: Of these, those that paid nothing that is known.
    """

    model: ValueModel
    algorithm: str
    losses: Mapping[str, float]
    figures: Mapping[str, Any]
    buyers: int
    without_amount: int


def train(
    parts: Parts, trained: Trained, use_case: UseCase, *, seed: int
) -> Valued | None:
    """
    Learn what buyers pay, beside a classifier and from its rows.

    Args:
        parts: The rows, split by time, with ``AMOUNT`` where any is known.
        trained: The classifier, measured.
        seed: Of a sample, where there are very many rows.

    Returns:
        None where there is nothing to learn: no amounts, or none above zero in the
        first rows that are fitted on; and for use cases of events.
    """
    if (
        parts.every is None
        or AMOUNT not in parts.every.rows.column_names
        or trained.choice is None
        or trained.measured is None
    ):
        return None
    fit = partial(_model, features=dict(use_case.features), seed=seed)
    with threadpool_limits(1 if len(parts.every) <= PARALLEL_ROWS else None):
        forward = _forward(parts, parts.every, trained.choice.encoder, fit)
        if forward is None:
            return None
        losses = _losses(forward, parts.choosing)
        algorithm = min(losses, key=lambda name: losses[name])
        served, measured = (
            fit(algorithm, part, encoder)
            for part, encoder in (
                (parts.every, trained.preprocessor),
                (parts.fitting, trained.measured[0]),
            )
        )
        if served is None or measured is None:
            return None
        held = parts.holdout
        expected = measured.amounts_of(held.rows)
    bought = parts.every.label == 1
    return Valued(
        model=served,
        algorithm=algorithm,
        losses=losses,
        figures={
            "value_promised": cost.exact(trained.probability * expected, held.weight),
            "value_observed": cost.exact(paid(held), held.weight),
        },
        buyers=int(bought.sum()),
        without_amount=int((bought & (paid(parts.every) == 0)).sum()),
    )


def card(valued: Valued | None) -> dict[str, Any]:
    """Return what the card says of expected values; nothing without any."""
    if valued is None:
        return {}
    return {
        "value": {
            "algorithm": valued.algorithm,
            "losses": dict(valued.losses),
            "mean_amount": valued.model.mean,
            "buyers": valued.buyers,
            "without_amount": valued.without_amount,
            **cost.plain(valued.figures),
        }
    }


def row(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a version's row; null without amounts."""
    entry = card.get("value") or {}
    figures = {column.name: entry.get(column.name) for column in VALUE}
    described = {name: value for name, value in entry.items() if name not in figures}
    return {**figures, "value": json.dumps(described) if entry else None}


def _model(
    name: str,
    part: Slice,
    encoder: Any,
    *,
    features: dict[str, str],
    seed: int,
) -> ValueModel | None:
    """Return a model of the buyers among rows; None where they paid nothing."""
    is_buyer = part.label == 1
    rows = part.rows.filter(pa.array(is_buyer))
    weight = part.weight[is_buyer]
    buyers = sampled(
        Slice(rows=rows, label=part.label[is_buyer], weight=weight), seed=seed
    )
    amount = capped(paid(buyers), buyers.weight)
    total = float((amount * buyers.weight).sum())
    if not total > 0:
        return None
    mean = total / float(buyers.weight.sum())
    regressor = None
    if name == TREES:
        encoded = transformed(encoder, buyers.rows, features)
        regressor = HistGradientBoostingRegressor(**_TREES, random_state=seed)
        # Weights make the binning slow, so none are given where all are equal.
        relative = np.maximum(amount / mean, _LEAST)
        regressor.fit(encoded, relative, **buyers.sample_weight)
        # Trees keep the mean of each leaf nearly; a promise keeps the sum.
        again = regressor.predict(encoded)
        mean = total / float((again * buyers.weight).sum())
    kinds: Any = features
    return ValueModel(
        kinds,
        preprocessor=None if regressor is None else encoder,
        regressor=regressor,
        mean=mean,
    )


def _forward(
    parts: Parts,
    every: Slice,
    encoder: Any,
    fit: Callable[[str, Slice, Any], ValueModel | None],
) -> dict[str, Floats] | None:
    """Return the judged rows' amounts by candidate, each fitted before its block."""
    amounts_of: dict[str, list[Floats]] = {MEAN: [], TREES: []}
    for block in parts.blocks:
        known = slice_of(every.rows, block.fitting)
        judged = slice_of(every.rows, block.judged)
        for name, amounts in amounts_of.items():
            model = fit(name, known, encoder)
            if model is None:
                return None
            amounts.append(model.amounts_of(judged.rows))
    return {name: np.concatenate(amounts) for name, amounts in amounts_of.items()}


def _losses(forward: Mapping[str, Floats], rows: Slice) -> dict[str, float]:
    """Return the mean gamma deviance of the buyers' amounts, by candidate."""
    is_buyer = rows.label == 1
    amount = paid(rows)[is_buyer]
    weight = rows.weight[is_buyer]
    return {
        name: float(
            np.average(
                np.log(expected[is_buyer]) + amount / expected[is_buyer], weights=weight
            )
        )
        for name, expected in forward.items()
    }
