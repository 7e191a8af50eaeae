"""
Values of users, specified: probability times amount, and intervals of one and of all.
"""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression

from propensity.errors import SchemaError
from propensity.learning import season
from propensity.models.encoding import to_frame
from propensity.models.value import Total, Uncertainty, ValueModel

FEATURES = {"spent": "number"}
NONE = Uncertainty(spread=0.0, error=0.0, week_error=0.0)


def batch(*spent: float | None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"spent": pa.array(spent, pa.float64())})


def model(uncertainty: Uncertainty = NONE, *, level: float = 1.0) -> ValueModel:
    """A model whose amount is twice what was spent, plus one."""
    preprocessor = ColumnTransformer([("all", "passthrough", ["spent"])])
    rows = to_frame(batch(1.0, 2.0, 3.0), FEATURES)
    encoded = preprocessor.fit_transform(rows)
    return ValueModel(
        FEATURES,
        preprocessor=preprocessor,
        regressor=LinearRegression().fit(encoded, [3.0, 5.0, 7.0]),
        mean=1.0,
        level=level,
        uncertainty=uncertainty,
    )


class TestAmounts:
    def test_are_the_regressor_s_at_the_level(self):
        amounts = model(level=2.0).amounts(batch(4.0, 5.0))

        assert amounts == pytest.approx([18.0, 22.0])

    def test_without_a_regressor_are_the_mean(self):
        plain = ValueModel(
            {}, preprocessor=None, regressor=None, mean=5.0, level=2.0, uncertainty=NONE
        )

        assert list(plain.amounts(batch(1.0, 2.0))) == [10.0, 10.0]

    def test_are_the_same_after_unpickling(self):
        """Also of a model that has scored before."""
        value_model = model()
        before = value_model.amounts(batch(1.0))

        assert pickle.loads(pickle.dumps(value_model)).amounts(batch(1.0)) == before

    def test_need_the_features_of_the_training(self):
        with pytest.raises(SchemaError, match="spent"):
            model().amounts(pa.RecordBatch.from_pydict({"other": [1.0]}))

    def test_of_no_rows_are_none(self):
        assert len(model().amounts(batch())) == 0


class TestInterval:
    @given(st.floats(0, 1e12), st.floats(0, 3) | st.floats(3, 1e9))
    def test_holds_the_value_and_nothing_negative(self, value, error):
        value_model = model(Uncertainty(spread=1.0, error=error, week_error=0.0))
        low, high = value_model.interval(np.array([value]))

        assert 0 <= low[0] <= value <= high[0]

    def test_is_of_the_error_as_a_share(self):
        value_model = model(Uncertainty(spread=1.0, error=0.1, week_error=0.0))
        low, high = value_model.interval(np.array([100.0]))

        assert (low[0], high[0]) == pytest.approx((82.2, 121.7), abs=0.1)


class TestSum:
    def test_of_parts_is_that_of_all(self):
        """Batches are added up as they come."""
        value_model = model(Uncertainty(spread=0.5, error=0.0, week_error=0.1))
        probability, amount = np.random.default_rng(1).random((2, 50))

        whole = value_model.total(probability, amount)
        parts = sum(
            (value_model.total(probability[n::5], amount[n::5]) for n in range(5)),
            Total(),
        )

        assert vars(parts) == pytest.approx(vars(whole))

    @pytest.mark.parametrize("shift_error", [0.0, 0.4])
    def test_interval_covers_what_is_paid(self, shift_error):
        """
        In 95 ± 3% of 1,000 weeks, with an error of the week, of each amount, and of the
        season's shift.
        """
        generator = np.random.default_rng(3)
        probability, amount = generator.beta(1, 9, 1_000), generator.gamma(2, 20, 1_000)
        spread, week_error = 0.5, 0.15
        value_model = model(
            Uncertainty(spread=spread, error=0.0, week_error=week_error)
        )
        total = value_model.total(probability, amount)
        low, high = value_model.sum_interval(total, shift_error=shift_error)

        sigma = np.sqrt(np.log1p(spread))
        paid = [
            (
                amount
                * (generator.random(1_000) < shifted)
                * np.exp(generator.normal(-(sigma**2) / 2, sigma, 1_000))
            ).sum()
            * np.exp(generator.normal(0, week_error))
            for shifted in (
                season.apply(probability, generator.normal(0, shift_error))
                for _ in range(1_000)
            )
        ]

        inside = np.mean([low <= total <= high for total in paid])
        assert inside == pytest.approx(0.95, abs=0.03)

    def test_interval_of_nothing_is_nothing(self):
        assert model().sum_interval(Total()) == (0.0, 0.0)
