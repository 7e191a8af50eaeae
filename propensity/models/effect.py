"""What contacting a user adds, by their features and the published probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from propensity.models.encoder import Encoder
from propensity.models.encoding import Floats, check_features

Rows = TypeVar("Rows", pa.RecordBatch, pa.Table)

# Features of an effect that a probability gives: contacting often adds most to users
# who are neither sure to buy nor sure not to, and no line in the probability says that.
OF_PROBABILITY = {
    "probability_published": "number",
    "probability_squared": "number",
    "probability_log_odds": "number",
}
# Probabilities nearer to 0 and 1 have the log-odds of these.
_LEAST = 1e-4


def with_probability(rows: Rows, probability: Floats) -> Rows:
    """Return rows with the features that their published probabilities give."""
    inside = np.clip(probability, _LEAST, 1 - _LEAST)
    values = (probability, probability**2, np.log(inside / (1 - inside)))
    for name, column in zip(OF_PROBABILITY, values, strict=True):
        rows = rows.append_column(name, pa.array(column))
    return rows


class EffectRegressor:
    """
    What contacting adds, by features and by the outcome that they let expect.

    Where contacting multiplies what users do, the effect follows what is expected of
    them. Pickles of models name this class and module.

    Args:
        outcome: Fitted: gives the outcome, whether or not a user is contacted.
        effect: Fitted on features with the expected outcome.
        unit: Divides the expected outcome, for about unit variance.
    """

    def __init__(self, *, outcome: Any, effect: Any, unit: float) -> None:
        self.outcome = outcome
        self.effect = effect
        self.unit = unit

    def predict(self, features: Floats) -> Floats:
        """Return the effect of encoded users, (rows,)."""
        expected = self.outcome.predict(features)
        columns = with_expected(features, expected, self.unit)
        return np.asarray(self.effect.predict(columns), dtype=np.float64)


def with_expected(features: Floats, expected: Floats, unit: float) -> Floats:
    """Return encoded features and a column of expected outcomes, divided by a unit."""
    return np.column_stack([features, expected / unit])


class EffectModel:
    """
    What contacting adds to the outcome. Pickles of models name this class and module.

    Args:
        features: Kind of each feature of the use case by name.
        preprocessor: Fitted on frames of these and of ``OF_PROBABILITY``.
        regressor: Gives the effect.
        bounds: The least and the greatest effect on the users whom it learned from.
    """

    def __init__(
        self,
        features: Mapping[str, str],
        *,
        preprocessor: Any,
        regressor: Any,
        bounds: tuple[float, float],
    ) -> None:
        self.features = dict(features)
        self.preprocessor = preprocessor
        self.regressor = regressor
        self.bounds = bounds
        self._encoder: Encoder | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_encoder": None}

    def effects(self, batch: pa.RecordBatch, probability: Floats) -> Floats:
        """
        Return the added probability of each row's user if they are contacted, (rows,).

        Args:
            batch: Features of users; others are ignored.
            probability: Published of them, (rows,).
        """
        if not batch.num_rows:
            return np.empty(0)
        if self._encoder is None:
            kinds = {**self.features, **OF_PROBABILITY}
            self._encoder = Encoder(self.preprocessor, kinds)
        check_features(batch.schema, self.features)
        encoded = self._encoder.encode(with_probability(batch, probability))
        added = np.asarray(self.regressor.predict(encoded), dtype=np.float64)
        # A line goes on for users unlike all that it learned from.
        return np.clip(added, self.bounds[0], self.bounds[1])
