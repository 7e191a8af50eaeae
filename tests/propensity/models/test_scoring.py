"""
Scoring, specified: whatever the batches, the numbers are the pipeline's.

``expected`` is the whole specification: what scikit-learn gives for the pandas frame
of all rows at once. Every model is small, since only equality is looked at.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity.errors import SchemaError
from propensity.learning.candidates import combined
from propensity.models.encoding import Rows, to_frame
from propensity.models.scoring import Scorer
from tests.propensity.models.pipelines import (
    CATEGORIES,
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
    rows_of,
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
        """Unseen categories and nulls included: in batches and chunks, as rows of a
        request, and each row alone."""
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
        """
        Any transformers, any model, any cut into batches (empty ones too) and chunks:
        each row gets the pipeline's number.
        """
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

        scorer = Scorer.compile(*fitted, features=FEATURES)
        alone = [scorer.probabilities(rows_of(batch.slice(row, 1))) for row in range(4)]

        probability = expected(batch, *fitted)
        for actual in (
            scored(batches, *fitted, chunk_rows=chunk_rows),
            scorer.probabilities(batch),
            scorer.probabilities(rows_of(batch)),
            np.concatenate(alone),
        ):
            own = probability[: len(actual)]
            np.testing.assert_allclose(actual, own, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("model", [boosted(), forest()], ids=["boosted", "forest"])
    @pytest.mark.parametrize("numbers", ["passthrough", StandardScaler(), Doubled()])
    def test_keeps_nulls_for_models_that_take_them(self, numbers, model):
        """Without an imputer null is NaN, which trees send down a branch of its own."""
        fitted = fit(columns(numbers, ordinal()), model)
        batch = users(200, seed=3)

        assert_scores(batch, *fitted)

    @pytest.mark.parametrize("is_mean", [False, True])
    def test_gives_a_row_the_same_bits_wherever_it_is(self, is_mean):
        """In any order, in batches of any size: sums of floats would else differ in
        the last bit for the rows at the end of a chunk."""
        linear = LogisticRegression()
        preprocessor, model = fit(columns(imputed(StandardScaler()), one_hot()), linear)
        if is_mean:
            trees = fit(columns(imputed(StandardScaler()), one_hot()), forest())[1]
            model = combined([model, trees])
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
        nothing = list(score([], *fitted, features=FEATURES))

        assert [batch for batch, _ in pairs] == batches
        assert [len(scores) for _, scores in pairs] == [3, 0, 5, 1, 0]
        assert nothing == []

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
        assert isinstance(raised.value.__cause__, ValueError)

    @pytest.mark.parametrize("pools", [None, ThreadPoolExecutor], ids=["alone", "pool"])
    def test_names_a_feature_of_no_weight_that_the_model_refuses(self, pools):
        """Infinity times 0 is no number, and no warning."""
        plain = ColumnTransformer([("all", "passthrough", ["visits", "spend"])])
        plain, model = fit(plain, LogisticRegression())
        model.coef_[0, 1] = 0.0
        spend = pa.array([1.0, 2.0, np.inf, 4.0, 5.0])
        later = with_column(users(5, seed=1), "spend", spend)

        with pytest.raises(SchemaError, match="'spend' is infinite"):
            scored([later], plain, model, pools=pools)

    def test_says_that_it_cannot_tell_what_the_model_refuses(self):
        """A category that is new to a strict encoder is somewhere; its text, which may
        be anything, is not told."""
        strict = columns(imputed(), OneHotEncoder())

        with pytest.raises(SchemaError, match="a category is null or new") as raised:
            scored([users(50, seed=1)], *fit(strict, forest()))

        assert raised.value.field is None
        assert "source" not in raised.value.message

    def test_names_columns_for_models_that_were_fitted_on_names(self):
        """A preprocessor that gives frames costs no warning and changes no score."""
        preprocessor = columns(imputed(), ordinal()).set_output(transform="pandas")
        fitted = fit(preprocessor, boosted())
        batch = users(50, seed=2)

        assert_scores(batch, *fitted)

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


class TestProbabilities:
    """Of a request: without Arrow, threads and scikit-learn's overhead."""

    def test_name_the_missing_feature(self, fitted):
        """Rows without a feature are refused by the feature's name; of no rows there
        are no scores, and no error."""
        scorer = Scorer.compile(*fitted, features=FEATURES)
        rows = Rows(np.zeros((1, 1)), {"amount": 0}, {"source": [None]})

        with pytest.raises(SchemaError, match="'spend' is missing") as raised:
            scorer.probabilities(rows)
        assert raised.value.field == "spend"
        assert scorer.probabilities(users(0, seed=1)).shape == (0,)

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
