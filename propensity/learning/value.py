"""
Expected value: what a user pays on average, whether they buy or not.

It is the probability times the amount of a buyer like them. The amount is learned from
the buyers of the snapshots that the classifier learns from, by candidates that are
judged forward in time as classifiers are: the mean of all buyers, or boosted trees.
Amounts have a heavy tail, so their error counts relative to what was expected (gamma
deviance), and no buyer weighs more than a share of a fit.

Source:
    Frees, Lee and Yang, "Multivariate Frequency-Severity Regression Models in
    Insurance", Risks 4, 2016: how many and how much, as two models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from propensity.learning.candidates import PARALLEL_ROWS, fitted, transformed
from propensity.learning.rows import Slice
from propensity.learning.trained import Trained
from propensity.measures.revenue import amounts, total
from propensity.models.encoding import Floats, floats_of
from propensity.models.value import ValueModel

# Column of a training's rows with what a buyer paid; null for the others.
AMOUNT = "label_amount"

MEAN = "mean"
TREES = "boosted_trees"

# Slow and shallow: a few thousand buyers of one shop.
_TREES = {
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

# A single buyer's share of all amounts in a fit, at most; of few buyers, so many equal
# shares.
_LARGEST_SHARE = 0.02
_EQUAL_SHARES = 3.0


@dataclass(frozen=True, kw_only=True)
class Valued:
    """
    A model of amounts, and what it has shown.

    Attributes:
        model: It goes live: fitted on all rows.
        losses: Gamma deviance of the buyers' amounts, by candidate.
        predicted, observed: Sums of the holdout rows: expected by a model that has not
            seen them, and paid.
        buyers: Rows fitted on.
    """

    model: ValueModel
    algorithm: str
    losses: Mapping[str, float]
    predicted: Decimal
    observed: Decimal
    buyers: int


def with_known_amounts(rows: pa.Table) -> pa.Table:
    """Return rows without the column of amounts where none is known."""
    if AMOUNT in rows.column_names and rows[AMOUNT].null_count == len(rows):
        return rows.drop_columns(AMOUNT)
    return rows


def train_value(
    trained: Trained, features: Mapping[str, str], *, seed: int
) -> Valued | None:
    """
    Learn what buyers pay, beside a classifier and from its rows.

    Returns:
        None where there is nothing to learn: no amounts, or none above zero in the
        first rows that are fitted on.
    """
    parts = trained.parts
    if AMOUNT not in parts.every.rows.column_names:
        return None
    first = parts.before.between(0, parts.blocks[0].fit_end)
    if not _paid(first)[first.label == 1].any():
        return None
    # The encoder must know nothing that any block judges, as with classifiers.
    encoder = fitted(trained.measured.preprocessor, first, features)
    fit = partial(fit_amounts, features=features, seed=seed)
    with threadpool_limits(1 if len(parts.every) <= PARALLEL_ROWS else None):
        losses = {}
        for name in (MEAN, TREES):
            predicted = []
            for block in parts.blocks:
                model = fit(name, parts.before.between(0, block.fit_end), encoder)
                later = parts.before.between(block.first, block.end)
                predicted.append(model.amounts_of(later.rows))
            losses[name] = _deviance(np.concatenate(predicted), parts.choosing)
        algorithm = min(losses, key=lambda name: losses[name])
        measured = fit(algorithm, parts.fitting, trained.measured.preprocessor)
        live = fit(algorithm, parts.every, trained.live.preprocessor)
    held = trained.holdout
    expected = held.probability * measured.amounts_of(held.rows.rows)
    return Valued(
        model=live,
        algorithm=algorithm,
        losses=losses,
        predicted=total(expected * held.rows.weight),
        observed=total(_paid(held.rows) * held.rows.weight),
        buyers=int((parts.every.label == 1).sum()),
    )


def _paid(part: Slice) -> Floats:
    """Return what each row's user paid; nothing where that is not known, (rows,)."""
    return amounts(floats_of(part.rows[AMOUNT]))


def fit_amounts(
    name: str,
    part: Slice,
    preprocessor: Any,
    *,
    features: Mapping[str, str],
    seed: int,
) -> ValueModel:
    """Return a model of the buyers among rows, who have paid something."""
    is_buyer = part.label == 1
    weight = part.weight[is_buyer]
    amount = _paid(part)[is_buyer] * weight
    share = max(_LARGEST_SHARE, _EQUAL_SHARES / max(len(amount), 1))
    amount = np.minimum(amount, share * amount.sum())
    mean = float(amount.sum() / weight.sum())
    if name == MEAN:
        return ValueModel(features, preprocessor=None, regressor=None, mean=mean)
    rows = part.rows.filter(pa.array(is_buyer))
    encoded = transformed(preprocessor, rows, features)
    regressor = HistGradientBoostingRegressor(**_TREES, random_state=seed)
    # Weights make the binning slow, so none are given where all are equal.
    weights = {} if np.ptp(weight) == 0 else {"sample_weight": weight}
    regressor.fit(encoded, np.maximum(amount / weight / mean, _LEAST), **weights)
    # Trees keep the mean of each leaf nearly; the model keeps the sum.
    predicted = regressor.predict(encoded)
    return ValueModel(
        features,
        preprocessor=preprocessor,
        regressor=regressor,
        mean=float(amount.sum() / (predicted * weight).sum()),
    )


def _deviance(expected: Floats, part: Slice) -> float:
    """Return the mean gamma deviance of the buyers' amounts, less a constant."""
    is_buyer = part.label == 1
    paid = _paid(part)[is_buyer]
    expected = expected[is_buyer]
    loss = np.log(expected) + paid / expected
    return float(np.average(loss, weights=part.weight[is_buyer]))
