"""A preprocessor of one's own, specified: what training takes, and what it refuses."""

from __future__ import annotations

import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from propensity.errors import SchemaError
from propensity.learning.preprocessor import check_preprocessor, default_preprocessor
from tests.propensity.learning.shops import (
    SHOP,
    changed,
    own,
    snapshots,
    train,
)


class TestPreprocessor:
    def test_of_one_s_own_is_cloned(self):
        """What was uploaded stays unfitted; a clone is fitted and kept."""
        preprocessor = own(handle_unknown="ignore")
        training = train(snapshots(users=100), preprocessor=preprocessor)

        assert not hasattr(preprocessor, "transformers_")
        assert training.served.preprocessor.feature_names_in_.tolist() == list(
            SHOP.features
        )

    @pytest.mark.parametrize(
        "wrong",
        [
            ColumnTransformer([("x", StandardScaler(), ["no_such_feature"])]),
            ColumnTransformer([("x", StandardScaler(), ["country"])]),
            RandomForestClassifier(),
            "a preprocessor",
        ],
        ids=["unknown", "text", "classifier", "string"],
    )
    def test_that_does_not_fit_is_refused(self, wrong):
        """Another schema, or no preprocessor at all, stops training."""
        with pytest.raises(SchemaError, match="preprocessor"):
            train(snapshots(users=50), preprocessor=wrong)

    def test_that_fails_on_later_rows_is_refused(self):
        """Encoders refuse new categories by default; next week has some, so training
        says what to change."""
        rows = snapshots(users=100)
        later = train(rows).parts.split.calibrate
        other = changed(rows, later, "country", lambda country: ["XX"] * len(country))

        with pytest.raises(SchemaError, match="handle_unknown"):
            train(other, preprocessor=own())


class TestCheckPreprocessor:
    def test_accepts_the_default_and_one_s_own(self):
        """What training would accept is accepted at the upload."""
        check_preprocessor(default_preprocessor(SHOP), SHOP)
        check_preprocessor(own(handle_unknown="ignore"), SHOP)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (StandardScaler(), "ColumnTransformer"),
            (own(), "handle_unknown"),
            (
                ColumnTransformer(
                    [("x", SimpleImputer(), ["spend"])], remainder="passthrough"
                ),
                "encode every category",
            ),
            (ColumnTransformer([("x", StandardScaler(), ["gone"])]), "gone"),
            (ColumnTransformer([("x", "drop", ["spend"])]), "a column or more"),
        ],
        ids=["other", "unseen", "text", "unknown", "nothing"],
    )
    def test_refuses_what_training_would_stumble_on(self, wrong, message):
        """The upload fails, and not the training of the next month."""
        with pytest.raises(SchemaError, match=message):
            check_preprocessor(wrong, SHOP)
