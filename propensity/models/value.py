"""What a buyer pays, by their features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from propensity.models.encoder import Encoder
from propensity.models.encoding import Floats, check_features
from propensity.models.scoring import native_threads


class ValueModel:
    """
    The amount that a user pays who buys. Pickles of models name this class and module.

    Args:
        preprocessor: Fitted on frames of the features; None with ``regressor``.
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
        """Return what each row's user pays, if they buy; SchemaError as ``check``."""
        if self.regressor is None or not batch.num_rows:
            return np.full(batch.num_rows, self.mean)
        check_features(batch.schema, self.features)
        if self._encoder is None:
            self._encoder = Encoder(self.preprocessor, self.features)
        with native_threads().limit(limits=1, user_api="openmp"):
            over_mean = self.regressor.predict(self._encoder.encode(batch))
        return np.asarray(self.mean * over_mean, dtype=np.float64)

    def amounts_of(self, rows: pa.Table) -> Floats:
        """Return the amounts of the rows of a table, in order."""
        amounts = [np.empty(0)]
        for batch in rows.to_batches():
            amounts.append(self.amounts(batch))
        return np.concatenate(amounts)
