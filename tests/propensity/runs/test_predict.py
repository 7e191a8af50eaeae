"""
Prediction as a run, where no function shows it: what it refuses to stage.
"""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from propensity.errors import SchemaError
from propensity.runs import predict
from propensity.runs.reasons import Reasons
from propensity.runs.value import Values


class TestStaging:
    @pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1, np.inf])
    def test_values_that_are_no_probabilities_are_not_staged(self, wrong):
        """A model that answers NaN publishes nothing."""
        batch = pa.RecordBatch.from_pydict({"user_id": ["a", "b"]})
        run = SimpleNamespace(
            staging_key={"run_id": "r", "staged_on": date(2026, 3, 2)}
        )
        scored = [(batch, np.array([0.5, wrong]))]

        with pytest.raises(SchemaError, match="not probabilities"):
            list(
                predict._staged(
                    run, scored, Reasons(None, None), Values(None), has_features=True
                )
            )
