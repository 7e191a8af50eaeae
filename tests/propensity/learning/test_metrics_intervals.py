"""
Intervals of measures, specified: they cover the truth, and know how rows were drawn.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from propensity.budget import Budget
from propensity.learning import bootstrap, metrics, thresholds
from propensity.learning.bootstrap import Expansion, paired_differences
from propensity.learning.metrics import outcomes
from propensity.learning.thresholds import Selection
from tests.propensity.learning.scored_rows import Rows, calibrated, quality, scored

OF_SCORES = ("roc_auc", "pr_auc", "brier", "log_loss", "calibration_error")
SELECTION = Selection(budget=Budget.parse("10%"), threshold=0.2, source="evaluations")


def width(figures: dict, name: str) -> float:
    """The width of a figure's interval."""
    return figures[f"{name}_high"] - figures[f"{name}_low"]


class TestQuality:
    def test_of_no_rows_is_empty(self):
        """A week without users has counts of 0 and no figure, but no crash either."""
        nothing = Rows(np.empty(0), np.empty(0, int), np.empty(0))
        figures = quality(nothing, selection=SELECTION)

        assert (figures["users"], figures["conversions"], figures["lift"]) == (0, 0, [])
        assert {figures[name] for name in ("base_rate", "roc_auc", "brier", "f1")} == {
            None
        }
        assert {value for name, value in figures.items() if name.endswith("_low")} == {
            None
        }

    @pytest.mark.parametrize("count", [1, 50])
    @pytest.mark.parametrize("label", [0, 1])
    def test_of_one_class_has_no_area(self, label, count):
        """Where everybody or nobody converts, no score can rank."""
        rows = calibrated(count, seed=4)
        alike = rows._replace(label=np.full(count, label))
        figures = quality(alike, selection=SELECTION)

        assert figures["roc_auc"] is figures["roc_auc_low"] is figures["pr_auc"] is None
        assert figures["base_rate"] == label
        assert figures["log_loss_low"] is None
        assert figures["recall"] is None if label == 0 else figures["recall"] == 0

    @settings(max_examples=10)
    @given(scored().filter(lambda rows: len(rows.label) >= 10))
    def test_intervals_hold_their_figures(self, rows):
        """Every interval is one, in order, with its figure in it, which percentiles of
        resamples do not have by themselves."""
        figures = quality(rows, selection=SELECTION)

        for name in (*OF_SCORES, *thresholds.INTERVALS):
            low, high = figures[f"{name}_low"], figures[f"{name}_high"]
            if low is not None:
                assert low <= figures[name] <= high, name

    def test_intervals_of_a_perfect_ranking_hold_its_figures(self):
        """The budget has room for exactly those who convert, and a resample has more of
        them or fewer: nearly none has so good an F1."""
        label = np.array([1] * bootstrap.FEW + [0] * 9 * bootstrap.FEW)
        perfect = Rows(label.astype(float), label, np.ones(len(label)))
        figures = quality(perfect, selection=SELECTION)

        assert figures["f1_at_budget"] == figures["f1_at_budget_high"] == 1
        assert figures["f1_at_budget_low"] < 1

    @pytest.mark.parametrize(
        ("count", "least"), [(10, 8), pytest.param(40, 35, marks=pytest.mark.long)]
    )
    def test_intervals_cover_the_truth(self, count, least):
        """Of 40 weeks from one process about 38 intervals hold the true figure: with
        this seed at least 35, which 98 in 100 sets of 40 fair ones would reach; of ten
        at least 8. The truth is that of 100,000 users; perfect calibration is an error
        of 0."""
        whole = calibrated(100_000, seed=5).outcomes
        truth = {
            "roc_auc": metrics.roc_auc(whole),
            "pr_auc": metrics.pr_auc(whole),
            "brier": metrics.brier(whole),
            "log_loss": metrics.log_loss(whole),
            "calibration_error": 0.0,
        }
        selected = thresholds.figures(whole, SELECTION)
        truth |= {name: selected[name] for name in thresholds.INTERVALS}
        weeks = [
            quality(calibrated(800, seed=100 + week), selection=SELECTION)
            for week in range(count)
        ]

        for name, true in truth.items():
            covered = sum(
                week[f"{name}_low"] <= true <= week[f"{name}_high"] for week in weeks
            )
            assert covered >= least, name

    @pytest.mark.parametrize(
        ("figure", "resampled", "interval"),
        [
            (0.03, (0.025, 0.050), (0.010, 0.035)),
            (0.01, (0.012, 0.030), (0.000, 0.010)),
        ],
    )
    def test_interval_of_calibration_makes_up_for_noise(
        self, figure, resampled, interval
    ):
        """Resamples err by more than the rows they are drawn from, since noise adds up:
        the interval reaches as far below as they lie above, not below 0, and holds the
        figure."""
        assert bootstrap._mirrored(figure, *resampled) == pytest.approx(interval)

    def test_interval_of_a_miscalibrated_score_excludes_zero(self):
        """Probabilities too high by half are told from chance."""
        rows = calibrated(4_000, seed=6)
        high = rows._replace(probability=np.minimum(rows.probability * 1.5, 1.0))

        drawn, _ = bootstrap._resampled(high.outcomes, seed=0, expansion=Expansion())
        figures = quality(high)
        low = 2 * figures["calibration_error"] - np.quantile(
            drawn["calibration_error"], 0.975
        )

        assert figures["calibration_error_low"] == pytest.approx(low)
        assert low > 0.03

    def test_intervals_know_that_rows_were_left_out(self):
        """Where a row stands for 50 users the interval is that of the rows there are:
        wide, and not that of as many users."""
        rows = calibrated(20_000, seed=7)
        kept = (rows.label == 1) | (np.arange(20_000) % 50 == 0)
        sampled = Rows(
            rows.probability[kept],
            rows.label[kept],
            np.where(rows.label == 1, 1.0, 50.0)[kept],
        )

        naive = quality(sampled)
        right = quality(sampled, expansion=Expansion(negative=50.0))

        assert right["brier"] == naive["brier"]
        assert width(right, "roc_auc") > 1.5 * width(naive, "roc_auc")

    def test_rows_stand_for_others_by_their_label(self):
        """Of one weight each, for as many; of several, for as many as give a sum of
        weights its variance."""
        label = np.array([1, 1, 0, 0, 0])
        alike = bootstrap.expansion(label, np.array([3.0, 3.0, 7.0, 7.0, 7.0]))
        mixed = bootstrap.expansion(label, np.array([1.0, 3.0, 2.0, 2.0, 8.0]))
        alone = bootstrap.expansion(np.ones(2), np.ones(2))

        assert alike == Expansion(positive=3.0, negative=7.0)
        assert mixed == Expansion(positive=10 / 4, negative=72 / 12)
        assert alone == Expansion()

    def test_intervals_know_that_rows_of_both_classes_were_left_out(self):
        """Of a tenth of the users, who stand for all, they are those of a tenth."""
        rows = calibrated(20_000, seed=8)
        tenth = Rows(*(column[::10] for column in rows))
        sampled = tenth._replace(weight=np.full(2_000, 10.0))

        few = quality(tenth, selection=SELECTION)
        figures = quality(sampled, selection=SELECTION, expansion=Expansion(10.0, 10.0))
        for name in ("roc_auc", "brier", "log_loss", *thresholds.INTERVALS):
            assert figures[name] == pytest.approx(few[name])
            assert width(figures, name) == pytest.approx(width(few, name), rel=0.25)

    def test_is_the_same_twice(self):
        """The seed decides all that is random."""
        assert quality(calibrated(500, seed=8)) == quality(calibrated(500, seed=8))

    def test_counts_users_and_not_groups(self):
        """Counts are whole numbers of users, and the four calls add up to them."""
        figures = quality(calibrated(500, seed=9))

        calls = [
            figures[f"{right}_{call}"]
            for right in ("true", "false")
            for call in ("positives", "negatives")
        ]
        assert sum(calls) == figures["users"] == 500
        assert all(isinstance(count, int) for count in calls)

    def test_of_many_probabilities_has_the_exact_figures(self):
        """Resampling merges neighbours to be quick; the figures themselves do not."""
        rows = calibrated(30_000, seed=10)
        rows.probability[:100] = 1.0
        figures = quality(rows)

        assert figures["roc_auc"] == pytest.approx(
            reference.roc_auc_score(rows.label, rows.probability)
        )
        assert figures["roc_auc_low"] < figures["roc_auc"] < figures["roc_auc_high"]


class TestPairedDifferences:
    @settings(max_examples=8)
    @given(scored(), st.integers(0, 100))
    def test_change_sign_with_the_sides(self, rows, seed):
        """What the challenger gains the champion loses, intervals included."""
        p, y, w = rows
        other = np.roll(p, 1)
        there = paired_differences(p, other, y, weight=w, seed=seed)
        back = paired_differences(other, p, y, weight=w, seed=seed)

        for name in ("roc_auc", "log_loss"):
            assert back[name].estimate == pytest.approx(-there[name].estimate)
            assert back[name].low == pytest.approx(-there[name].high)
            assert back[name].high == pytest.approx(-there[name].low)

    def test_are_zero_for_equal_scores(self):
        """A score does not differ from itself, not by a rounding error either."""
        p, y, _ = calibrated(300, seed=11)
        differences = paired_differences(p, p, y, seed=0)

        assert {(d.estimate, d.low, d.high) for d in differences.values()} == {
            (0, 0, 0)
        }

    def test_see_what_single_intervals_do_not(self):
        """Of two alike scores a small steady difference is told from chance, though
        each one's interval holds the other's figure."""
        p, y, w = calibrated(3_000, seed=12)
        noise = np.random.default_rng(1).normal(0, 0.4, len(p))
        worse = 1 / (1 + np.exp(-np.log(p / (1 - p)) - noise))
        alone = quality(Rows(worse, y, w))
        differences = paired_differences(p, worse, y, seed=0)["roc_auc"]

        assert differences.low > 0
        assert alone["roc_auc_high"] > metrics.roc_auc(outcomes(p, y))

    def test_need_both_classes(self):
        """Where nobody converted there is nothing to compare by."""
        with pytest.raises(ValueError, match="both classes"):
            paired_differences(np.ones(3), np.ones(3), np.zeros(3), seed=0)
