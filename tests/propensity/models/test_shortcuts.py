"""
Shortcuts, specified: what scikit-learn computes, or none.

``gaps`` are rows with NaN, which an original either takes or refuses; its shortcut does
the same.
"""

from __future__ import annotations

import copy
import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    QuantileTransformer,
    StandardScaler,
)

from propensity.models import encoder_parts, shortcuts, trees
from propensity.models.scoring import MeanOfModels
from propensity.models.shortcuts import probability_of, transform_of

WIDTH = 6


def drawn(count: int, *, seed: int = 0, gaps: float = 0.0) -> np.ndarray:
    """Return rows of numbers of many sizes, some missing."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, WIDTH))
    rows *= 10.0 ** generator.integers(-3, 3, size=(count, 1))
    rows[generator.random(rows.shape) < gaps] = np.nan
    return rows


ROWS = drawn(400, seed=1)
LABEL = ROWS[:, 0] + ROWS[:, 1] > 0.1


def boosted(**options):
    return HistGradientBoostingClassifier(**{"max_iter": 20, **options})


def calibrated(fitted, method):
    """Return a fitted model calibrated as training does it, or as it is."""
    if method is None:
        return fitted
    if not hasattr(fitted, "decision_function"):
        fitted = MeanOfModels([fitted])
    frozen = FrozenEstimator(fitted)
    return CalibratedClassifierCV(frozen, method=method).fit(ROWS, LABEL)


STEPS = {
    "scaled": StandardScaler(),
    "centred": StandardScaler(with_std=False),
    "unit variance": StandardScaler(with_mean=False),
    "between": MinMaxScaler(),
    "clipped": MinMaxScaler((-1, 1), clip=True),
    "median": SimpleImputer(strategy="median"),
    "constant": SimpleImputer(strategy="constant", fill_value=7.0),
    "indicated": SimpleImputer(add_indicator=True),
    "function": FunctionTransformer(np.arcsinh),
    "identity": FunctionTransformer(),
}
MODELS = {
    "linear": lambda: LogisticRegression(max_iter=200),
    "boosted": boosted,
    "stumps": lambda: boosted(max_leaf_nodes=2),
    "leaves without a split": lambda: boosted(min_samples_leaf=300),
    "many leaves": lambda: boosted(max_leaf_nodes=64, min_samples_leaf=1),
    "forest": lambda: RandomForestClassifier(20, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(20, max_leaf_nodes=31, random_state=0),
}


@cache
def model_of(name):
    """Return a fitted model, which no test changes."""
    return MODELS[name]().fit(ROWS, LABEL)


def assert_equal(shortcut, model, rows):
    """Compare a shortcut with its model, to the last bit."""
    expected = model.predict_proba(rows)[:, 1]
    np.testing.assert_array_equal(shortcut(rows.copy()), expected)


class TestTransforms:
    @pytest.mark.parametrize("name", STEPS)
    @settings(max_examples=20, deadline=None)
    @given(
        count=st.integers(1, 30),
        seed=st.integers(0, 99),
        gaps=st.sampled_from([0.0, 0.3]),
    )
    def test_equal_the_transformer(self, name, count, seed, gaps):
        """Numbers, gaps and indicators come out as the transformer has them."""
        step = STEPS[name].fit(drawn(50, seed=7, gaps=0.2))
        shortcut = transform_of(step)
        rows = drawn(count, seed=seed, gaps=gaps)

        assert shortcut is not None
        np.testing.assert_array_equal(shortcut(rows.copy()), step.transform(rows))

    @pytest.mark.parametrize("name", STEPS)
    def test_refuse_what_the_transformer_refuses(self, name):
        """An infinite number, which a step before may have made of a large one: scores
        of many rows, by the transformer itself, refuse it too."""
        step = STEPS[name].fit(drawn(50, seed=7, gaps=0.2))
        shortcut, row = transform_of(step), np.full((1, WIDTH), 1.0)
        row[0, 2] = -np.inf

        assert shortcut is not None
        try:
            expected = step.transform(row)
        except ValueError:
            with pytest.raises(ValueError, match="infinite"):
                shortcut(row.copy())
        else:
            np.testing.assert_array_equal(shortcut(row.copy()), expected)

    @pytest.mark.parametrize("name", STEPS)
    @pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
    def test_leave_what_a_step_before_makes_to_the_transformer(self, name, container):
        """Marks of gaps are truth values, and encoded numbers may be sparse: neither is
        scaled in place. Whoever sends one row gets what a publication gives."""
        step = STEPS[name].fit(drawn(50, seed=7, gaps=0.2))
        shortcut, marks = transform_of(step), np.isnan(drawn(4, seed=1, gaps=0.5))

        assert shortcut is not None
        try:
            expected = step.transform(container(marks))
        except (TypeError, ValueError):
            return  # no pipeline can be fitted with it
        np.testing.assert_array_equal(
            encoder_parts.as_array(shortcut(container(marks))),
            encoder_parts.as_array(expected),
        )

    def test_are_none_of_what_is_not_known(self):
        """Every other transformer is called itself."""
        assert transform_of(QuantileTransformer(n_quantiles=9).fit(ROWS)) is None
        assert transform_of(SimpleImputer(missing_values=-1).fit(ROWS)) is None

    def test_are_none_of_one_that_drops_columns(self):
        """Of a column without any value there is none to put in the gaps."""
        rows = ROWS.copy()
        rows[:, 2] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step = SimpleImputer().fit(rows)

            assert transform_of(step) is None


class TestProbabilities:
    @pytest.mark.parametrize("method", [None, "sigmoid", "isotonic", "temperature"])
    @pytest.mark.parametrize("name", MODELS)
    def test_equal_the_model(self, name, method):
        """One row or many, with gaps where the model takes them, calibrated or not: the
        same bits."""
        model = calibrated(model_of(name), method)
        shortcut = probability_of(model, width=WIDTH)
        gaps = 0.0 if name == "linear" else 0.2

        assert shortcut is not None
        for count in (1, 5, 60, 1_100):
            rows = drawn(count, seed=count, gaps=gaps)
            assert_equal(shortcut, model, rows)

    @pytest.mark.parametrize("weights", [None, [0.2, 0.5, 0.3]])
    @pytest.mark.parametrize("method", [None, "temperature"])
    def test_of_a_mean_equal_the_model(self, weights, method):
        """A mean of models is the mean of their shortcuts."""
        members = [model_of(name) for name in ("linear", "boosted", "forest")]
        model = calibrated(MeanOfModels(members, weights), method)
        shortcut = probability_of(model, width=WIDTH)
        rows = drawn(70)

        assert shortcut is not None
        for some in (rows[:1], rows):
            assert_equal(shortcut, model, some)

    def test_of_categories_equal_the_model(self):
        """Categories that boosted trees compare themselves are ranges: known ones, new
        ones and missing ones."""
        generator = np.random.default_rng(5)
        rows = drawn(600, seed=5)
        rows[:, 2] = generator.integers(0, 40, len(rows)) * 3
        label = (rows[:, 2] % 7 < 3) ^ (rows[:, 0] > 0)
        model = boosted(categorical_features=[2]).fit(rows, label)
        rows[::5, 2], rows[1::5, 2], rows[2::5, 0] = np.nan, 1_000, np.nan
        shortcut = probability_of(model, width=WIDTH)

        assert shortcut is not None
        for some in (rows[:6], rows):
            assert_equal(shortcut, model, some)

    @pytest.mark.parametrize("name", ["forest", "many leaves"])
    def test_of_trees_too_large_for_tables_are_quick_for_a_few_rows(
        self, name, monkeypatch
    ):
        """Few rows go down all trees at once, many rows through the model."""
        monkeypatch.setattr(trees, "_MOST_BYTES", 0)
        monkeypatch.setattr(shortcuts, "BRANCHES_ROWS", 50)
        model = model_of(name)
        shortcut = probability_of(model, width=WIDTH)

        assert shortcut is not None
        for count in (1, 50, 51):
            rows = drawn(count, gaps=0.2)
            assert_equal(shortcut, model, rows)

    def test_of_wide_tables_are_the_models_own_for_many_rows(self, monkeypatch):
        """Where a table costs more than the branches, they are followed."""
        monkeypatch.setattr(shortcuts, "_WIDE_BYTES", 0)
        monkeypatch.setattr(shortcuts, "WIDE_ROWS", 100)
        model = copy.copy(model_of("boosted"))
        shortcut = probability_of(model, width=WIDTH)
        assert shortcut is not None

        del model.decision_function.__self__._predictors

        assert len(shortcut(drawn(100))) == 100
        with pytest.raises(AttributeError):
            shortcut(drawn(101))

    @pytest.mark.parametrize("value", [np.inf, 1e300])
    def test_of_a_forest_are_of_float32(self, value):
        """What does not fit is refused as the forest does."""
        model = model_of("forest")
        shortcut = probability_of(model, width=WIDTH)
        rows = drawn(3)
        rows[1, 1] = value

        assert shortcut is not None
        with pytest.raises(ValueError, match="too large"), np.errstate(over="ignore"):
            shortcut(rows)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize("method", [None, "sigmoid", "isotonic"])
    def test_of_a_linear_model_are_of_finite_numbers_only(self, method, value):
        """It raises as the model does."""
        model = calibrated(model_of("linear"), method)
        shortcut = probability_of(model, width=WIDTH)
        rows = drawn(3)
        rows[1, 1] = value

        assert shortcut is not None
        with pytest.raises(ValueError, match="finite"):
            shortcut(rows)

    def test_of_a_linear_model_may_have_a_weight_of_0(self):
        """The comparison tries infinity times 0, which is refused without a warning."""
        model = LogisticRegression().fit(ROWS * (np.arange(WIDTH) > 0), LABEL)

        shortcut = probability_of(model, width=WIDTH)
        assert model.coef_[0, 0] == 0
        assert shortcut is not None

    def test_are_none_of_what_is_not_known(self):
        """Every other model is called itself."""
        neighbours = KNeighborsClassifier().fit(ROWS, LABEL)
        folds = CalibratedClassifierCV(boosted(), cv=2).fit(ROWS, LABEL)

        for model in (neighbours, folds, MeanOfModels([neighbours])):
            assert probability_of(model, width=WIDTH) is None

    def test_are_none_where_scikit_learn_has_become_another(self):
        """What it keeps to itself may change: then there is no shortcut, and no error
        of it."""
        model = model_of("boosted")
        changed, gone = copy.deepcopy(model), copy.deepcopy(model)
        changed._baseline_prediction = changed._baseline_prediction + 1
        changed.predict_proba = model.predict_proba
        predicted = gone.predict_proba
        del gone._predictors
        gone.predict_proba = predicted

        assert probability_of(changed, width=WIDTH) is None
        assert probability_of(gone, width=WIDTH) is None
