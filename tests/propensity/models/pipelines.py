"""Pipelines of every sort that a use case may train, and users to score by them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from propensity.models.encoding import to_frame
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.models.scoring import Scorer

NUMBERS = ("amount", "spend", "visits", "days", "member", "balance")
CATEGORIES = ("source", "device", "country")
FEATURES = dict.fromkeys(NUMBERS, "number") | dict.fromkeys(CATEGORIES, "category")
LABEL = np.random.default_rng(0).random(300) < 0.3


def users(n: int, *, seed: int, values: int = 12, nulls: float = 0.1) -> pa.RecordBatch:
    """N users with every Arrow type that BigQuery or a Parquet file may bring."""
    random = np.random.default_rng(seed)

    def gaps() -> np.ndarray:
        return random.random(n) < nulls

    def category(name: str) -> pa.Array:
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
    """The batch with other values of a column."""
    return batch.set_column(batch.schema.get_field_index(name), name, values)


def fit(preprocessor, model):
    encoded = preprocessor.fit_transform(to_frame(TRAINING, FEATURES), LABEL)
    return preprocessor, model.fit(encoded, LABEL)


def columns(numbers, categories, **options):
    return ColumnTransformer(
        [
            ("numbers", numbers, list(NUMBERS)),
            ("categories", categories, [*CATEGORIES]),
        ],
        **options,
    )


def score(batches, preprocessor, model, **options):
    options = {"pools": ThreadPoolExecutor, **options}
    return Scorer(preprocessor, model, **options).score(batches)


def expected(batch, preprocessor, model, features=None):
    frame = to_frame(batch, features or FEATURES)
    return model.predict_proba(preprocessor.transform(frame))[:, 1]


def scored(batches, preprocessor, model, **options):
    options.setdefault("features", FEATURES)
    pairs = list(score(batches, preprocessor, model, **options))
    return np.concatenate([scores for _, scores in pairs]) if pairs else np.empty(0)


def assert_scores(batch, preprocessor, model):
    """Compare the scores of a batch with those of the pipeline, to the last bit."""
    np.testing.assert_array_equal(
        scored([batch], preprocessor, model), expected(batch, preprocessor, model)
    )


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


def filled(*steps):
    constant = SimpleImputer(strategy="constant", fill_value="none")
    return make_pipeline(constant, *steps)


def boosted():
    return HistGradientBoostingClassifier(max_iter=5, random_state=0)


def forest():
    return RandomForestClassifier(5, random_state=0)


class Calibrated(BaseEstimator):
    """A model calibrated as training does it: fitted first, then frozen."""

    def __init__(self, model, method):
        self.model = model
        self.method = method

    def fit(self, encoded, label):
        frozen = FrozenEstimator(self.model.fit(encoded, label))
        return CalibratedClassifierCV(frozen, method=self.method).fit(encoded, label)


class Doubled(TransformerMixin, BaseEstimator):
    """A user's own transformer, which asks for a frame with names."""

    def fit(self, frame, label=None):
        self.n_features_in_ = frame.shape[1]
        return self

    def transform(self, frame):
        return frame.fillna(0).mul(2).to_numpy()

    def get_feature_names_out(self, names=None):
        return np.asarray(names)


LOG = FunctionTransformer(np.log1p, feature_names_out="one-to-one")
FOR_NUMBERS = (
    imputed(),
    imputed(StandardScaler()),
    imputed(LOG, StandardScaler()),
    imputed(MinMaxScaler(clip=True), add_indicator=True),
    imputed(RobustScaler(), PolynomialFeatures(2)),
    imputed(QuantileTransformer(n_quantiles=20)),
    imputed(KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")),
    imputed(one_hot()),
    Doubled(),
)
FOR_CATEGORIES = (
    one_hot(),
    one_hot(sparse_output=False),
    OneHotEncoder(handle_unknown="ignore"),
    OneHotEncoder(handle_unknown="ignore", drop="if_binary", max_categories=2),
    filled(one_hot(), StandardScaler(with_mean=False)),
    filled(ordinal()),
    ordinal(encoded_missing_value=-2, dtype=np.int32),
    ordinal(encoded_missing_value=-2, min_frequency=30),
    TargetEncoder(random_state=0),
    "drop",
)
MODELS = (
    LogisticRegression(max_iter=50),
    boosted(),
    forest(),
    Calibrated(LogisticRegression(max_iter=50), "sigmoid"),
    Calibrated(LogisticRegression(max_iter=50), "isotonic"),
    Calibrated(boosted(), "isotonic"),
    Calibrated(forest(), "sigmoid"),
    VotingClassifier(
        [("linear", LogisticRegression(max_iter=50)), ("boosted", boosted())],
        voting="soft",
    ),
)


def trees():
    return HalfSpaceTrees(n_trees=5, height=5, window_size=100)


EVERY_MODEL = (*MODELS, trees())
# Each of them once: one quick example of every transformer and model.
ONE_OF_EACH = [
    *(
        (
            FOR_NUMBERS[number % len(FOR_NUMBERS)],
            FOR_CATEGORIES[number],
            MODELS[number % len(MODELS)],
        )
        for number in range(len(FOR_CATEGORIES))
    ),
    (FOR_NUMBERS[-1], FOR_CATEGORIES[6], trees()),
]
