"""
Amounts of buyers, specified.
"""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression

from propensity.errors import SchemaError
from propensity.models.encoding import to_frame
from propensity.models.value import ValueModel

FEATURES = {"spent": "number"}


def batch(*spent: float | None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"spent": pa.array(spent, pa.float64())})


def model() -> ValueModel:
    """A model whose amount is twice: twice what was spent, plus one."""
    preprocessor = ColumnTransformer([("all", "passthrough", ["spent"])])
    rows = to_frame(batch(1.0, 2.0, 3.0), FEATURES)
    encoded = preprocessor.fit_transform(rows)
    return ValueModel(
        FEATURES,
        preprocessor=preprocessor,
        regressor=LinearRegression().fit(encoded, [3.0, 5.0, 7.0]),
        mean=2.0,
    )


class TestAmounts:
    def test_are_the_regressor_s_times_the_mean(self):
        amounts = model().amounts(batch(4.0, 5.0))

        assert amounts == pytest.approx([18.0, 22.0])

    def test_without_a_regressor_are_the_mean(self):
        plain = ValueModel({}, preprocessor=None, regressor=None, mean=5.0)

        assert list(plain.amounts(batch(1.0, 2.0))) == [5.0, 5.0]

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
