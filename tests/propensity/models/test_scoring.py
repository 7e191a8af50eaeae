"""
Scoring, specified: whatever the batches, the numbers are the pipeline's.

``expected`` is the whole specification: what scikit-learn gives for the pandas frame
of all rows at once. Every model is small, since only equality is looked at.
"""

from __future__ import annotations

import itertools
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
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

from propensity.errors import SchemaError
from propensity.models import encoder_parts
from propensity.models.anomaly import AnomalyModel
from propensity.models.encoder import Encoder
from propensity.models.encoding import Rows, to_frame
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.models.scoring import MeanOfModels, Scorer

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
    return Scorer.compile(preprocessor, model, **options).score(batches)


def expected(batch, preprocessor, model, features=None):
    frame = to_frame(batch, features or FEATURES)
    return model.predict_proba(preprocessor.transform(frame))[:, 1]


def scored(batches, preprocessor, model, **options):
    options.setdefault("features", FEATURES)
    pairs = list(score(batches, preprocessor, model, **options))
    return np.concatenate([scores for _, scores in pairs]) if pairs else np.empty(0)


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
    Calibrated(LogisticRegression(max_iter=50), "temperature"),
    Calibrated(LogisticRegression(max_iter=50), "isotonic"),
    Calibrated(boosted(), "isotonic"),
    Calibrated(forest(), "sigmoid"),
    VotingClassifier(
        [("linear", LogisticRegression(max_iter=50)), ("boosted", boosted())],
        voting="soft",
    ),
)


# Each of them once: one quick example of every transformer and model.
ONE_OF_EACH = [
    (
        FOR_NUMBERS[number % len(FOR_NUMBERS)],
        FOR_CATEGORIES[number],
        MODELS[number % len(MODELS)],
    )
    for number in range(len(FOR_CATEGORIES))
]


class TestScore:
    @pytest.mark.parametrize(("numbers", "categories", "model"), ONE_OF_EACH)
    @pytest.mark.filterwarnings("ignore:Found unknown categories")
    def test_equals_the_pipeline(self, numbers, categories, model):
        """Unseen categories and nulls included, in batches and chunks."""
        self.compare(
            numbers, categories, model, sparse=0.3, cuts=[7, 7, 40], chunk_rows=7
        )

    @pytest.mark.long
    @given(
        numbers=st.sampled_from(FOR_NUMBERS),
        categories=st.sampled_from(FOR_CATEGORIES),
        model=st.sampled_from(MODELS),
        sparse=st.sampled_from([0.0, 0.3, 1.0]),
        cuts=st.lists(st.integers(0, 60), max_size=5),
        chunk_rows=st.sampled_from([1, 7, 1_000]),
        seed=st.integers(0, 50),
    )
    @pytest.mark.filterwarnings("ignore:Found unknown categories")
    def test_equals_the_pipeline_however_the_rows_are_cut(self, **drawn):
        """
        Any transformers, any model, any cut into batches (empty ones too) and chunks:
        each row gets the pipeline's number.
        """
        self.compare(**drawn)

    def compare(self, numbers, categories, model, *, sparse, cuts, chunk_rows, seed=3):
        dense = sparse if "Hist" not in repr(model) else 0.0
        preprocessor = columns(numbers, categories, sparse_threshold=dense)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = fit(preprocessor, model)
        batch = users(60, seed=seed)
        edges = sorted([0, *cuts, 60])
        batches = [batch.slice(start, end - start) for start, end in pairwise(edges)]

        actual = scored(batches, *fitted, chunk_rows=chunk_rows)

        np.testing.assert_allclose(actual, expected(batch, *fitted), rtol=0, atol=1e-9)

    @pytest.mark.parametrize("model", [boosted(), forest()], ids=["boosted", "forest"])
    @pytest.mark.parametrize("numbers", ["passthrough", StandardScaler(), Doubled()])
    def test_keeps_nulls_for_models_that_take_them(self, numbers, model):
        """Without an imputer null is NaN, which trees send down a branch of its own."""
        fitted = fit(columns(numbers, ordinal()), model)
        batch = users(200, seed=3)

        np.testing.assert_array_equal(
            scored([batch], *fitted), expected(batch, *fitted)
        )

    @pytest.mark.parametrize("is_mean", [False, True])
    def test_gives_a_row_the_same_bits_wherever_it_is(self, is_mean):
        """In any order, in batches of any size: sums of floats would else differ in
        the last bit for the rows at the end of a chunk."""
        linear = LogisticRegression()
        preprocessor, model = fit(columns(imputed(StandardScaler()), one_hot()), linear)
        if is_mean:
            trees = fit(columns(imputed(StandardScaler()), one_hot()), forest())[1]
            model = MeanOfModels([model, trees])
        batch = users(331, seed=5)
        order = np.random.default_rng(0).permutation(331)
        shuffled = batch.take(pa.array(order))
        whole = scored([batch], preprocessor, model)
        cut = [shuffled.slice(0, 7), shuffled.slice(7, 200), shuffled.slice(207)]

        assert (scored(cut, preprocessor, model) == whole[order]).all()
        assert (scored([shuffled], preprocessor, model) == whole[order]).all()

    def test_yields_each_batch_with_its_own_scores(self):
        """One pair per batch, in order, the batch as it came, empty ones included."""
        fitted = fit(columns("passthrough", ordinal()), boosted())
        batches = [users(n, seed=n) for n in (3, 0, 5, 1, 0)]

        pairs = list(score(iter(batches), *fitted, features=FEATURES))

        assert [batch for batch, _ in pairs] == batches
        assert [len(scores) for _, scores in pairs] == [3, 0, 5, 1, 0]

    def test_is_the_same_without_threads(self):
        """Chunk by chunk in the caller's own thread: bit for bit, and no read ahead."""
        fitted = fit(columns("passthrough", ordinal()), boosted())
        batches = [users(150, seed=3), users(70, seed=4)]
        threaded = scored(batches, *fitted, chunk_rows=64)

        pulled = iter(batches)
        in_turn = score(pulled, *fitted, features=FEATURES, pools=None, chunk_rows=64)
        first = next(in_turn)

        assert next(pulled) is batches[1]
        assert (first[1] == threaded[:150]).all()
        assert (scored(batches, *fitted, pools=None, chunk_rows=64) == threaded).all()

    def test_yields_nothing_for_no_batches(self):
        """No batches, no scores, no error."""
        fitted = fit(columns("passthrough", ordinal()), boosted())

        assert list(score([], *fitted, features=FEATURES)) == []

    def test_reads_ahead_no_more_batches_than_threads(self):
        """Memory is bounded because batches are pulled as results are taken."""
        fitted = fit(columns("passthrough", ordinal()), boosted())
        pulled = []

        def stream():
            for index in range(20):
                pulled.append(index)
                yield users(2, seed=index)

        scores = score(stream(), *fitted, features=FEATURES, threads=2)
        next(scores)

        assert len(pulled) == 3
        scores.close()

    def test_raises_what_the_model_raises(self):
        """NaN that a linear model does not take is its error, not a score."""
        fitted = fit(
            columns(imputed(StandardScaler()), one_hot()),
            LogisticRegression(max_iter=1_000),
        )
        infinite = users(5, seed=1).set_column(
            2, "amount", pa.array([1.0, 2.0, np.inf, 4.0, 5.0])
        )

        with pytest.raises(ValueError, match="infinity"):
            scored([infinite], *fitted)

    def test_names_columns_for_models_that_were_fitted_on_names(self):
        """A preprocessor that gives frames costs no warning and changes no score."""
        preprocessor = columns(imputed(), ordinal()).set_output(transform="pandas")
        fitted = fit(preprocessor, boosted())
        batch = users(50, seed=2)

        np.testing.assert_array_equal(
            scored([batch], *fitted), expected(batch, *fitted)
        )

    def test_leaves_model_and_preprocessor_as_they_were(self):
        """What is scored with can be scored with again, by pandas too."""
        fitted = fit(
            columns(imputed(StandardScaler()), one_hot()),
            Calibrated(LogisticRegression(max_iter=1_000), "sigmoid"),
        )
        batch = users(50, seed=2)
        before = expected(batch, *fitted)
        scored([batch], *fitted)

        np.testing.assert_array_equal(expected(batch, *fitted), before)

    @pytest.mark.parametrize("options", [{"chunk_rows": 0}, {"threads": 0}])
    def test_refuses_sizes_that_are_not_positive(self, options):
        """A chunk of no rows would never end."""
        fitted = fit(columns("passthrough", ordinal()), boosted())

        with pytest.raises(ValueError, match="must be positive"):
            scored([TRAINING], *fitted, **options)


def rows_of(batch: pa.RecordBatch) -> Rows:
    """The same rows as they come with a request: numbers as floats, texts as lists."""
    frame = to_frame(batch, FEATURES)
    return Rows(
        frame[list(NUMBERS)].to_numpy(np.float64),
        {name: place for place, name in enumerate(NUMBERS)},
        {name: batch[name].cast(pa.string()).to_pylist() for name in CATEGORIES},
    )


def trees():
    return AnomalyModel(HalfSpaceTrees(n_trees=5, height=5, window_size=100))


class Averaged(BaseEstimator):
    """The mean of a linear model, boosted trees and a forest, as training makes it."""

    weights: tuple[float, ...] | None = None

    def fit(self, encoded, label):
        members = [LogisticRegression(max_iter=50), boosted(), forest()]
        return MeanOfModels([one.fit(encoded, label) for one in members], self.weights)


class Stacked(Averaged):
    """The same mean, with weights."""

    weights = (0.6, 0.3, 0.1)


class TestMeanOfModels:
    def test_weighs_its_members(self):
        """By their weights; with equal ones it is the plain mean, to the last bits."""
        encoded = np.random.default_rng(1).normal(size=(200, 3))
        label = (encoded[:, 0] > 0).astype(int)
        plain, stacked = Averaged().fit(encoded, label), Stacked().fit(encoded, label)
        each = [one.predict_proba(encoded) for one in stacked.members]
        even = MeanOfModels(plain.members, [1 / 3] * 3)
        expected = np.tensordot(Stacked.weights, each, axes=1)

        assert np.allclose(stacked.predict_proba(encoded), expected, atol=1e-15)
        assert np.allclose(
            even.predict_proba(encoded), plain.predict_proba(encoded), atol=1e-15
        )


class TestProbabilities:
    @pytest.mark.parametrize(
        ("numbers", "categories", "model"),
        [
            *ONE_OF_EACH,
            (FOR_NUMBERS[0], FOR_CATEGORIES[0], Averaged()),
            (FOR_NUMBERS[-1], FOR_CATEGORIES[6], trees()),
        ],
    )
    @pytest.mark.filterwarnings("ignore:Found unknown categories")
    def test_of_few_rows_equal_the_pipeline(self, numbers, categories, model):
        """Rows of a request or of a small batch, one alone too."""
        self.compare(numbers, categories, model, count=4, seed=3)

    @pytest.mark.long
    @given(
        numbers=st.sampled_from(FOR_NUMBERS),
        categories=st.sampled_from(FOR_CATEGORIES),
        model=st.sampled_from((*MODELS, Averaged(), Stacked(), trees())),
        count=st.integers(1, 20),
        seed=st.integers(0, 50),
    )
    @pytest.mark.filterwarnings("ignore:Found unknown categories")
    def test_of_any_rows_equal_the_pipeline(self, **drawn):
        """Any transformers and any model: each row gets the pipeline's number."""
        self.compare(**drawn)

    def compare(self, numbers, categories, model, *, count, seed):
        preprocessor = columns(numbers, categories, sparse_threshold=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = fit(preprocessor, model)
        batch = users(count, seed=seed)
        wanted = expected(batch, *fitted)
        scorer = Scorer.compile(*fitted, features=FEATURES)

        alone = [
            scorer.probabilities(rows_of(batch.slice(row, 1)))[0]
            for row in range(count)
        ]

        for found in (
            scorer.probabilities(rows_of(batch)),
            scorer.probabilities(batch),
            alone,
        ):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)

    def test_of_no_rows(self):
        """No rows, no scores, no error."""
        scorer = Scorer.compile(
            *fit(columns("passthrough", ordinal()), boosted()), features=FEATURES
        )

        assert scorer.probabilities(users(0, seed=1)).shape == (0,)

    def test_name_the_missing_feature(self):
        """Rows without a feature are refused by the feature's name."""
        scorer = Scorer.compile(
            *fit(columns("passthrough", ordinal()), boosted()), features=FEATURES
        )
        rows = Rows(np.zeros((1, 1)), {"amount": 0}, {"source": [None]})

        with pytest.raises(SchemaError, match="'spend' is missing") as raised:
            scorer.probabilities(rows)

        assert raised.value.field == "spend"

    def test_leave_the_rows_as_they_were(self):
        """What a model is given is a copy: the log has what came."""
        fitted = fit(
            columns(imputed(StandardScaler()), one_hot()),
            LogisticRegression(max_iter=1_000),
        )
        numbers = np.arange(12.0).reshape(2, 6)
        places = {name: place for place, name in enumerate(NUMBERS)}
        rows = Rows(numbers, places, {name: ["x", None] for name in CATEGORIES})

        Scorer.compile(*fitted, features=FEATURES).probabilities(rows)

        np.testing.assert_array_equal(numbers, np.arange(12.0).reshape(2, 6))

    @pytest.mark.parametrize(
        ("numbers", "model", "unfilled"),
        [
            (imputed(StandardScaler()), LogisticRegression(max_iter=1_000), set()),
            ("passthrough", boosted(), set()),
            ("passthrough", trees(), set()),
            (LOG, GradientBoostingClassifier(n_estimators=2), set(NUMBERS)),
        ],
        ids=["imputed", "boosted", "half-space trees", "no gaps"],
    )
    def test_know_which_numbers_may_not_be_null(self, numbers, model, unfilled):
        """Those whose gaps neither the preprocessor fills nor the model takes."""
        preprocessor = columns(numbers, ordinal(encoded_missing_value=-2))
        frame = to_frame(TRAINING, FEATURES)
        if unfilled:
            frame[list(NUMBERS)] = frame[list(NUMBERS)].fillna(0)
        model.fit(preprocessor.fit_transform(frame), LABEL)

        scorer = Scorer.compile(preprocessor, model, features=FEATURES)

        assert scorer.unfilled == unfilled


@pytest.fixture(scope="module")
def fitted():
    return fit(columns("passthrough", ordinal()), boosted())


class TestSchema:
    def test_does_not_depend_on_the_order_of_columns(self, fitted):
        """Columns are found by name."""
        backwards = TRAINING.select(TRAINING.schema.names[::-1])

        np.testing.assert_array_equal(
            scored([backwards], *fitted), scored([TRAINING], *fitted)
        )

    def test_names_the_missing_feature(self, fitted):
        """A batch without a feature is refused by the feature's name."""
        with pytest.raises(SchemaError, match="'spend'.*missing") as raised:
            scored([TRAINING.drop_columns(["spend"])], *fitted)

        assert raised.value.field == "spend"

    def test_refuses_a_feature_that_is_there_twice(self, fitted):
        """Which of the two was meant cannot be known."""
        twice = TRAINING.append_column("spend", TRAINING["amount"])

        with pytest.raises(SchemaError, match="'spend'.*2 times"):
            scored([twice], *fitted)

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("visits", pa.array(["1"])),
            ("source", pa.array([1])),
            ("days", pa.array([0], pa.timestamp("us"))),
        ],
    )
    def test_names_the_feature_of_another_type(self, fitted, name, values):
        """Text where numbers were trained on is refused, and the reverse."""
        one = TRAINING.slice(0, 1)
        changed = one.set_column(one.schema.get_field_index(name), name, values)

        with pytest.raises(SchemaError, match=re.escape(f"'{name}' is {values.type}")):
            scored([changed], *fitted)

    def test_checks_every_batch_whose_schema_is_another(self, fitted):
        """A stream that changes half-way is refused where it changes."""
        changed = TRAINING.drop_columns(["device"])

        with pytest.raises(SchemaError, match="device"):
            scored([TRAINING, changed], *fitted)

    def test_takes_a_column_of_nulls_only(self, fitted):
        """Arrow gives a column without any value a type of its own."""
        empty = pa.nulls(len(TRAINING))
        batch = TRAINING
        for name in ("amount", "source"):
            index = batch.schema.get_field_index(name)
            batch = batch.set_column(index, name, empty)

        np.testing.assert_array_equal(
            scored([batch], *fitted), expected(batch, *fitted)
        )

    def test_refuses_a_preprocessor_of_other_features(self, fitted):
        """A feature removed from the use case since training is named."""
        fewer = {name: kind for name, kind in FEATURES.items() if name != "device"}

        with pytest.raises(SchemaError, match="'device'.*train again"):
            Scorer.compile(*fitted, features=fewer)

    def test_refuses_a_model_of_another_preprocessor(self, fitted):
        """A model that reads another number of columns is not of this training."""
        other = fit(columns("drop", ordinal()), boosted())

        with pytest.raises(SchemaError, match="9 columns.*trained on 3"):
            Scorer.compile(fitted[0], other[1], features=FEATURES)

    def test_refuses_a_model_that_is_not_fitted(self, fitted):
        """There is no probability to give."""
        with pytest.raises(SchemaError, match="fitted classifier of two classes"):
            Scorer.compile(fitted[0], boosted(), features=FEATURES)


class TestEncoder:
    def test_says_which_transformers_go_through_pandas(self):
        """Only what is not known to work on arrays is slow, and it is named."""
        preprocessor = columns(Doubled(), one_hot()).fit(to_frame(TRAINING, FEATURES))

        assert Encoder.compile(preprocessor, FEATURES).fallbacks == ("numbers",)

    def test_needs_no_pandas_for_the_usual_transformers(self):
        """The default preprocessors have no fallback."""
        usual = itertools.cycle(FOR_NUMBERS[:-1])
        for numbers, categories in zip(usual, FOR_CATEGORIES, strict=False):
            preprocessor = columns(numbers, categories)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                preprocessor.fit(to_frame(TRAINING, FEATURES), LABEL)

            assert Encoder.compile(preprocessor, FEATURES).fallbacks == ()

    @pytest.mark.parametrize(
        "preprocessor",
        [
            make_pipeline(
                columns(imputed(), one_hot()), StandardScaler(with_mean=False)
            ),
            columns(imputed(), one_hot(), transformer_weights={"numbers": 2.0}),
        ],
        ids=["pipeline", "weighted"],
    )
    def test_leaves_other_preprocessors_whole_to_pandas(self, preprocessor):
        """What is not a plain ColumnTransformer is run as it is."""
        fitted = fit(preprocessor, forest())
        batch = users(40, seed=4)

        assert Encoder.compile(preprocessor, FEATURES).fallbacks
        np.testing.assert_array_equal(
            scored([batch], *fitted), expected(batch, *fitted)
        )

    @pytest.mark.parametrize(
        "selection",
        [
            [0, 1],
            [-9, -8],
            slice(0, 2),
            slice("amount", "spend"),
            [True, True] + [False] * 7,
            lambda frame: ["amount", "spend"],
        ],
    )
    def test_takes_every_way_to_select_columns(self, selection):
        """Positions, slices, masks and functions mean what scikit-learn says."""
        preprocessor = ColumnTransformer(
            [("some", imputed(), selection), ("none", imputed(), [])],
            remainder=ordinal(),
        )
        fitted = fit(preprocessor, boosted())
        batch = users(40, seed=4)

        np.testing.assert_array_equal(
            scored([batch], *fitted), expected(batch, *fitted)
        )

    def test_hands_a_single_name_over_as_a_series(self):
        """As scikit-learn does for transformers of one dimension."""
        to_column = FunctionTransformer(pd.Series.to_frame)
        preprocessor = ColumnTransformer([("one", to_column, "spend")])
        fitted = fit(preprocessor, boosted())

        np.testing.assert_array_equal(
            scored([TRAINING], *fitted), expected(TRAINING, *fitted)
        )

    def test_refuses_an_unseen_category_if_the_transformer_does(self):
        """And only then: values it knows are never refused for want of others."""
        strict = OneHotEncoder(handle_unknown="error")
        fitted = fit(columns(imputed(), strict), forest())
        known = [TRAINING.slice(row, 1) for row in range(30)]

        np.testing.assert_array_equal(
            scored(known, *fitted), expected(TRAINING.slice(0, 30), *fitted)
        )
        with pytest.raises(ValueError, match="unknown categories"):
            scored([users(100, seed=2, values=50)], *fitted)

    def test_forgets_values_beyond_its_limit(self, monkeypatch):
        """A column with endless values costs time, not memory, and stays right."""
        monkeypatch.setattr(encoder_parts, "VOCABULARY_LIMIT", 10)
        preprocessor, model = fit(columns(imputed(), one_hot()), forest())
        scorer = Scorer.compile(
            preprocessor, model, features=FEATURES, chunk_rows=8, threads=1
        )
        batch = users(300, seed=5, values=250)
        actual = scorer.probabilities(batch)

        np.testing.assert_array_equal(actual, expected(batch, preprocessor, model))
        _, categories = scorer._encoder.parts[1]
        assert all(len(known) <= 10 for known in categories.known)


class TestToFrame:
    def test_gives_floats_and_strings_with_nan_for_null(self):
        """The frame that a person would write down for the same rows."""
        batch = pa.RecordBatch.from_pydict(
            {
                "source": pa.array(["a", None]),
                "visits": pa.array([3, None], pa.int64()),
                "member": pa.array([True, None]),
                "balance": pa.array([Decimal("0.1"), None], pa.decimal128(38, 9)),
            }
        )
        features = {name: FEATURES[name] for name in batch.schema.names}

        pd.testing.assert_frame_equal(
            to_frame(batch, features),
            pd.DataFrame(
                {
                    "source": pd.Series(["a", np.nan], dtype="str"),
                    "visits": [3.0, np.nan],
                    "member": [1.0, np.nan],
                    "balance": [0.1, np.nan],
                }
            ),
        )

    @given(st.lists(st.none() | st.decimals(-(10**28), 10**28, places=9)))
    def test_rounds_decimals_once(self, decimals):
        """NUMERIC becomes the nearest float, of any size and on any slice."""
        numeric = pa.array([Decimal(7), *decimals], pa.decimal128(38, 9)).slice(1)
        frame = to_frame(
            pa.RecordBatch.from_arrays([numeric], ["balance"]), {"balance": "number"}
        )

        wanted = [np.nan if value is None else float(value) for value in decimals]
        np.testing.assert_array_equal(frame["balance"], wanted)

    def test_scores_like_plain_pandas(self):
        """Frames of Arrow's own to_pandas give the same scores where types allow."""
        plain = {
            name: kind
            for name, kind in FEATURES.items()
            if name not in ("member", "balance")
        }
        preprocessor = ColumnTransformer(
            [
                ("numbers", imputed(StandardScaler()), list(NUMBERS[:4])),
                ("categories", one_hot(), list(CATEGORIES)),
            ]
        )
        frame = TRAINING.to_pandas()
        encoded = preprocessor.fit_transform(frame[list(plain)])
        model = LogisticRegression(max_iter=1_000).fit(encoded, LABEL)
        batch = users(100, seed=6)
        wanted = model.predict_proba(preprocessor.transform(batch.to_pandas()))[:, 1]

        np.testing.assert_allclose(
            scored([batch], preprocessor, model, features=plain),
            wanted,
            rtol=0,
            atol=1e-9,
        )

    def test_keeps_float32_as_scikit_learn_computes_it(self):
        """Columns of float32 alone are scaled in float32; others widen them."""
        features = {"amount": "number", "spend": "number"}
        single = TRAINING.select(["amount", "spend"]).cast(
            pa.schema([("amount", pa.float32()), ("spend", pa.float32())])
        )
        preprocessor = ColumnTransformer(
            [("numbers", imputed(StandardScaler()), ["amount", "spend"])]
        )
        encoded = preprocessor.fit_transform(to_frame(single, features))
        model = LogisticRegression().fit(encoded.astype(np.float64), LABEL)

        np.testing.assert_allclose(
            scored([single], preprocessor, model, features=features),
            expected(single, preprocessor, model, features),
            rtol=0,
            atol=1e-9,
        )
