"""
Reasons, specified: their sum is the log-odds of the probability, and of trees they are
shap's own values.
"""

from __future__ import annotations

from dataclasses import replace

import joblib
import numpy as np
import pyarrow as pa
import pytest
import shap
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OrdinalEncoder, PolynomialFeatures, StandardScaler

from propensity import usecases
from propensity.errors import Unexplained
from propensity.learning import season
from propensity.learning.candidates import fit_on
from propensity.learning.data import Slice
from propensity.learning.preprocessor import default_preprocessor, fitted, transformed
from propensity.models import reasons
from propensity.models.anomaly import AnomalyModel
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.models.reasons import Explainer
from propensity.models.scoring import MeanOfModels, Scorer
from tests.propensity.models.test_old_pickles import MEAN_OF_MODELS

COUNT = 600
USE_CASE = usecases.load("ga4_purchase")
FEATURES = {
    "recency_days": "number",
    "sessions": "number",
    "revenue": "number",
    "source": "category",
    "country": "category",
}


def users(count: int = COUNT, *, seed: int = 0) -> pa.Table:
    """Users with gaps and rare categories, whose label follows from three features."""
    random = np.random.default_rng(seed)
    gaps = {name: random.random(count) < 0.1 for name in FEATURES}
    recency, sessions = random.geometric(0.1, count), random.poisson(3, count)
    source = random.choice(["google", "direct", "mail", "rare"], count, p=SHARES)
    log_odds = 1.5 * (source == "mail") + 0.4 * sessions - 0.2 * recency
    columns = {
        "recency_days": pa.array(recency, pa.int64()),
        "sessions": pa.array(sessions, pa.int64(), mask=gaps["sessions"]),
        "revenue": pa.array(random.gamma(0.5, 40, count), mask=gaps["revenue"]),
        "source": pa.array(source, mask=gaps["source"]),
        "country": pa.array(random.choice([f"c{n}" for n in range(9)], count)),
    }
    label = random.random(count) < 1 / (1 + np.exp(-log_odds))
    return pa.table({**columns, "label": pa.array(label.astype(np.int8))})


SHARES = [0.5, 0.3, 0.18, 0.02]
ROWS = users()
PART = Slice(rows=ROWS, label=ROWS["label"].to_numpy(), weight=np.ones(COUNT))


def encoder():
    declared = replace(USE_CASE, features=FEATURES)
    return fitted(default_preprocessor(declared), PART, FEATURES)


ENCODER = encoder()
ENCODED = np.asarray(transformed(ENCODER, ROWS, FEATURES))
LATER = users(200, seed=1).combine_chunks().to_batches()[0]
LATER_ENCODED = np.asarray(transformed(ENCODER, pa.table(LATER), FEATURES))


def trained(model):
    return fit_on(model, ENCODED, PART, name="m")


LINEAR = trained(LogisticRegression(C=0.1, max_iter=500))
BOOSTED = trained(
    HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=6, min_samples_leaf=20)
)
FOREST = trained(RandomForestClassifier(10, min_samples_leaf=10, random_state=0))
EXTRA = trained(ExtraTreesClassifier(10, min_samples_leaf=10, random_state=0))
MEAN = MeanOfModels([LINEAR, BOOSTED, FOREST])
STACK = MeanOfModels([LINEAR, BOOSTED, FOREST], [0.5, 0.2, 0.3])
MODELS = {
    "linear": LINEAR,
    "boosted": BOOSTED,
    "forest": FOREST,
    "extra": EXTRA,
    "mean": MEAN,
    "stack": STACK,
}


def calibrated(model, method):
    if method == "none":
        return model
    if not hasattr(model, "decision_function"):
        model = MeanOfModels([model])
    return CalibratedClassifierCV(FrozenEstimator(model), method=method).fit(
        ENCODED, PART.label
    )


def explained(
    model, batch=LATER, *, preprocessor=ENCODER, shift=None, features=FEATURES
):
    """Return base, contributions and probabilities of rows."""
    scorer = Scorer.compile(preprocessor, model, features=features)
    probability = season.apply(scorer.probabilities(batch), shift)
    explainer = Explainer.compile(preprocessor, model, features=features)
    contributions = explainer.contributions(batch, probability, log_odds_shift=shift)
    return explainer.base + (shift or 0.0), contributions, probability


def log_odds(probability):
    inside = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.log(inside / (1 - inside))


def by_feature(columns: np.ndarray) -> np.ndarray:
    """Return values of encoded columns as sums by feature."""
    marked = ["sessions", "revenue"]  # the numbers with gaps
    one_hot = ENCODER.named_transformers_["categories"][-1]
    values = one_hot.get_feature_names_out(["source", "country"])
    named = ["recency_days", "sessions", "revenue", *marked, *values]
    return np.stack(
        [columns[:, [name in each for each in named]].sum(axis=1) for name in FEATURES],
        axis=1,
    )


@pytest.mark.parametrize(
    ("name", "method"),
    [
        pytest.param(
            name,
            method,
            # Every model, and every calibration of one of them.
            marks=() if method == "none" or name == "mean" else pytest.mark.long,
        )
        for name in MODELS
        for method in ("none", "sigmoid", "isotonic", "temperature")
    ],
)
def test_have_the_log_odds_of_the_probability_as_their_sum(name, method):
    """Of every model and calibration, with and without the season's shift."""
    model = calibrated(MODELS[name], method)
    for shift in (None, 0.4):
        base, contributions, probability = explained(model, shift=shift)

        total = base + contributions.sum(axis=1)
        np.testing.assert_allclose(total, log_odds(probability), rtol=0, atol=1e-9)
        assert contributions.shape == (len(LATER), len(FEATURES))


@pytest.mark.parametrize("shift", [-25.0, 25.0])
def test_have_the_log_odds_of_the_least_and_the_greatest_probability(shift):
    """However near to 0 or 1: only these two themselves count as 1e-9 from there."""
    base, contributions, probability = explained(LINEAR, shift=shift)

    assert np.minimum(probability, 1 - probability).max() < 1e-9
    own = np.log(probability / (1 - probability))
    np.testing.assert_allclose(base + contributions.sum(axis=1), own, rtol=0, atol=1e-9)


def test_have_a_sum_where_there_are_no_log_odds():
    """Of 0 and 1 those of 1e-9 and of 1 - 1e-9."""
    explainer = Explainer.compile(ENCODER, LINEAR, features=FEATURES)
    contributions = explainer.contributions(LATER.slice(0, 2), np.array([0.0, 1.0]))
    total = explainer.base + contributions.sum(axis=1)

    np.testing.assert_allclose(total, log_odds(np.array([0.0, 1.0])), atol=1e-9)


class TestTrees:
    def test_of_boosted_trees_are_those_of_shap(self):
        """TreeSHAP by the rows of the training; a category's columns count together."""
        base, contributions, _ = explained(BOOSTED)

        oracle = shap.TreeExplainer(BOOSTED, feature_perturbation="tree_path_dependent")
        expected = by_feature(oracle.shap_values(LATER_ENCODED, check_additivity=False))
        np.testing.assert_allclose(contributions, expected, atol=1e-9)
        assert base == pytest.approx(float(np.ravel(oracle.expected_value)[0]))

    @pytest.mark.parametrize("model", [FOREST, EXTRA], ids=["forest", "extra"])
    def test_of_forests_are_in_proportion_to_those_of_shap(self, model):
        """shap explains a probability: log-odds follow in proportion."""
        base, contributions, probability = explained(model)

        oracle = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
        values = oracle.shap_values(LATER_ENCODED, check_additivity=False)[..., 1]
        mean = float(oracle.expected_value[1])
        slope = (log_odds(probability) - log_odds(mean)) / (probability - mean)
        expected = by_feature(values) * slope[:, np.newaxis]
        np.testing.assert_allclose(contributions, expected, rtol=1e-6, atol=1e-9)
        assert base == pytest.approx(float(log_odds(mean)))

    def test_compare_categories_of_their_own(self):
        """Boosted trees may encode categories themselves, which come first then."""
        ordinal = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=np.nan,
            encoded_missing_value=np.nan,
        )
        kinds = {name: FEATURES[name] for name in ("revenue", "sessions", "source")}
        mixed = ColumnTransformer(
            [
                ("numbers", StandardScaler(), ["revenue", "sessions"]),
                ("categories", ordinal, ["source"]),
            ]
        )
        encoder = fitted(mixed, PART, kinds)
        model = HistGradientBoostingClassifier(
            max_iter=20, categorical_features=[2], min_samples_leaf=10
        ).fit(np.asarray(transformed(encoder, ROWS, kinds)), PART.label)

        base, contributions, probability = explained(
            model, preprocessor=encoder, features=kinds
        )

        total = base + contributions.sum(axis=1)
        np.testing.assert_allclose(total, log_odds(probability), atol=1e-9)
        by_mail = np.array([source == "mail" for source in LATER["source"].to_pylist()])
        assert contributions[by_mail, 2].min() > contributions[~by_mail, 2].mean()


class TestLinear:
    def test_are_the_weight_times_the_distance_from_the_mean(self):
        """Of the rows that the model was fitted on; a category's columns together."""
        base, contributions, _ = explained(LINEAR)

        mean = ENCODED.mean(axis=0)
        expected = by_feature((LATER_ENCODED - mean) * LINEAR.coef_[0])
        np.testing.assert_allclose(contributions, expected, atol=1e-9)
        assert base == pytest.approx(LINEAR.intercept_[0] + mean @ LINEAR.coef_[0])

    def test_of_an_old_pickle_are_distances_from_zero(self):
        """Means were not kept then: the sum is right all the same."""
        names = ("a", "b", "c")
        old = joblib.load(MEAN_OF_MODELS)
        passing = ColumnTransformer([("n", StandardScaler(), list(names))])
        kinds = dict.fromkeys(names, "number")
        random = np.random.default_rng(0)
        rows = pa.table({name: random.normal(size=40) for name in names})
        part = Slice(rows=rows, label=np.arange(40) % 2, weight=np.ones(40))

        base, contributions, probability = explained(
            old,
            rows.to_batches()[0],
            preprocessor=fitted(passing, part, kinds),
            features=kinds,
        )

        total = base + contributions.sum(axis=1)
        np.testing.assert_allclose(total, log_odds(probability), atol=1e-9)


class TestCalibrations:
    @pytest.mark.parametrize("method", ["sigmoid", "temperature"])
    def test_by_a_line_scale_all_numbers_alike(self, method):
        """The base moves along the line, too; its slope is read off probabilities."""
        base, plain, probability = explained(BOOSTED)
        predicted, contributions, calibrated_to = explained(calibrated(BOOSTED, method))

        slope, start = np.polyfit(log_odds(probability), log_odds(calibrated_to), 1)
        np.testing.assert_allclose(contributions, slope * plain, atol=1e-9)
        assert predicted == pytest.approx(slope * base + start)

    def test_of_a_forest_are_of_its_probability(self):
        """A forest has no decision: a loaded model's sigmoid is a line of that."""
        base, _, probability = explained(FOREST)
        model = CalibratedClassifierCV(FrozenEstimator(FOREST), method="sigmoid")
        predicted, _, calibrated_to = explained(model.fit(ENCODED, PART.label))

        slope, start = np.polyfit(probability, log_odds(calibrated_to), 1)
        assert predicted == pytest.approx(slope / (1 + np.exp(-base)) + start)

    def test_by_steps_change_no_sign(self):
        """However steep a step is, positive numbers stay so, and negative ones too."""
        _, plain, _ = explained(BOOSTED)
        _, contributions, _ = explained(calibrated(BOOSTED, "isotonic"))

        assert np.all((contributions >= -1e-12) | (plain <= 1e-12))
        assert np.all((contributions <= 1e-12) | (plain >= -1e-12))

    @given(
        parts=st.lists(st.floats(-20, 20), min_size=1, max_size=8),
        target=st.floats(-25, 25),
    )
    def test_have_any_sum(self, parts, target):
        """Also if every number has the other sign, or is zero."""
        balanced = reasons._balanced(np.array(parts)[:, np.newaxis], np.array([target]))

        assert balanced.sum() == pytest.approx(target, abs=1e-9)

    @given(
        parts=st.lists(st.floats(0.01, 20), min_size=2, max_size=8),
        target=st.floats(-25, 25),
    )
    def test_keep_order_and_sign(self, parts, target):
        """Of numbers of one sign the greater stays the greater."""
        signed = np.array([*parts, -1.0])[:, np.newaxis]
        balanced = reasons._balanced(signed, np.array([target]))[:, 0]

        assert (balanced[:-1] >= 0).all()
        assert balanced[-1] <= 0
        order = np.argsort(parts, kind="stable")
        assert (np.diff(balanced[:-1][order]) >= -1e-12).all()


class TestRefusals:
    def test_half_space_trees_have_none(self):
        """An anomaly score is no sum."""
        model = AnomalyModel(HalfSpaceTrees(random_state=0)).fit(ENCODED)

        with pytest.raises(Unexplained, match="Half-Space"):
            Explainer.compile(ENCODER, model, features=FEATURES)

    def test_models_that_are_no_known_sum_have_none(self):
        """The message names the model."""
        model = GradientBoostingClassifier(n_estimators=2).fit(ENCODED, PART.label)

        with pytest.raises(Unexplained, match="GradientBoostingClassifier"):
            Explainer.compile(ENCODER, model, features=FEATURES)

    def test_a_preprocessor_that_mixes_features_has_none(self):
        """A product of two features is of neither."""
        kinds = {name: FEATURES[name] for name in ("recency_days",)}
        kinds["recency"] = "number"
        rows = ROWS.append_column("recency", ROWS["recency_days"])
        part = Slice(rows=rows, label=PART.label, weight=PART.weight)
        mixed = ColumnTransformer([("both", PolynomialFeatures(2), list(kinds))])
        encoder = fitted(mixed, part, kinds)
        model = LogisticRegression().fit(
            np.asarray(transformed(encoder, rows, kinds)), PART.label
        )

        with pytest.raises(Unexplained, match="PolynomialFeatures"):
            Explainer.compile(encoder, model, features=kinds)
