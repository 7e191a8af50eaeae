"""
Training as a run, where no function shows it: what it refuses.
"""

from __future__ import annotations

import pyarrow as pa
import pytest

from propensity.errors import SchemaError
from propensity.runs import train


class TestChecks:
    def test_features_that_are_not_there_are_named(self):
        """What features.sql must give is what usecase.toml names."""
        rows = pa.table({"recency_days": [1.0]})

        assert train.checked(rows, {"recency_days": "number"}) is rows
        with pytest.raises(SchemaError, match="shoe_size"):
            train.checked(rows, {"recency_days": "number", "shoe_size": "number"})
