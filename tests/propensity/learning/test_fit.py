"""Training, specified: on users with a known propensity, in the order of time."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from propensity.errors import UseCaseError
from propensity.learning import calibration, candidates, data, fit, metrics, thresholds
from propensity.learning.preprocessor import frame, transformed
from propensity.models.scoring import MeanOfModels, Scorer
from propensity.registry.versions import pickled
from propensity.usecases import Baseline, Candidate
from tests.propensity.learning.shops import (
    BOOSTED,
    FIRST,
    FOREST,
    LINEAR,
    MEAN,
    SHOP,
    changed,
    drawn,
    part,
    propensity,
    rare,
    small,
    snapshots,
    table,
    train,
    trained,
)


class TestModel:
    def test_beats_the_base_rate_and_the_one_rule(self):
        """Its log loss is below that of the base rate for everybody, its ROC AUC above
        recency alone."""
        model = trained().quality
        rate = model["base_rate"]
        guess = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))

        assert model["log_loss"] < guess
        assert model["roc_auc"] > trained().baselines["recency_days alone"] + 0.02

    def test_comes_near_the_true_propensity(self):
        """Its ROC AUC is within 0.05 of the truth's on the same rows: 8 weeks of 500
        users leave a model of five features no more to miss."""
        holdout = trained().holdout
        columns = {name: holdout.rows[name].to_numpy() for name in SHOP.features}
        best = roc_auc_score(holdout.label, propensity(columns))

        assert trained().quality["roc_auc"] > best - 0.05

    def test_is_calibrated(self):
        """On a week of 500 users the calibration error is chance: it does not exceed
        0.05, three times what true probabilities show, and its interval holds 0."""
        assert trained().quality["calibration_error"] < 0.05
        assert trained().quality["calibration_error_low"] == 0

    @pytest.mark.parametrize(
        "candidate",
        [
            *(
                pytest.param(candidate, marks=pytest.mark.long)
                for candidate in (LINEAR, BOOSTED)
            ),
            FOREST,
        ],
        ids=lambda candidate: candidate.name,
    )
    def test_is_the_same_for_the_same_seed(self, candidate):
        """The same rows and seed give the same probabilities, bit for bit, and scoring
        the same rows again does so, too."""
        rows = snapshots(users=150)
        once, twice = (train(rows, candidates=(candidate,)) for _ in range(2))
        scorer = Scorer.compile(*once.measured, features=dict(SHOP.features))

        assert once.probability.tobytes() == twice.probability.tobytes()
        assert pickled(once.model) == pickled(twice.model)
        for _ in range(5):
            again = fit.scores(scorer, once.holdout.rows)
            assert again.tobytes() == once.probability.tobytes()

    def test_does_not_depend_on_the_order_of_rows(self):
        """BigQuery returns rows in any order: the model is the same."""
        rows = snapshots(users=150)
        order = np.random.default_rng(0).permutation(len(rows))

        shuffled = train(rows.take(order))

        assert pickled(shuffled.model) == pickled(small().model)

    def test_trains_where_a_feature_has_no_value(self):
        """A shop without refunds has a column of nulls, and a model none the less."""
        assert trained().holdout.rows["refunds"].null_count == len(trained().holdout)
        assert np.isfinite(trained().probability).all()

    def test_mean_of_models_is_the_mean_of_their_probabilities(self):
        """The average candidate costs no fit: it is its members' mean, exactly."""
        models = {
            candidate.candidate.name: candidate.model
            for candidate in trained().candidates
        }
        rows = frame(trained().holdout.rows, dict(SHOP.features))
        encoded = trained().choice.encoder.transform(rows)
        each = [models[name].predict_proba(encoded) for name in MEAN.parameters["of"]]

        assert isinstance(models["mean"], MeanOfModels)
        assert np.allclose(
            models["mean"].predict_proba(encoded), np.mean(each, axis=0), atol=1e-15
        )


class TestTime:
    def test_holds_out_the_newest_snapshot(self):
        """The figures are of the newest week, which nothing else has seen."""
        as_ofs = sorted(set(snapshots()["as_of"].to_pylist()))

        assert trained().split.holdout == (as_ofs[-1],)
        assert set(trained().holdout.rows["as_of"].to_pylist()) == {as_ofs[-1]}
        assert trained().quality["users"] == len(trained().holdout) == 500

    def test_holds_out_more_where_conversions_are_few(self):
        """Where one week has too few conversions, up to a quarter of them is held."""
        assert 1 < len(rare().split.holdout) <= 3

    @pytest.mark.parametrize(
        "candidate",
        [LINEAR, pytest.param(FOREST, marks=pytest.mark.long)],
        ids=lambda candidate: candidate.name,
    )
    def test_lets_nothing_of_the_holdout_into_the_model(self, candidate):
        """Other labels and features in the holdout: choice, calibration, and what is
        measured are the same bytes. What serves has learned from the holdout."""
        rows = snapshots(users=150)
        before = train(rows, candidates=(candidate,))
        held = before.split.holdout
        other = changed(rows, held, "label", lambda label: 1 - label)
        other = changed(other, held, "spend", lambda spend: spend * 1e6)
        other = changed(other, held, "country", lambda country: ["XX"] * len(country))
        after = train(other, candidates=(candidate,))

        assert pickled(after.measured) == pickled(before.measured)
        assert pickled(after.model) != pickled(before.model)
        assert after.calibrations == before.calibrations
        assert after.best_threshold == before.best_threshold
        assert after.chosen == before.chosen
        assert after.quality["roc_auc"] != before.quality["roc_auc"]

    def test_lets_nothing_of_the_calibration_slice_into_the_fit(self):
        """Other labels and features in the later slice: candidates are the same bytes;
        only which of them is chosen, and how it is calibrated, may change."""
        rows, two = snapshots(users=150), (LINEAR, FOREST)
        before = train(rows, candidates=two)
        later = before.split.calibrate
        other = changed(rows, later, "label", lambda label: 1 - label)
        other = changed(other, later, "spend", lambda spend: spend * 1e6)
        after = train(other, candidates=two)

        for first, second in zip(before.candidates, after.candidates, strict=True):
            assert pickled(first.model) == pickled(second.model)
            assert first.figures != second.figures
        assert pickled(after.choice.encoder) == pickled(before.choice.encoder)

    def test_does_not_fit_the_preprocessor_before_the_split(self):
        """The original fitted it on all rows. Here what only later rows have is
        unknown to it: their categories, and their part in means and medians."""
        rows, split = snapshots(users=150), small().split
        later = split.calibrate + split.holdout
        other = changed(rows, later, "spend", lambda spend: spend + 1e9)
        other = changed(other, later, "country", lambda country: ["XX"] * len(country))

        retrained = train(other)
        training = retrained.choice.encoder

        # A country that no training row has encodes like a rare one.
        assert np.isfinite(retrained.probability).all()
        numbers, categories = training.named_transformers_.values()
        earlier = part(rows, split.train)
        spend = earlier["spend"].to_numpy()
        assert categories[-1].categories_[0].tolist() == ["DE", "FR", "UK"]
        assert numbers[0].statistics_[1] == pytest.approx(np.nanmedian(spend))
        assert numbers[-1].n_samples_seen_ == len(earlier)


class TestCandidates:
    def test_are_chosen_on_the_later_slice(self):
        """Figures are those of the later slice, and the least log loss there wins; on
        their own training rows overgrown trees would."""
        overgrown = Candidate("overgrown", "ExtraTreesClassifier", {"n_estimators": 20})
        rows = snapshots(users=200)
        training = train(rows, candidates=(overgrown, LINEAR))
        features = dict(SHOP.features)

        def area(model: Any, as_ofs: tuple[date, ...]) -> float:
            block = part(rows, as_ofs)
            encoded = training.choice.encoder.transform(frame(block, features))
            label = block["label"].to_numpy()
            return roc_auc_score(label, model.predict_proba(encoded)[:, 1])

        first, second = (candidate.model for candidate in training.candidates)
        assert area(first, training.split.train) > area(second, training.split.train)
        for candidate in training.candidates:
            assert candidate.figures["roc_auc"] == pytest.approx(
                area(candidate.model, training.split.calibrate)
            )
        assert training.chosen == LINEAR

    @pytest.mark.parametrize(
        ("candidate", "message"),
        [
            (Candidate("x", "DeepThought"), "unknown algorithm 'DeepThought'"),
            (Candidate("x", "LogisticRegression", {"trees": 3}), "x: .*trees"),
            (Candidate("x", "LogisticRegression", {"C": -1}), "x cannot be fitted"),
            (Candidate("x", "MeanOfModels", {"of": ["nobody"]}), "nobody"),
            (Candidate("x", "MeanOfModels"), "mean of none"),
            (Candidate("x", "MeanOfModels", {"of": ["linear"], "by": 1}), "by"),
        ],
    )
    def test_that_cannot_be_are_refused_by_name(self, candidate, message):
        """An unknown algorithm, parameter or member is a mistake of usecase.toml."""
        with pytest.raises(UseCaseError, match=message):
            train(snapshots(users=80), candidates=(LINEAR, candidate))

    def test_may_fix_their_own_random_state(self):
        """A parameter in usecase.toml comes before the deployment's seed."""
        own_seed = replace(FOREST, parameters={**FOREST.parameters, "random_state": 7})

        assert candidates.estimator(own_seed, {}, seed=1).random_state == 7
        assert candidates.estimator(FOREST, {}, seed=1).random_state == 1

    @pytest.mark.parametrize(
        ("weights", "draws"),
        [
            pytest.param([1.0], 120, id="rows that count alike"),
            pytest.param([0.5, 1.5], 120, id="weights with a mean of one"),
            pytest.param([1.0, 0.5], 90, id="rows that age"),
            pytest.param([1.0, 100.0], 400, id="rows that stand for many"),
        ],
    )
    def test_draw_a_share_of_the_weight_and_as_many_as_there_are_at_most(
        self, weights, draws
    ):
        """As scikit-learn's max_samples; the trees of a sample take no more memory."""
        label = np.arange(400, dtype=np.int8) % 2
        rows = data.Slice(
            rows=pa.table({"label": label}),
            label=label,
            weight=np.tile(weights, 400 // len(weights)),
        )
        forest = RandomForestClassifier(3, max_samples=0.3, random_state=0)
        encoded = np.random.default_rng(0).normal(size=(400, 2))

        fitted = candidates.fit_on(forest, encoded, rows, name="forest")

        for tree in fitted.estimators_:
            assert tree.tree_.weighted_n_node_samples[0] == draws
        assert fitted.max_samples == 0.3


class TestCalibration:
    def test_is_none_where_the_model_is_calibrated(self):
        """Logistic regression on a logistic truth needs none, and gets none: methods
        are compared by folds of users, so that flexibility does not win by itself."""
        training = train(snapshots(10, 500, seed=4))

        assert set(training.calibrations) == set(calibration.CALIBRATIONS)
        assert training.calibration == "none"

    def test_is_another_where_the_model_is_not(self):
        """Overgrown trees are too sure of themselves: the calibration learns it from
        the later slice, and probabilities are right on the holdout."""
        overgrown = Candidate("overgrown", "ExtraTreesClassifier", {"n_estimators": 20})
        training = train(snapshots(10, 400, seed=5), candidates=(overgrown,))

        assert training.calibration != "none"
        assert (
            training.calibrations[training.calibration] < training.calibrations["none"]
        )
        assert training.quality["mean_probability"] == pytest.approx(
            training.quality["base_rate"], rel=0.25
        )

    @pytest.mark.parametrize("weeks", [20, 27])
    def test_does_not_take_a_level_that_is_past(self, weeks):
        """Some weeks ago twice as many bought. What a calibration would learn there is
        wrong in the blocks after, which decide."""
        columns = drawn(weeks, 200, seed=5)
        is_past = (columns["week"] > weeks - 14) & (columns["week"] < weeks - 9)
        chance = propensity(columns) * np.where(is_past, 1.0, 0.5)
        training = train(table(columns, chance))

        assert len(training.blocks) > 1
        assert training.calibrations["none"] == min(training.calibrations.values())
        assert training.calibration == "none"

    def test_is_none_where_only_one_user_converts(self):
        """A fold without conversions can fit no calibration; the model stays as it is,
        and the run does not fail."""
        columns = drawn(3, 400, seed=6)
        chance = np.where(columns["week"] == 1, 0.0, propensity(columns))
        rows = table(columns, chance)
        split = ((FIRST + timedelta(weeks=1)),)
        rows = changed(
            rows, split, "label", lambda label: (columns["user"] == 5).astype(int)
        )

        training = train(rows, settings={"minimum_conversions": 1})

        assert training.calibration == "none"
        assert list(training.calibrations) == ["none"]

    def test_bends_no_forest_the_wrong_way(self):
        """A forest has no decision function; its log-odds are what is calibrated, and
        probabilities keep their order."""
        rows = snapshots(users=200)
        training = train(rows, candidates=(FOREST,))
        choosing = data.slice_of(rows, training.split.calibrate)
        encoded = transformed(training.preprocessor, choosing.rows, dict(SHOP.features))
        (candidate,) = training.candidates
        raw = candidate.model.predict_proba(encoded)[:, 1]

        model = calibration.calibrated(candidate.model, "sigmoid", encoded, choosing)
        bent = model.predict_proba(encoded)[:, 1]
        assert np.all(np.diff(bent[np.argsort(raw, kind="stable")]) >= -1e-12)


class TestThreshold:
    def test_is_measured_on_rows_that_did_not_choose_it(self):
        """Precision, recall and F1 of the holdout at it are scikit-learn's; F1 is not
        far from the best that one could choose in hindsight."""
        training, label = trained(), trained().holdout.label
        best = training.quality["best_threshold"]
        called = training.probability >= best
        precision, recall, f1, _ = precision_recall_fscore_support(
            label, called, average="binary"
        )
        in_hindsight = max(
            precision_recall_fscore_support(
                label, training.probability >= threshold, average="binary"
            )[2]
            for threshold in np.unique(training.probability)[::5]
        )

        assert training.quality["best_threshold_source"] == "training"
        assert [
            training.quality[f"{name}_at_best"]
            for name in ("precision", "recall", "f1")
        ] == pytest.approx([precision, recall, f1])
        assert training.quality["users_at_best"] == called.sum()
        assert 0.85 * in_hindsight < f1 <= in_hindsight + 0.01

    def test_is_the_best_on_the_blocks(self):
        """By the probabilities, out of time, that chose the recipe."""
        model = trained()
        choice = model.choice

        assert model.best_threshold == thresholds.best_threshold(
            metrics.outcomes(choice.probability, choice.rows.label)
        )

    @pytest.mark.parametrize(
        ("budget", "users"), [("", 20), ("5%", 10), ("80", 80), ("100000", 200)]
    )
    def test_comes_with_a_budget(self, budget, users):
        """Of the setting, or the use case's tenth; precision and recall are those of
        so many with the highest probabilities."""
        training = train(snapshots(users=200), settings={"budget": budget})
        quality, label = training.quality, training.holdout.label
        best = np.argsort(-training.probability, kind="stable")[:users]

        assert quality["budget"] == (budget or "10%")
        assert quality["users_at_budget"] == pytest.approx(users)
        # Without ties, as a linear model has hardly any.
        hits = label[best].sum()
        assert quality["true_positives_at_budget"] == pytest.approx(hits, abs=1)
        assert quality["recall_at_budget"] == pytest.approx(
            quality["true_positives_at_budget"] / label.sum()
        )

    def test_comes_with_a_budget_for_each_week_held_out(self):
        """Ten a week are twenty of two weeks."""
        weeks = len(rare().split.holdout)

        assert weeks > 1
        assert rare().quality["users_at_budget"] == 10 * weeks


class TestImportance:
    def test_ranks_features_by_what_they_tell(self):
        """The greatest fall of ROC AUC comes first, so that the features behind the
        propensity come before noise; a column without values is worth nothing."""
        training = {entry["feature"]: entry["mean"] for entry in trained().importance}

        assert list(training)[0] == "recency_days"
        assert set(training) == set(SHOP.features)
        assert training["recency_days"] > 0.1
        assert abs(training["noise"]) < 0.02
        assert training["refunds"] == 0
        assert [*training.values()] == sorted(training.values(), reverse=True)


class TestBaseline:
    def test_ranks_by_the_feature_alone(self):
        """Recent users first: the ROC AUC is that of the negative recency."""
        holdout = trained().holdout
        area = roc_auc_score(holdout.label, -holdout.rows["recency_days"].to_numpy())

        assert trained().baselines == {"recency_days alone": pytest.approx(area)}

    def test_puts_missing_values_last(self):
        """Users of whom the feature says nothing come behind all others."""
        baseline = Baseline(feature="spend", ascending=False)
        training = train(snapshots(users=100), baseline=baseline)
        spend = np.nan_to_num(training.holdout.rows["spend"].to_numpy(), nan=-1.0)

        assert training.baselines["spend alone"] == pytest.approx(
            roc_auc_score(training.holdout.label, spend)
        )
