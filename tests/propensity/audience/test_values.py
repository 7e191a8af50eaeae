"""Values of an audience's SQL in a Parquet file, specified."""

from __future__ import annotations

import pytest

from propensity.audience.values import column


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([1.5, None], [1.5, None]),
        ([["a"], []], [["a"], []]),
        # NUMERIC has more digits than a whole number of Parquet.
        ([10**30, 1], ["1" + "0" * 30, "1"]),
        # JSON may be anything.
        ([{"a": 1}, "x"], ['{"a": 1}', '"x"']),
    ],
)
def test_a_file_takes_values_of_any_column(values, written):
    assert column(values).to_pylist() == written
