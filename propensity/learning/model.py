"""A fitted model, as a version stores it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from propensity.models.encoding import Floats
from propensity.models.scoring import Scorer

_LIBRARIES = ("scikit-learn", "numpy", "pandas", "pyarrow", "joblib")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A fitted preprocessor and a fitted classifier of its output."""

    preprocessor: Any
    classifier: Any

    def scores(self, rows: pa.Table, features: Mapping[str, str]) -> Floats:
        """
        Return the scores of rows, in order, as they are published.

        Args:
            features: number or category by column.
        """
        scorer = Scorer(self.preprocessor, self.classifier, features=features)
        parts = [np.empty(0)]
        parts += [score for _, score in scorer.score(rows.to_batches())]
        return np.concatenate(parts)


def libraries() -> dict[str, str]:
    """Return the versions that a model's pickle and its scores depend on."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **versions}
