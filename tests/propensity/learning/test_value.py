"""
Expected value, specified: what buyers pay is learned forward in time, and sums stay.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from propensity.learning import value
from propensity.learning.value import AMOUNT
from tests.propensity.learning.shops import (
    SHOP,
    drawn,
    propensity,
    table,
    train,
)

WEEKS = 12
USERS = 800
COLUMNS = drawn(WEEKS, USERS, seed=1)
ROWS = table(COLUMNS, propensity(COLUMNS))
HELD_OUT = np.arange(len(ROWS)) >= (WEEKS - 1) * USERS
# Amounts follow a feature that says nothing of who buys.
MEANS = 20 * np.exp(COLUMNS["noise"])
NOISE = np.random.default_rng(2).gamma(2.0, 0.5, len(ROWS))


def learned(amounts: np.ndarray) -> value.Valued:
    """Train on a known propensity, and on what buyers of each row would pay."""
    is_buyer = ROWS["label"].to_numpy() == 1
    paid = pa.array(np.round(amounts + 0.01, 2), mask=~is_buyer)
    valued = value.train_value(
        train(ROWS.append_column(AMOUNT, paid)), SHOP.features, seed=1
    )
    assert valued is not None
    return valued


@pytest.fixture(scope="module")
def valued() -> value.Valued:
    return learned(MEANS * NOISE)


class TestTraining:
    def test_a_value_model_predicts_what_is_to_come(self, valued):
        """Within what some 1,800 buyers tell: a standard error of 5% of the true sum.
        The model that serves gives the amounts as they are."""
        truth = float((propensity(COLUMNS) * MEANS)[HELD_OUT].sum())
        amounts = valued.model.amounts_of(ROWS)

        assert float(valued.predicted) == pytest.approx(truth, rel=0.15)
        assert valued.algorithm == value.TREES
        assert amounts.mean() == pytest.approx(MEANS.mean(), rel=0.15)

    def test_the_encoder_knows_no_row_that_chooses_between_models(self, monkeypatch):
        """It has the outcomes of its rows, such as those of a category."""
        known = []
        fitted = value.fitted

        def noted(preprocessor, part, features):
            known.append(len(part))
            return fitted(preprocessor, part, features)

        monkeypatch.setattr(value, "fitted", noted)
        first = train(ROWS).parts.blocks[0]
        learned(MEANS * NOISE)

        assert known == [first.fit_end]
        assert first.fit_end <= first.first

    def test_a_value_model_learns_nothing_of_the_holdout(self, valued):
        """Other amounts there change what is observed, and not what is predicted."""
        other = learned(MEANS * NOISE * np.where(HELD_OUT, 7.0, 1.0))

        assert other.predicted == valued.predicted
        assert other.observed > valued.observed
