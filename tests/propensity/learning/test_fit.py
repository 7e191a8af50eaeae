"""Training, specified: on users with a known propensity, in the order of time."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from propensity.errors import UseCaseError
from propensity.learning import candidates
from propensity.learning.candidates import CALIBRATIONS
from propensity.registry.versions import pickled
from propensity.usecases import Candidate
from tests.propensity.learning.shops import (
    FOREST,
    LINEAR,
    MEAN,
    SHOP,
    changed,
    drawn,
    propensity,
    rare,
    snapshots,
    table,
    train,
    trained,
)

OVERGROWN = Candidate("overgrown", "ExtraTreesClassifier", {"n_estimators": 20})


class TestModel:
    def test_beats_the_base_rate_and_the_one_rule(self):
        """Its log loss is below that of the base rate for everybody, its ROC AUC above
        recency alone."""
        model = trained().holdout.metrics
        rate = model.base_rate
        guess = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))

        assert model.log_loss < guess
        assert model.roc_auc > trained().holdout.baseline_roc_auc + 0.02

    def test_comes_near_the_true_propensity(self):
        """Its ROC AUC is within 0.05 of the truth's on the same rows: 8 weeks of 500
        users leave a model of five features no more to miss."""
        held = trained().holdout
        columns = {name: held.rows.rows[name].to_numpy() for name in SHOP.features}
        best = roc_auc_score(held.rows.label, propensity(columns))

        assert held.metrics.roc_auc > best - 0.05
        assert held.metrics.calibration_error < 0.05

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_is_the_same_for_the_same_seed(self, jobs):
        """The same rows and seed give the same model, bit for bit, however many fits
        are made at once; and rows may come in any order."""
        rows = snapshots(users=150)
        order = np.random.default_rng(0).permutation(len(rows))
        once = train(rows, candidates=SHOP.candidates)
        again = train(rows.take(order), candidates=SHOP.candidates, jobs=jobs)

        assert pickled(once.served.classifier) == pickled(again.served.classifier)
        assert np.array_equal(once.holdout.probability, again.holdout.probability)

    def test_mean_is_the_mean_of_its_members(self):
        """It costs no fit."""
        scores = {one.candidate.name: one.score for one in trained().judged}
        each = [scores[name] for name in MEAN.parameters["of"]]

        assert scores["mean"] == pytest.approx(np.mean(each, axis=0), abs=1e-15)


class TestTime:
    def test_holds_out_the_newest_and_more_where_conversions_are_few(self):
        """The newest week, which nothing else has seen; with too few conversions up to
        a quarter of the weeks. A budget of ten is ten a week."""
        newest = max(snapshots()["as_of"].to_pylist())

        assert trained().parts.split.holdout == (newest,)
        assert trained().holdout.metrics.users == 500
        assert 1 < (weeks := len(rare().parts.split.holdout)) <= 3
        assert rare().holdout.metrics.users_at_budget == 10 * weeks

    @pytest.mark.parametrize("candidate", [LINEAR, FOREST], ids=lambda one: one.name)
    def test_lets_nothing_of_the_holdout_into_the_measured_model(self, candidate):
        """Other labels and features in the holdout: choice, calibration, and what is
        measured are the same bytes. What serves has learned from the holdout."""
        rows = snapshots(users=150)
        before = train(rows, candidates=(candidate,))
        held = before.parts.split.holdout
        other = changed(rows, held, "label", lambda label: 1 - label)
        other = changed(other, held, "spend", lambda spend: spend * 1e6)
        other = changed(other, held, "country", lambda country: ["XX"] * len(country))
        after = train(other, candidates=(candidate,))

        assert pickled(after.measured) == pickled(before.measured)
        assert pickled(after.served) != pickled(before.served)
        assert after.calibrations == before.calibrations
        assert after.best_threshold == before.best_threshold
        assert after.holdout.metrics.roc_auc != before.holdout.metrics.roc_auc

    def test_judges_candidates_by_models_of_older_rows(self):
        """Other labels and features of what is judged change no score that does not
        read them; categories that only later rows have are unknown to the encoder."""
        rows, two = snapshots(users=150), (LINEAR, FOREST)
        before = train(rows, candidates=two)
        later = before.parts.split.calibrate
        other = changed(rows, later, "label", lambda label: 1 - label)
        after = train(other, candidates=two)
        odd = changed(rows, later, "country", lambda country: ["XX"] * len(country))
        rare = changed(rows, later, "country", lambda country: ["YY"] * len(country))

        for first, second in zip(before.judged, after.judged, strict=True):
            assert np.array_equal(first.score, second.score)
            assert first.metrics != second.metrics
        assert np.array_equal(train(odd).judged[0].score, train(rare).judged[0].score)


class TestChoice:
    def test_has_the_least_log_loss_on_newer_rows(self):
        """On their own training rows overgrown trees would win."""
        training = train(snapshots(users=200), candidates=(OVERGROWN, LINEAR))
        label = training.parts.choosing.label

        for one in training.judged:
            assert one.metrics["roc_auc"] == pytest.approx(
                roc_auc_score(label, one.score)
            )
        losses = [one.metrics["log_loss"] for one in training.judged]
        assert losses[1] < losses[0]
        assert training.chosen == LINEAR

    def test_is_made_on_several_blocks_of_weeks(self):
        """Each judged by models of weeks whose labels were final when it began."""
        training = train(snapshots(20, 150))
        before = training.parts.before
        days = before.rows["as_of"].to_pylist()

        assert len(training.parts.blocks) > 1
        for block in training.parts.blocks:
            gap = days[block.first] - days[block.fit_end - 1]
            assert gap.days >= 7 + 3
        assert len(training.judged[0].score) == len(training.parts.choosing)

    @pytest.mark.parametrize(
        ("candidate", "message"),
        [
            (Candidate("x", "DeepThought"), "unknown algorithm 'DeepThought'"),
            (Candidate("x", "LogisticRegression", {"trees": 3}), "x: .*trees"),
            (Candidate("x", "LogisticRegression", {"C": -1}), "x cannot be fitted"),
            (Candidate("x", "VotingClassifier", {"of": ["nobody"]}), "nobody"),
            (Candidate("x", "VotingClassifier"), "takes of"),
            (
                Candidate("x", "VotingClassifier", {"of": ["linear"], "by": 1}),
                "nothing else",
            ),
        ],
    )
    def test_of_a_wrong_candidate_is_refused_by_name(self, candidate, message):
        with pytest.raises(UseCaseError, match=message):
            train(snapshots(users=80), candidates=(LINEAR, candidate))


class TestCalibration:
    def test_is_none_where_the_model_is_calibrated(self):
        """Logistic regression on a logistic truth needs none, and gets none: methods
        are compared by folds of users, so that flexibility does not win by itself."""
        training = train(snapshots(10, 500, seed=4))

        assert set(training.calibrations) == set(CALIBRATIONS)
        assert training.calibration == "none"

    def test_is_another_where_the_model_is_not(self):
        """Overgrown trees are too sure of themselves: the calibration learns it from
        newer rows, and probabilities are right on the holdout."""
        training = train(snapshots(10, 400, seed=5), candidates=(OVERGROWN,))
        held = training.holdout.metrics

        assert training.calibration != "none"
        assert min(training.calibrations.values()) < training.calibrations["none"]
        assert held.mean_probability == pytest.approx(held.base_rate, rel=0.25)

    def test_does_not_take_a_level_that_is_past(self):
        """Some weeks ago twice as many bought. What a calibration would learn there is
        wrong in the blocks after, which decide."""
        weeks = 20
        columns = drawn(weeks, 200, seed=5)
        is_past = (columns["week"] > weeks - 14) & (columns["week"] < weeks - 9)
        chance = propensity(columns) * np.where(is_past, 1.0, 0.5)
        training = train(table(columns, chance))

        assert len(training.parts.blocks) > 1
        assert training.calibration == "none"


class TestThreshold:
    @pytest.mark.parametrize(
        ("budget", "users"), [("", 20), ("5%", 10), ("80", 80), ("100000", 200)]
    )
    def test_comes_with_a_budget(self, budget, users):
        """Of the setting, or the use case's tenth."""
        training = train(snapshots(users=200), settings={"budget": budget})
        held = training.holdout
        best = np.argsort(-held.probability, kind="stable")[:users]

        assert held.metrics.budget == (budget or "10%")
        assert held.metrics.users_at_budget == pytest.approx(users)
        hits = held.rows.label[best].sum()
        assert held.metrics.true_positives_at_budget == pytest.approx(hits, abs=1)


class TestImportance:
    def test_ranks_features_by_what_they_tell(self):
        """The features behind the propensity come before noise; a column without values
        is worth nothing."""
        importance = {
            entry["feature"]: entry["mean"] for entry in trained().holdout.importance
        }

        assert list(importance)[0] == "recency_days"
        assert set(importance) == set(SHOP.features)
        assert importance["recency_days"] > 0.1
        assert abs(importance["noise"]) < 0.02
        assert importance["refunds"] == 0


class TestBaseline:
    def test_ranks_by_the_feature_alone(self):
        """Recent users first: the ROC AUC is that of the negative recency."""
        held = trained().holdout
        recency = held.rows.rows["recency_days"].to_numpy()

        assert held.baseline_roc_auc == pytest.approx(
            roc_auc_score(held.rows.label, -recency)
        )


@pytest.mark.parametrize(
    ("weights", "expected"), [({"0": 1, "1": 10}, {0: 1, 1: 10}), ({"yes": 2}, None)]
)
def test_classes_are_weighted_by_their_labels(weights, expected):
    """TOML's keys are texts, and labels are numbers; what is no label is refused by
    the name of the candidate."""
    candidate = Candidate("weighted", "LogisticRegression", {"class_weight": weights})

    if expected is None:
        with pytest.raises(UseCaseError, match="candidate weighted: .*'yes'"):
            candidates.estimator(candidate, seed=1)
    else:
        model = candidates.estimator(candidate, seed=1)
        assert model.class_weight == expected
