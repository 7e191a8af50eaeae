"""The sum that a run promises, and how far it says that chance and season go."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from propensity.models.value import Uncertainty, ValueModel
from propensity.runs.value import Values


def summary(*, shift_error: float) -> dict[str, float]:
    """What is promised for many users of one probability and amount."""
    model = ValueModel(
        {},
        preprocessor=None,
        regressor=None,
        mean=100.0,
        level=1.0,
        uncertainty=Uncertainty(spread=0.0, error=0.1, week_error=0.0),
    )
    values = Values(model, shift_error)
    rows = pa.RecordBatch.from_pydict({"user_id": np.arange(1_000_000)})
    probability = np.full(len(rows), 0.1)
    values.columns(rows, probability, unshifted=probability)
    answer = values.summary()
    assert answer is not None
    return {name: float(figure) for name, figure in answer.items()}


def test_the_interval_of_the_sum_is_as_wide_as_the_shift_is_uncertain() -> None:
    """Log-odds that move by 0.2 move a sum of users with 0.1 by 18%."""
    sure, unsure = summary(shift_error=0.0), summary(shift_error=0.2)

    assert unsure["sum"] == sure["sum"] == 10_000_000.0
    assert np.log(unsure["high"] / sure["sum"]) == pytest.approx(1.96 * 0.18, rel=0.02)
    assert np.log(sure["high"] / sure["sum"]) < 0.01
