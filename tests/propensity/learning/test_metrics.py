"""
Evaluation, specified: scikit-learn's figures from sums, with intervals that hold.

``scored`` draws rows with ties and weights; ``calibrated`` draws users whose
probabilities are true.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from propensity.learning import metrics
from propensity.learning.metrics import Outcomes, grouped, outcomes
from tests.propensity.learning.scored_rows import calibrated, scored


class TestOutcomes:
    @given(scored())
    def test_sum_rows_up_by_probability(self, rows):
        """Nothing is lost: users and conversions add up to the weights."""
        observed = rows.outcomes

        assert observed.users.sum() == pytest.approx(rows.weight.sum())
        assert observed.conversions.sum() == pytest.approx(rows.weight @ rows.label)
        assert list(observed.probability) == sorted(set(rows.probability))

    def test_add_up_groups_of_one_probability(self):
        """Groups may come in any order, and twice."""
        observed = grouped(np.array([0.5, 0.1, 0.5]), np.ones(3), np.array([1.0, 0, 0]))

        assert list(observed.probability) == [0.1, 0.5]
        assert list(observed.users) == [1, 2]
        assert list(observed.conversions) == [0, 1]

    @pytest.mark.parametrize(
        ("probability", "users", "conversions"),
        [
            ([0.2, 0.1], [1, 1], [0, 0]),
            ([0.1, 0.1], [1, 1], [0, 0]),
            ([-0.1, 0.5], [1, 1], [0, 0]),
            ([0.1, 1.1], [1, 1], [0, 0]),
            ([0.1, np.nan], [1, 1], [0, 0]),
            ([0.1, 0.2], [1, 1], [0, 2]),
            ([0.1, 0.2], [1, 1], [0, -1]),
            ([0.1, 0.2], [1, np.nan], [0, 0]),
        ],
    )
    def test_refuse_what_cannot_be(self, probability, users, conversions):
        """No order, no probability, no number, or more conversions than users."""
        with pytest.raises(ValueError, match="must"):
            Outcomes(*(np.array(x, float) for x in (probability, users, conversions)))


class TestFigures:
    @given(scored())
    def test_are_those_of_scikit_learn(self, rows):
        """ROC AUC, average precision, Brier score and log loss, ties and weights
        included. Log loss is compared where no probability is 0 or 1: there the two
        clip differently."""
        p, y, w = rows
        observed = rows.outcomes
        inner = np.clip(p, 0.001, 0.999)

        assert metrics.roc_auc(observed) == pytest.approx(
            reference.roc_auc_score(y, p, sample_weight=w)
        )
        assert metrics.pr_auc(observed) == pytest.approx(
            reference.average_precision_score(y, p, sample_weight=w)
        )
        assert metrics.brier(observed) == pytest.approx(
            reference.brier_score_loss(y, p, sample_weight=w)
        )
        assert metrics.log_loss(outcomes(inner, y, weight=w)) == pytest.approx(
            reference.log_loss(y, inner, sample_weight=w)
        )

    @given(scored(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    def test_count_predictions_like_scikit_learn(self, rows, threshold):
        """TP, TN, FP, FN, precision, recall and F1; at the threshold is above it."""
        p, y, w = rows
        called = p >= threshold
        (tn, fp), (fn, tp) = reference.confusion_matrix(y, called, sample_weight=w)
        precision, recall, f1, _ = reference.precision_recall_fscore_support(
            y, called, average="binary", sample_weight=w, zero_division=np.nan
        )

        calls = metrics.confusion(rows.outcomes, threshold=threshold)

        counts = {name: n for name, n in calls.items() if "_" in name}
        assert counts == pytest.approx(
            {
                "true_positives": tp,
                "true_negatives": tn,
                "false_positives": fp,
                "false_negatives": fn,
            },
            abs=0.5,
        )
        rates = {name: calls[name] for name in ("precision", "recall", "f1")}
        assert rates == pytest.approx(
            {
                "precision": precision if called.any() else None,
                "recall": recall,
                "f1": f1,
            }
        )

    def test_cost_a_certain_mistake_dearly_but_finitely(self):
        """A probability of 0 for somebody who converts is no infinite loss."""
        loss = metrics.log_loss(outcomes(np.array([0.0, 1.0]), np.array([1, 0])))

        assert loss == pytest.approx(-np.log(1e-15), rel=1e-3)


class TestLift:
    @given(scored())
    def test_divides_what_it_shares_out_by_what_it_shares_out(self, rows):
        """No part has more conversions than users, sizes and conversions add up to the
        totals, and a lift is of just these two."""
        parts = metrics.lift_by_decile(rows.outcomes)
        users, conversions, lift = (
            np.array([part[name] for part in parts])
            for name in ("users", "conversions", "lift")
        )
        total, positives = rows.weight.sum(), rows.weight @ rows.label

        assert [part["decile"] for part in parts] == list(range(1, 11))
        assert np.all(conversions <= users)
        assert users.sum() == pytest.approx(total)
        assert conversions.sum() == pytest.approx(positives)
        assert lift * positives / total * users == pytest.approx(conversions)

    def test_puts_the_highest_probabilities_first(self):
        """Where only the top tenth converts, its lift is 10 and the others' 0."""
        probability = np.arange(100) / 100
        parts = metrics.lift_by_decile(outcomes(probability, np.arange(100) >= 90))

        assert [round(part["lift"], 9) for part in parts] == [10] + [0] * 9
        assert parts[0]["mean_probability"] == pytest.approx(0.945)

    def test_shares_ties_out(self):
        """Users of one probability have the same lift, whatever their order."""
        parts = metrics.lift_by_decile(outcomes(np.full(50, 0.3), np.arange(50) < 9))

        assert [part["lift"] for part in parts] == pytest.approx([1.0] * 10)


class TestCalibration:
    @pytest.mark.parametrize("off", [0.0, 0.2])
    def test_error_is_how_far_probabilities_are_off(self, off):
        """Of 20,000 users with true probabilities the ten bins are off by chance only:
        0.8 of a bin's standard error sqrt(0.1 / 2000), so 0.006 on average."""
        rows = calibrated(20_000, seed=2)
        high = rows._replace(probability=np.minimum(rows.probability + off, 1.0))

        assert metrics.calibration_error(high.outcomes) == pytest.approx(off, abs=0.01)

    @given(scored())
    def test_bins_hold_every_user_once(self, rows):
        """Bins ascend, keep ties together, and add up."""
        bins = metrics.calibration_bins(rows.outcomes)
        means = [entry["mean_probability"] for entry in bins]

        assert sum(entry["users"] for entry in bins) == pytest.approx(rows.weight.sum())
        assert means == sorted(means)
        assert len(bins) <= 10

    def test_bins_fill_equally(self):
        """Ten bins of the same number of users, where there are no ties."""
        bins = metrics.calibration_bins(calibrated(1_000, seed=3).outcomes)

        assert [entry["users"] for entry in bins] == [100] * 10


class TestCurves:
    @given(scored())
    def test_run_from_nobody_to_everybody(self, rows):
        """ROC goes up from (0, 0) to (1, 1); precision-recall ends at recall 1."""
        curves = metrics.curves(rows.outcomes)
        roc, pr = np.array(curves["roc"]), np.array(curves["pr"])

        assert roc[0] == pytest.approx([0, 0])
        assert roc[-1] == pytest.approx([1, 1])
        assert np.all(np.diff(roc, axis=0) >= -1e-12)
        assert pr[-1] == pytest.approx([1, np.average(rows.label, weights=rows.weight)])

    def test_are_thinned_for_a_page(self):
        """Of 5,000 probabilities some 200 points are drawn."""
        curves = metrics.curves(calibrated(5_000, seed=13).outcomes)

        assert len(curves["roc"]) <= 201
        assert len(curves["pr"]) <= 200

    def test_of_one_class_are_empty(self):
        """Without both classes there is no curve but that of calibration."""
        curves = metrics.curves(outcomes(np.array([0.1, 0.2]), np.zeros(2)))

        assert (curves["roc"], curves["pr"]) == ([], [])
        assert curves["calibration"]


class TestScoreShift:
    PERCENTILES = np.linspace(0.01, 0.4, 101)

    @pytest.mark.parametrize(("factor", "shift"), [(1, 0), (0, 1), (2, 1)])
    def test_is_one_when_all_fall_to_zero_or_double(self, factor, shift):
        """It is relative to the mean before, and 0 when nothing moved."""
        now = self.PERCENTILES * factor

        assert metrics.score_shift(self.PERCENTILES, now) == pytest.approx(shift)

    def test_sees_a_spread_that_leaves_the_mean(self):
        """Scores that spread out around the same mean have moved, too."""
        flat = np.full(101, self.PERCENTILES.mean())

        assert metrics.score_shift(flat, self.PERCENTILES) > 0.4

    def test_is_finite_after_a_week_of_zeros(self):
        """A publication of nothing but zeros divides nothing by zero."""
        nothing = np.zeros(101)

        assert metrics.score_shift(nothing, nothing) == 0
        assert np.isfinite(metrics.score_shift(nothing, self.PERCENTILES))
