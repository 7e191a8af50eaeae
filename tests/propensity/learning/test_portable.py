"""
The estimator for notebooks, specified: the same probabilities, without this package.
"""

from __future__ import annotations

import io

import joblib
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from propensity.learning import portable
from propensity.learning.portable import Exported
from propensity.models.anomaly import AnomalyModel
from propensity.models.encoding import to_frame
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.models.scoring import MeanOfModels, log_odds
from tests.propensity.learning.generated import Generated, generated

# Every kind of model with every calibration, as ``generated`` numbers them; in a quick
# run a plain one, and means and a forest, whose classes are replaced.
QUICK = (0, 4, 7, 9, 14)
EVERY = [
    pytest.param(number, marks=() if number in QUICK else pytest.mark.long)
    for number in range(15)
]


def checked(version: Generated, **changed) -> Exported:
    """The estimator of a generated model, or of a changed one."""
    return portable.checked(**{**version.checked, **changed})


def unchanged(values):
    """A function of this project's own, as a preprocessor might name one."""
    return values


class TestEstimator:
    @pytest.mark.parametrize("number", EVERY)
    def test_gives_the_probabilities_that_are_served(self, number):
        """Of each kind of model and calibration, read back, from a frame of features;
        and its pickle names scikit-learn's packages alone."""
        version = generated(number, rows=300)
        export = checked(version)
        read = joblib.load(io.BytesIO(export.data))
        batch = version.rows.combine_chunks().to_batches()[0]
        with np.errstate(all="ignore"):
            probability = read.predict_proba(to_frame(batch, version.features))[:, 1]

        assert np.nanmax(np.abs(probability - version.expected)) <= portable.TOLERANCE
        assert portable._named_packages(read) <= portable.LIBRARIES
        assert export.note.endswith(f"on {len(version.rows)} held-out rows")

    def test_is_there_of_trees_that_encode_categories_themselves(self):
        """All that they name comes with Python and scikit-learn."""
        version = generated(0, rows=300)
        batch = version.rows.combine_chunks().to_batches()[0]
        encoded = version.preprocessor.transform(to_frame(batch, version.features))
        codes = np.abs(encoded) // 1 % 9
        whole = make_pipeline(version.preprocessor, FunctionTransformer(np.rint))
        model = HistGradientBoostingClassifier(max_iter=5, categorical_features=[0])
        model.fit(codes, codes[:, -1] > np.median(codes[:, -1]))
        expected = model.predict_proba(
            whole.transform(to_frame(batch, version.features))
        )
        export = checked(
            version, preprocessor=whole, model=model, expected=expected[:, 1]
        )

        assert export.data is not None, export.note

    def test_has_the_decision_of_a_mean_that_is_calibrated(self):
        """Log-odds of the mean probability, also where it is 0 or 1."""
        mean = generated(4).model
        assert isinstance(mean, MeanOfModels)
        rows = np.random.default_rng(7).normal(0, 50, (200, mean.n_features_in_))
        plain = portable._stacking(mean)

        expected = log_odds(mean.predict_proba(rows)[:, 1])
        assert plain.decision_function(rows) == pytest.approx(expected, abs=1e-6)

    def test_leaves_the_model_as_it_is(self):
        """What serves is another object, and still of our classes."""
        version = generated(9, rows=300)  # a mean, calibrated
        before = version.expected
        checked(version)

        assert isinstance(
            version.model.calibrated_classifiers_[0].estimator.estimator, MeanOfModels
        )
        assert version.expected.tobytes() == before.tobytes()

    def test_compares_rows_from_the_first_to_the_last_of_many(self, monkeypatch):
        """So many at most, which the note tells."""
        monkeypatch.setattr(portable, "COMPARED_ROWS", 100)
        version = generated(0, rows=300)
        expected = version.expected
        export = checked(version)
        expected[-1] += 0.5

        assert export.note.endswith("on 100 held-out rows")
        assert checked(version, expected=expected).data is None


class TestNone:
    def test_where_a_probability_differs(self):
        """By more than the last digits, of a single row."""
        version = generated(0, rows=300)
        expected = version.expected
        expected[7] += 2e-12
        export = checked(version, expected=expected)

        assert export.data is None
        assert export.note.startswith(
            "no estimator: it differs, largest difference 2e-12"
        )

    def test_where_the_pickle_needs_a_package_of_somebody(self):
        """The note names it."""
        version = generated(0, rows=300)
        own = make_pipeline(version.preprocessor, FunctionTransformer(unchanged))
        export = checked(version, preprocessor=own)

        assert export == Exported(
            data=None, note="no estimator: its pickle needs tests"
        )

    def test_of_trees_without_labels(self):
        """They are a class of this project."""
        version = generated(0, rows=300)
        export = checked(version, model=AnomalyModel(HalfSpaceTrees()))

        assert export.note == "no estimator: its pickle needs propensity"

    def test_without_a_row_to_compare(self):
        """A model that nothing was held out for is not vouched for."""
        version = generated(0, rows=300)
        export = checked(version, rows=version.rows.slice(0, 0), expected=np.empty(0))

        assert export.data is None
        assert "no held-out rows" in export.note
