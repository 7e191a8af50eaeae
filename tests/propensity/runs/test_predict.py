"""
Prediction as a run, where no function shows it: what it refuses to append.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from propensity.errors import SchemaError
from propensity.runs import predict

BATCH = pa.RecordBatch.from_pydict({"user_id": ["a", "b"]})


class TestScores:
    def test_take_memory_for_some_rows_only(self, monkeypatch):
        """Batches are gathered until they have so many rows, each with the run's id."""
        monkeypatch.setattr(predict, "ROWS_AT_ONCE", 4)
        tables = list(predict._gathered(5 * [BATCH], {"run_id": "r"}))

        assert [len(table) for table in tables] == [4, 4, 2]
        assert tables[2]["run_id"].to_pylist() == ["r", "r"]

    @pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1, np.inf])
    def test_that_are_no_probabilities_are_not_appended(self, wrong):
        """A model that answers NaN publishes nothing."""
        with pytest.raises(SchemaError, match="not probabilities"):
            list(predict._scores([(BATCH, np.array([0.5, wrong]))], None, None))
