"""
Scoring, specified: whatever the batches, the numbers are the pipeline's.

``expected`` is the whole specification: what scikit-learn gives for the pandas frame
of all rows at once. Every model is small, since only equality is looked at.
"""

from __future__ import annotations

import itertools
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
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from propensity.errors import SchemaError
from propensity.models.encoder import Encoder
from propensity.models.encoding import to_frame
from propensity.models.scoring import Scorer
from tests.propensity.models.pipelines import (
    EVERY_MODEL,
    FEATURES,
    FOR_CATEGORIES,
    FOR_NUMBERS,
    LABEL,
    LOG,
    MODELS,
    NUMBERS,
    ONE_OF_EACH,
    TRAINING,
    Calibrated,
    Doubled,
    assert_scores,
    boosted,
    columns,
    expected,
    fit,
    forest,
    imputed,
    one_hot,
    ordinal,
    score,
    scored,
    trees,
    users,
    with_column,
)


class TestScore:
    @pytest.mark.parametrize(("numbers", "categories", "model"), ONE_OF_EACH)
    @pytest.mark.filterwarnings("ignore:Found unknown categories")
    def test_equals_the_pipeline(self, numbers, categories, model):
        """Unseen categories and nulls included: in batches and chunks, and alone."""
        self.compare(
            numbers, categories, model, sparse=0.3, cuts=[7, 7, 40], chunk_rows=7
        )

    @pytest.mark.long
    @given(
        numbers=st.sampled_from(FOR_NUMBERS),
        categories=st.sampled_from(FOR_CATEGORIES),
        model=st.sampled_from(EVERY_MODEL),
        sparse=st.sampled_from([0.0, 0.3, 1.0]),
        cuts=st.lists(st.integers(0, 60), max_size=5),
        chunk_rows=st.sampled_from([1, 7, 1_000]),
        seed=st.integers(0, 50),
    )
    @pytest.mark.filterwarnings("ignore:Found unknown categories")
    def test_equals_the_pipeline_however_the_rows_are_cut(self, **drawn):
        """Any transformers, any model, any cut into batches, empty ones too."""
        self.compare(**drawn)

    def compare(self, numbers, categories, model, *, sparse, cuts, chunk_rows, seed=3):
        if model not in MODELS or "Hist" in repr(model):
            sparse = 0.0
        preprocessor = columns(numbers, categories, sparse_threshold=sparse)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = fit(preprocessor, model)
        batch = users(60, seed=seed)
        edges = sorted([0, *cuts, 60])
        batches = [batch.slice(start, end - start) for start, end in pairwise(edges)]
        scorer = Scorer(*fitted, features=FEATURES)
        alone = [scorer.probabilities(batch.slice(row, 1)) for row in range(4)]

        probability = expected(batch, *fitted)
        for actual in (
            scored(batches, *fitted, chunk_rows=chunk_rows),
            scored(batches, *fitted, chunk_rows=chunk_rows, pools=None),
            scorer.probabilities(batch),
            np.concatenate(alone),
        ):
            own = probability[: len(actual)]
            np.testing.assert_allclose(actual, own, rtol=0, atol=1e-9)

    def test_yields_each_batch_with_its_own_scores(self):
        """One pair per batch, in order, the batch as it came, empty ones included."""
        fitted = fit(columns("passthrough", ordinal()), boosted())
        batches = [users(n, seed=n) for n in (3, 0, 5, 1, 0)]

        pairs = list(score(iter(batches), *fitted, features=FEATURES))

        assert [batch for batch, _ in pairs] == batches
        assert [len(scores) for _, scores in pairs] == [3, 0, 5, 1, 0]
        assert list(score([], *fitted, features=FEATURES)) == []

    @pytest.mark.parametrize(
        ("pools", "ahead"), [(ThreadPoolExecutor, 3), (None, 1)], ids=["pool", "alone"]
    )
    def test_reads_ahead_no_more_batches_than_threads(self, pools, ahead):
        """Memory is bounded because batches are pulled as results are taken."""
        fitted = fit(columns("passthrough", ordinal()), boosted())
        pulled = []

        def stream():
            for index in range(20):
                pulled.append(index)
                yield users(2, seed=index)

        scores = score(stream(), *fitted, features=FEATURES, threads=2, pools=pools)
        next(scores)

        assert len(pulled) == ahead
        scores.close()

    @pytest.mark.parametrize("pools", [None, ThreadPoolExecutor], ids=["alone", "pool"])
    @pytest.mark.parametrize("model", [MODELS[0], MODELS[-1]], ids=["linear", "mean"])
    @pytest.mark.parametrize(("value", "state"), [(np.inf, "infinite"), (None, "null")])
    def test_names_the_feature_that_the_model_refuses(self, value, state, model, pools):
        """A value that it takes nowhere is an error, not a score."""
        plain = ColumnTransformer([("all", StandardScaler(), ["visits", "spend"])])
        later = users(5, seed=1)
        odd = with_column(later, "spend", pa.array([1.0, 2.0, value, 4.0, 5.0]))

        with pytest.raises(SchemaError, match=f"'spend' is {state}") as raised:
            scored([later, odd], *fit(plain, model), pools=pools)

        assert raised.value.field == "spend"

    def test_names_a_feature_of_no_weight_that_the_model_refuses(self):
        """Infinity times 0 is no number, and no warning."""
        plain = ColumnTransformer([("all", "passthrough", ["visits", "spend"])])
        plain, model = fit(plain, LogisticRegression())
        model.coef_[0, 1] = 0.0
        later = users(5, seed=1)
        odd = with_column(later, "spend", pa.array([1.0, 2.0, np.inf, 4.0, 5.0]))

        with pytest.raises(SchemaError, match="'spend' is infinite"):
            scored([odd], plain, model)

    def test_refuses_a_new_category_if_the_encoder_does(self):
        """And only then. The text, which may be anything, is in no message."""
        strict = fit(columns(imputed(), OneHotEncoder()), forest())
        known = [TRAINING.slice(row, 1) for row in range(30)]

        np.testing.assert_array_equal(
            scored(known, *strict), expected(TRAINING.slice(0, 30), *strict)
        )
        with pytest.raises(SchemaError, match="a category is null or new") as raised:
            scored([users(100, seed=2, values=50)], *strict)
        assert "source" not in raised.value.message

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
    def test_knows_which_numbers_may_not_be_null(self, numbers, model, unfilled):
        """Those whose gaps neither the preprocessor fills nor the model takes."""
        preprocessor = columns(numbers, ordinal(encoded_missing_value=-2))
        frame = to_frame(TRAINING, FEATURES)
        if unfilled:
            frame[list(NUMBERS)] = frame[list(NUMBERS)].fillna(0)
        model.fit(preprocessor.fit_transform(frame), LABEL)

        assert Scorer(preprocessor, model, features=FEATURES).unfilled == unfilled


class TestEncoder:
    def test_needs_no_pandas_for_the_usual_transformers(self):
        """Only what is not known to work on arrays is slow."""
        usual = itertools.cycle(FOR_NUMBERS[:-1])
        usual_categories = [
            each for each in FOR_CATEGORIES if "Scaler" not in repr(each)
        ]
        for numbers, categories in zip(usual, usual_categories, strict=False):
            preprocessor = columns(numbers, categories)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                preprocessor.fit(to_frame(TRAINING, FEATURES), LABEL)
            assert Encoder(preprocessor, FEATURES).width

        own = columns(Doubled(), one_hot()).fit(to_frame(TRAINING, FEATURES))
        assert Encoder(own, FEATURES).width is None

    @pytest.mark.parametrize(
        "preprocessor",
        [
            make_pipeline(
                columns(imputed(), one_hot()), StandardScaler(with_mean=False)
            ),
            columns(imputed(), one_hot(), transformer_weights={"numbers": 2.0}),
            ColumnTransformer(
                [("one", FunctionTransformer(pd.Series.to_frame), "spend")]
            ),
            *(
                ColumnTransformer([("some", imputed(), some)], remainder=ordinal())
                for some in (
                    [0, 1],
                    slice("amount", "spend"),
                    [True, True] + [False] * 7,
                    lambda frame: ["amount", "spend"],
                )
            ),
        ],
    )
    def test_takes_preprocessors_of_any_sort(self, preprocessor):
        """What is not a plain ColumnTransformer is run as it is."""
        assert_scores(users(40, seed=4), *fit(preprocessor, boosted()))


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

        pd.testing.assert_frame_equal(
            to_frame(batch, {name: FEATURES[name] for name in batch.schema.names}),
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

        floats = [np.nan if value is None else float(value) for value in decimals]
        np.testing.assert_array_equal(frame["balance"], floats)


@pytest.fixture(scope="module")
def fitted():
    return fit(columns("passthrough", ordinal()), boosted())


class TestSchema:
    @pytest.mark.parametrize(
        ("changed", "field", "message"),
        [
            (TRAINING.drop_columns(["spend"]), "spend", "'spend'.*missing"),
            (
                TRAINING.append_column("spend", TRAINING["amount"]),
                "spend",
                "'spend'.*2 times",
            ),
            *(
                (with_column(TRAINING.slice(0, 1), name, values), name, message)
                for name, values, message in (
                    ("visits", pa.array(["1"]), "'visits' is string"),
                    ("source", pa.array([1]), "'source' is int64"),
                    ("days", pa.array([0], pa.timestamp("us")), "'days' is timestamp"),
                )
            ),
        ],
        ids=["missing", "twice", "text", "number", "timestamp"],
    )
    def test_names_the_feature_that_is_not_as_trained(
        self, fitted, changed, field, message
    ):
        """In a batch of its own, or in a stream that changes half-way."""
        for batches in ([changed], [TRAINING, changed]):
            with pytest.raises(SchemaError, match=message) as raised:
                scored(batches, *fitted)
            assert raised.value.field == field

    def test_takes_a_column_of_nulls_only(self, fitted):
        """Arrow gives a column without any value a type of its own."""
        empty = pa.nulls(len(TRAINING))
        batch = with_column(with_column(TRAINING, "amount", empty), "source", empty)

        assert_scores(batch, *fitted)

    def test_refuses_what_is_not_of_one_training(self, fitted):
        """Other features, a model of another preprocessor, a model that is not
        fitted."""
        fewer = {name: kind for name, kind in FEATURES.items() if name != "device"}
        other = fit(columns("drop", ordinal()), boosted())

        with pytest.raises(SchemaError, match="'device'.*train again"):
            Scorer(*fitted, features=fewer)
        with pytest.raises(SchemaError, match="9 columns.*trained on 3"):
            Scorer(fitted[0], other[1], features=FEATURES)
        with pytest.raises(SchemaError, match="fitted classifier of two classes"):
            Scorer(fitted[0], boosted(), features=FEATURES)
