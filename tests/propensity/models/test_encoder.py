"""
Encoded columns, specified: those of the pipeline's own transformers, to the last bit.
"""

from __future__ import annotations

import itertools
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from propensity.errors import SchemaError
from propensity.models import encoder_parts
from propensity.models.encoder import Encoder
from propensity.models.encoding import to_frame
from propensity.models.scoring import Scorer
from tests.propensity.models.pipelines import (
    CATEGORIES,
    FEATURES,
    FOR_CATEGORIES,
    FOR_NUMBERS,
    LABEL,
    NUMBERS,
    TRAINING,
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
    scored,
    users,
)


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
        assert_scores(batch, *fitted)

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

        assert_scores(batch, *fitted)

    def test_hands_a_single_name_over_as_a_series(self):
        """As scikit-learn does for transformers of one dimension."""
        to_column = FunctionTransformer(pd.Series.to_frame)
        preprocessor = ColumnTransformer([("one", to_column, "spend")])
        fitted = fit(preprocessor, boosted())

        assert_scores(TRAINING, *fitted)

    def test_refuses_an_unseen_category_if_the_transformer_does(self):
        """And only then: values it knows are never refused for want of others."""
        strict = OneHotEncoder(handle_unknown="error")
        fitted = fit(columns(imputed(), strict), forest())
        known = [TRAINING.slice(row, 1) for row in range(30)]

        np.testing.assert_array_equal(
            scored(known, *fitted), expected(TRAINING.slice(0, 30), *fitted)
        )
        with pytest.raises(SchemaError, match="category") as raised:
            scored([users(100, seed=2, values=50)], *fitted)

        assert "unknown categories" in str(raised.value.__cause__)

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

        expected = [np.nan if value is None else float(value) for value in decimals]
        np.testing.assert_array_equal(frame["balance"], expected)

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
        expected = model.predict_proba(preprocessor.transform(batch.to_pandas()))[:, 1]

        np.testing.assert_allclose(
            scored([batch], preprocessor, model, features=plain),
            expected,
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
