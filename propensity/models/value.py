"""
What a user is worth: the probability times the amount that a buyer like them pays.

Trained models are unpickled through this module, under its names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from propensity.models.encoding import Floats, check

if TYPE_CHECKING:
    from propensity.models.encoder import Encoder


class ValueModel:
    """
    The amount that a user pays who buys, and the value that follows from it.

    Args:
        preprocessor: Fitted on frames of these; None with ``regressor``.
        regressor: Gives the amount over ``mean``; None where all have the mean.
        mean: Amount of a buyer, on average.
    """

    def __init__(
        self,
        features: Mapping[str, str],
        *,
        preprocessor: Any | None,
        regressor: Any | None,
        mean: float,
    ) -> None:
        self.features = dict(features)
        self.preprocessor = preprocessor
        self.regressor = regressor
        self.mean = mean
        self._encoder: Encoder | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_encoder": None}

    def amounts(self, batch: pa.RecordBatch) -> Floats:
        """
        Return what each row's user pays, if they buy, (rows,).

        Raises:
            SchemaError: The batch lacks a feature or holds it in another type.
        """
        if self.regressor is None or not batch.num_rows:
            return np.full(batch.num_rows, self.mean)
        from threadpoolctl import threadpool_limits  # 03 has no scikit-learn

        from propensity.models.encoder import Encoder

        check(batch.schema, self.features)
        if self._encoder is None:
            self._encoder = Encoder(self.preprocessor, self.features)
        with threadpool_limits(1, user_api="openmp"):
            over_mean = self.regressor.predict(self._encoder.encode(batch))
        return np.asarray(self.mean * over_mean, dtype=np.float64)

    def amounts_of(self, rows: pa.Table) -> Floats:
        """Return the amounts of the rows of a table, in order."""
        return np.concatenate([np.empty(0), *map(self.amounts, rows.to_batches())])
