"""What contacting a user adds, by their features."""

from __future__ import annotations

from typing import Any

import numpy as np

from propensity.models.encoding import Floats


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
