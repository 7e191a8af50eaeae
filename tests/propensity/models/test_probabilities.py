"""Probabilities without scikit-learn, specified: those that it would give."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from propensity.errors import SchemaError
from propensity.models.encoding import Rows, to_frame
from propensity.models.scoring import MeanOfModels, Scorer
from tests.propensity.models.pipelines import (
    CATEGORIES,
    FEATURES,
    LABEL,
    LOG,
    NUMBERS,
    TRAINING,
    Averaged,
    Stacked,
    boosted,
    columns,
    fit,
    imputed,
    one_hot,
    ordinal,
    trees,
    users,
)


class TestMeanOfModels:
    def test_weighs_its_members(self):
        """By their weights; with equal ones it is the plain mean, to the last bits."""
        encoded = np.random.default_rng(1).normal(size=(200, 3))
        label = (encoded[:, 0] > 0).astype(int)
        plain, stacked = Averaged().fit(encoded, label), Stacked().fit(encoded, label)
        each = [member.predict_proba(encoded) for member in stacked.members]
        even = MeanOfModels(plain.members, [1 / 3] * 3)
        expected = np.tensordot(Stacked.weights, each, axes=1)

        assert np.allclose(stacked.predict_proba(encoded), expected, atol=1e-15)
        assert np.allclose(
            even.predict_proba(encoded), plain.predict_proba(encoded), atol=1e-15
        )


class TestProbabilities:
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
