"""
Scoring, specified: whatever the batches, the numbers are the pipeline's.

``expected`` is the whole specification: what scikit-learn gives for the pandas frame
of all rows at once. Every model is small, since only equality is looked at.
"""

from __future__ import annotations

import re
import warnings
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from propensity.errors import SchemaError
from propensity.models import scoring
from propensity.models.encoding import to_frame
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.models.scoring import Scorer

NUMBERS = ("amount", "spend", "visits", "days", "member", "balance")
CATEGORIES = ("source", "device", "country")
FEATURES = dict.fromkeys(NUMBERS, "number") | dict.fromkeys(CATEGORIES, "category")
LABEL = np.random.default_rng(0).random(300) < 0.3


def users(n, *, seed, values=12):
    """Users with every Arrow type that BigQuery or a Parquet file may bring."""
    random = np.random.default_rng(seed)

    def gaps():
        return random.random(n) < 0.1

    def category(name):
        codes = (values * random.random(n) ** 2).astype(int)
        return pa.array([f"{name} {code}" for code in codes], pa.string(), mask=gaps())

    cents = random.integers(0, 10**12, n)
    balance = [Decimal(int(value)).scaleb(-9) for value in cents]
    return pa.RecordBatch.from_pydict(
        {
            "user_id": pa.array([f"u{index}" for index in range(n)], pa.string()),
            "country": category("country").cast(pa.large_string()),
            "amount": pa.array(random.gamma(2, 10, n), mask=gaps()),
            "spend": pa.array(random.gamma(2, 10, n)),
            "visits": pa.array(random.geometric(0.2, n), pa.int64()),
            "days": pa.array(random.geometric(0.1, n), pa.int64(), mask=gaps()),
            "member": pa.array(random.random(n) < 0.5, mask=gaps()),
            "balance": pa.array(balance, pa.decimal128(38, 9), mask=gaps()),
            "source": category("source"),
            "device": category("device").dictionary_encode(),
        }
    )


TRAINING = users(len(LABEL), seed=1, values=8)


def with_column(batch, name, values):
    return batch.set_column(batch.schema.get_field_index(name), name, values)


def fit(preprocessor, model):
    with warnings.catch_warnings(action="ignore"):
        encoded = preprocessor.fit_transform(to_frame(TRAINING, FEATURES), LABEL)
        return preprocessor, model.fit(encoded, LABEL)


def columns(numbers, categories, **options):
    parts = [("numbers", numbers, [*NUMBERS]), ("texts", categories, [*CATEGORIES])]
    return ColumnTransformer(parts, **options)


def scored(batches, preprocessor, model, **options):
    options = {"features": FEATURES, "threads": 2, **options}
    pairs = Scorer(preprocessor, model, **options).score(batches)
    return np.concatenate([scores for _, scores in pairs])


def expected(batch, preprocessor, model):
    encoded = preprocessor.transform(to_frame(batch, FEATURES))
    return model.predict_proba(encoded)[:, 1]


def one_hot(**options):
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=20, **options
    )


def ordinal(**options):
    return OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, **options
    )


def imputed(*steps, **options):
    return make_pipeline(SimpleImputer(strategy="median", **options), *steps)


def linear():
    return LogisticRegression(max_iter=50)


def boosted():
    return HistGradientBoostingClassifier(max_iter=5, random_state=0)


FOREST = RandomForestClassifier(5, random_state=0)
TREES = HalfSpaceTrees(n_trees=5, height=5, window_size=100)


class Doubled(TransformerMixin, BaseEstimator):
    """A user's own transformer, which asks for a frame with names."""

    def fit(self, frame, label=None):
        self.n_features_in_ = frame.shape[1]
        return self

    def transform(self, frame):
        return frame.fillna(0).mul(2).to_numpy()

    def get_feature_names_out(self, names=None):
        return np.asarray(names)


VOTING = VotingClassifier([("linear", linear()), ("boosted", boosted())], voting="soft")
LOG = FunctionTransformer(np.log1p, feature_names_out="one-to-one")
RARE = OneHotEncoder(handle_unknown="ignore", drop="if_binary", max_categories=2)
COUNTED = ordinal(encoded_missing_value=-2, dtype=np.int32)


# Each kind of transformer and model: of numbers, of categories, a model of both.
PIPELINES = [
    (imputed(StandardScaler()), one_hot(sparse_output=False), boosted()),
    (imputed(LOG, StandardScaler()), OneHotEncoder(handle_unknown="ignore"), FOREST),
    (imputed(add_indicator=True), RARE, CalibratedClassifierCV(linear(), cv=2)),
    (imputed(RobustScaler(), PolynomialFeatures(2)), one_hot(), linear()),
    (imputed(one_hot()), ordinal(encoded_missing_value=-2, min_frequency=30), VOTING),
    (Doubled(), TargetEncoder(random_state=0), linear()),
    (imputed(), "drop", boosted()),
    (Doubled(), COUNTED, TREES),
]


@pytest.mark.parametrize(("numbers", "categories", "model"), PIPELINES)
@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_scores_are_those_of_the_pipeline(numbers, categories, model, monkeypatch):
    """Unseen categories and nulls included; however rows are cut into batches and
    chunks, on threads or without, and of a single row; it is left as it was."""
    monkeypatch.setattr(scoring, "CHUNK_ROWS", 7)
    is_dense = re.search("Hist|HalfSpace", repr(model))
    options = {"sparse_threshold": 0.0 if is_dense else 0.3}
    fitted = fit(columns(numbers, categories, **options), model)
    batch = users(60, seed=3)
    batches = [batch.slice(0, 7), batch.slice(7, 0), batch.slice(7)]
    scorer = Scorer(*fitted, features=FEATURES)
    probability = expected(batch, *fitted)
    alone = [scorer.probabilities(batch.slice(row, 1)) for row in range(4)]

    for actual in (
        scored(batches, *fitted),
        scored(batches, *fitted, threads=0),
        scorer.probabilities(batch),
        np.concatenate(alone),
    ):
        own = probability[: len(actual)]
        np.testing.assert_allclose(actual, own, rtol=0, atol=1e-9)
    assert np.array_equal(expected(batch, *fitted), probability)


@pytest.mark.parametrize(
    ("value", "state", "model"),
    [(np.inf, "infinite", linear()), (None, "null", VOTING)],
)
def test_a_refusal_names_the_feature_that_is_refused(value, state, model):
    """A value that it takes nowhere is an error, not a score."""
    plain = ColumnTransformer([("all", StandardScaler(), ["visits", "spend"])])
    later = users(5, seed=1)
    odd = with_column(later, "spend", pa.array([1.0, 2.0, value, 4.0, 5.0]))

    with pytest.raises(SchemaError, match=f"'spend' is {state}") as raised:
        scored([later, odd], *fit(plain, model))
    assert raised.value.field == "spend"
