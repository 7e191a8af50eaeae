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
from propensity.runs.value import Values

RUN = SimpleNamespace(staging_key={"run_id": "r", "staged_on": date(2026, 3, 2)})


class TestStaging:
    def test_takes_memory_for_some_rows_only(self, monkeypatch):
        """Batches are gathered until they have so many rows."""
        monkeypatch.setattr(predict, "STAGED_ROWS", 4)
        batch = pa.RecordBatch.from_pydict({"user_id": ["a", "b"]})
        scored = 5 * [(batch, np.array([0.5, 0.5]))]
        tables = predict._staged(RUN, scored, None, Values(None))

        assert [len(table) for table in tables] == [4, 4, 2]

    @pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1, np.inf])
    def test_values_that_are_no_probabilities_are_not_staged(self, wrong):
        """A model that answers NaN publishes nothing."""
        batch = pa.RecordBatch.from_pydict({"user_id": ["a", "b"]})
        scored = [(batch, np.array([0.5, wrong]))]

        with pytest.raises(SchemaError, match="not probabilities"):
            list(predict._staged(RUN, scored, None, Values(None)))
