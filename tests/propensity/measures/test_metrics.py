"""
Metrics, specified: scikit-learn's, from sums by score; their intervals, and metrics of
thresholds and budgets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference

from propensity.budget import Budget
from propensity.learning.rows import Slice
from propensity.measures import (
    intervals,
    metric_intervals,
    metrics,
    thresholds,
)
from propensity.measures.metrics import Outcomes, outcomes
from propensity.tables.models import Metrics


class Rows(NamedTuple):
    """Rows with a probability, a label and a weight each."""

    probability: np.ndarray
    label: np.ndarray
    weight: np.ndarray

    @property
    def outcomes(self) -> Outcomes:
        return outcomes(self.probability, self.label, weight=self.weight)


@st.composite
def scored(draw: st.DrawFn) -> Rows:
    """Rows of both classes, with ties and weights, and probabilities of 0 and 1."""
    size = draw(st.integers(2, 60))
    steps = draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    label = random.random(size) < draw(st.floats(0.05, 0.95))
    label[:2] = [True, False]
    weight = random.choice([1.0, 2.0, 7.5], size)
    return Rows(random.integers(0, steps + 1, size) / steps, label.astype(int), weight)


def calibrated(count: int, *, seed: int) -> Rows:
    """Users whose conversions are drawn by their very probabilities, mean 1/9."""
    random = np.random.default_rng(seed)
    probability = random.beta(1, 8, count)
    label = random.random(count) < probability
    return Rows(probability, label.astype(int), np.ones(count))


def measured(rows: Rows, budget: str = "10%", **more: bool) -> Metrics:
    return thresholds.score_metrics(
        rows.outcomes, threshold=0.5, budget=Budget.parse(budget), **more
    )


class TestScores:
    @given(scored(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    def test_scores_have_the_metrics_of_scikit_learn(self, rows, threshold):
        """Ties and weights included; log loss where no probability is 0 or 1. What is
        at a threshold is above it."""
        p, y, w = rows
        observed = rows.outcomes
        inner = np.clip(p, 0.001, 0.999)
        positive = p >= threshold
        (tn, fp), (fn, tp) = reference.confusion_matrix(y, positive, sample_weight=w)
        counted = metrics.confusion(observed, threshold=threshold)
        of = {"sample_weight": w}
        precision = reference.precision_score(y, positive, zero_division=0.0, **of)
        measured = {
            "roc_auc": metrics.roc_auc(observed),
            "pr_auc": metrics.pr_auc(observed),
            "brier": metrics.brier(observed),
            "log_loss": metrics.log_loss(outcomes(inner, y, weight=w)),
            "recall": counted.recall,
            "f1": counted.f1,
            "precision": counted.precision or 0.0,
        }

        assert measured == pytest.approx(
            {
                "roc_auc": reference.roc_auc_score(y, p, **of),
                "pr_auc": reference.average_precision_score(y, p, **of),
                "brier": reference.brier_score_loss(y, p, **of),
                "log_loss": reference.log_loss(y, inner, **of),
                "recall": reference.recall_score(y, positive, **of),
                "f1": reference.f1_score(y, positive, **of),
                "precision": precision,
            }
        )
        certain = outcomes(np.array([0.0]), np.array([1]))
        assert metrics.log_loss(certain) == pytest.approx(-np.log(1e-15), rel=1e-3)
        assert (counted.precision is None) == (not positive.any())
        assert counted[:4] == pytest.approx((tp, tn, fp, fn), abs=0.5)

    @given(scored())
    def test_scores_have_curves_from_nobody_to_everybody(self, rows):
        """ROC goes up from (0, 0) to (1, 1); precision-recall ends at recall 1. Without
        both classes there is none."""
        curves = metrics.curves(rows.outcomes)
        roc = np.array(curves.roc)
        pr = np.array(curves.pr)
        of_one = metrics.curves(outcomes(np.array([0.1, 0.2]), np.zeros(2)))

        assert roc[[0, -1]].ravel() == pytest.approx([0, 0, 1, 1])
        assert np.all(np.diff(roc, axis=0) >= -1e-12)
        assert pr[-1] == pytest.approx([1, np.average(rows.label, weights=rows.weight)])
        assert (of_one.roc, of_one.pr) == ((), ())

    @given(scored(), st.sampled_from(["roc_auc", "pr_auc"]))
    def test_slopes_are_how_far_a_metric_moves(self, rows, name):
        """With a little more of a row, of either label."""
        measure = getattr(metrics, name)
        observed = rows.outcomes
        slopes = getattr(metrics, f"{name}_slopes")(observed)
        index = len(observed.users) // 2
        for label, slope in ((1, slopes.positive), (0, slopes.negative)):
            step = np.where(np.arange(len(observed.users)) == index, 1e-7, 0.0)
            more = Outcomes(
                observed.probability,
                observed.users + step,
                observed.conversions + label * step,
            )
            moved = (measure(more) - measure(observed)) / 1e-7

            assert moved == pytest.approx(slope[index], rel=1e-3, abs=1e-4)


@given(scored())
def test_lift_is_of_ten_equal_parts_the_highest_first(rows):
    """Of ten parts, sizes and conversions add up to the totals, and none has more
    conversions than users. Ties are shared out: of one probability all lifts are 1."""
    parts = metrics.lift_by_decile(rows.outcomes)
    users, conversions, lift = (
        np.array([getattr(part, name) for part in parts])
        for name in ("users", "conversions", "lift")
    )
    total = rows.weight.sum()
    positives = rows.weight @ rows.label
    tied = metrics.lift_by_decile(outcomes(np.full(50, 0.3), np.arange(50) < 9))

    assert users == pytest.approx(np.full(10, total / 10))
    assert np.all(conversions <= users)
    assert conversions.sum() == pytest.approx(positives)
    assert lift * positives / total * users == pytest.approx(conversions)
    assert [part.lift for part in tied] == pytest.approx([1.0] * 10)


def test_the_calibration_error_is_of_ten_equal_parts():
    rows = calibrated(1_000, seed=3)
    parts = np.argsort(rows.probability).reshape(10, 100)
    apart = rows.probability[parts].mean(axis=1) - rows.label[parts].mean(axis=1)
    found = metrics.calibration_error(rows.outcomes)

    assert found == pytest.approx(np.abs(apart).mean())


class TestBudget:
    @given(st.integers(2, 80), st.integers(1, 100), st.integers(0, 2**32))
    def test_the_budget_has_the_metrics_of_a_plain_sort(self, size, count, seed):
        """Without ties: of the rows with the highest probabilities, one by one; of all
        of them where there is room for more."""
        random = np.random.default_rng(seed)
        p = random.permutation(np.linspace(0.01, 0.99, size))
        label = (random.random(size) < 0.4).astype(int)
        label[0] = 1
        inside = np.isin(np.arange(size), np.argsort(-p)[:count])
        found = measured(Rows(p, label, np.ones(size)), budget=str(count))
        rate = reference.precision_score(label, inside)

        assert found.users_at_budget == min(count, size)
        assert found.precision_at_budget == pytest.approx(rate)
        assert found.lift_at_budget == pytest.approx(rate / label.mean())
        for name in ("recall", "f1"):
            expected = getattr(reference, f"{name}_score")(label, inside)
            assert getattr(found, f"{name}_at_budget") == pytest.approx(expected)


class TestIntervals:
    @given(st.integers(1, 10_000), st.floats(0, 1))
    def test_intervals_of_rates_are_those_of_scipy(self, users, share):
        """Wilson's, for any number of users and any rate, 0 and 1 as well."""
        conversions = round(share * users)
        expected = binomtest(conversions, users).proportion_ci(method="wilson")

        assert intervals.rate_interval(conversions, users) == pytest.approx(
            (expected.low, expected.high), abs=1e-6
        )

    @pytest.mark.long
    @pytest.mark.parametrize("name", ["roc_auc", "pr_auc"])
    def test_intervals_hold_the_truth_as_often_as_they_say(self, name):
        """Of 200 draws of 600 users, whose metric of all users is known, the interval
        holds it in 190: between 182 and 198, by chance."""
        measure = getattr(metrics, name)
        truth = measure(calibrated(400_000, seed=1).outcomes)
        held = 0
        for seed in range(200):
            low, high = ends(calibrated(600, seed=100 + seed).outcomes, name)
            held += low <= truth <= high

        assert 182 <= held <= 198

    def test_intervals_count_users(self):
        """Eight rows of each user that are alike prove no more than one, and 25 users
        that a row stands for no more than the row. Fewer than twenty prove nothing, and
        a difference of three of each label is within Student's interval."""
        rows = calibrated(500, seed=7)
        users = np.arange(500)
        for times, weight in ((1, 25.0), (8, 1.0)):
            columns = {
                "user_id": np.tile(users, times),
                "label": np.tile(rows.label, times),
                "weight": np.full(times * 500, weight),
            }
            every = Slice(rows=pa.table(columns))
            score = np.tile(rows.probability, times)
            area = metrics.roc_auc(every.outcomes(score))
            found = metric_intervals.interval(
                area, *every.spread(score, metrics.roc_auc_slopes)
            )

            assert found == pytest.approx(ends(rows.outcomes), abs=1e-9)
        assert metric_intervals.interval(area, 19, 1e-4) == (None, None)
        few = np.ones(6), np.arange(6) % 2, np.arange(6)
        assert metric_intervals.difference(0.0, *few).high > 4 * np.sqrt(6)


def ends(observed: Outcomes, name: str = "roc_auc"):
    """The interval of a metric of independent rows."""
    slopes = getattr(metrics, f"{name}_slopes")(observed)
    value = getattr(metrics, name)(observed)
    return metric_intervals.interval(value, *metric_intervals.of_rows(observed, slopes))
