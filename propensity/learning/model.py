"""A fitted model, as a version stores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from propensity.models.encoding import Floats
from propensity.models.scoring import Scorer
from propensity.usecases import UseCase


@dataclass(frozen=True, kw_only=True)
class Model:
    """A fitted preprocessor and a fitted classifier of its output."""

    preprocessor: Any
    classifier: Any

    def scores(self, rows: pa.Table, use_case: UseCase) -> Floats:
        """Return the scores of rows, in order, as they are published."""
        scorer = Scorer(self.preprocessor, self.classifier, features=use_case.features)
        parts = [np.empty(0)]
        parts += [score for _, score in scorer.score(rows.to_batches())]
        return np.concatenate(parts)
