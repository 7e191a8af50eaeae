"""
Intervals, specified: they hold the truth as often as they say, or say nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from propensity.learning import intervals, metrics
from propensity.learning.metrics import outcomes
from tests.propensity.learning.scored_rows import calibrated


class TestRates:
    @given(st.integers(1, 10_000), st.floats(0, 1))
    def test_have_the_interval_of_scipy(self, users, share):
        """Wilson's, for any number of users and any rate, 0 and 1 as well."""
        conversions = round(share * users)
        expected = binomtest(conversions, users).proportion_ci(method="wilson")

        assert intervals.rate_interval(conversions, users) == pytest.approx(
            (expected.low, expected.high), abs=1e-6
        )


class TestBootstrap:
    def test_holds_the_truth_as_often_as_it_says(self):
        """Of 100 draws of 600 users, whose ROC AUC of all users is known, the interval
        holds it in 95: between 88 and 100, by chance."""
        truth = metrics.roc_auc(calibrated(400_000, seed=1).outcomes)
        held = 0
        for seed in range(100):
            observed = calibrated(600, seed=100 + seed).outcomes
            low, high = intervals.interval(observed, metrics.roc_auc, seed=seed)
            held += low <= truth <= high

        assert 88 <= held <= 100

    def test_says_nothing_of_fewer_than_twenty_positives(self):
        probability = np.linspace(0.01, 0.9, 200)
        for positives in (19, 20):
            label = np.arange(200) >= 200 - positives
            ends = intervals.interval(
                outcomes(probability, label), metrics.roc_auc, seed=1
            )
            assert (ends == (None, None)) == (positives < 20)

    def test_counts_rows_and_not_the_users_they_stand_for(self):
        rows = calibrated(800, seed=4)
        many = rows._replace(weight=np.full(800, 25.0)).outcomes
        alike = intervals.interval(rows.outcomes, metrics.roc_auc, seed=1)

        assert intervals.interval(
            many, metrics.roc_auc, seed=1, per_row=(25.0, 25.0)
        ) == pytest.approx(alike, abs=0.01)


class TestDifference:
    def against(self, rows, rival, **changed):
        given = {
            "label": rows.label,
            "weight": rows.weight,
            "user": np.arange(len(rows.label)),
            "seed": 1,
        } | changed
        return intervals.difference(rows.probability, rival, metrics.roc_auc, **given)

    def test_is_that_of_the_metrics(self):
        """And around it, since what is common to both cancels out."""
        rows = calibrated(2_000, seed=5)
        noise = np.random.default_rng(6).normal(0, 0.05, 2_000)
        rival = np.clip(rows.probability + noise, 0, 1)
        apart = self.against(rows, rival)
        areas = [
            metrics.roc_auc(outcomes(score, rows.label))
            for score in (rows.probability, rival)
        ]

        assert apart.estimate == pytest.approx(areas[0] - areas[1])
        assert 0 < apart.low < apart.estimate < apart.high
        assert apart.is_above()
        assert not apart.is_below()

    def test_is_wider_where_users_have_several_rows(self):
        """Four copies of each row prove no more than one."""
        rows = calibrated(500, seed=7)
        rival = np.random.default_rng(8).permutation(rows.probability)
        once = self.against(rows, rival)
        copies = type(rows)(*(np.tile(column, 4) for column in rows))
        again = self.against(copies, np.tile(rival, 4), user=np.tile(np.arange(500), 4))

        assert again.high - again.low == pytest.approx(once.high - once.low, rel=0.1)

    def test_of_too_few_positives_needs_more_than_one_of_them(self):
        """It is what is left without any one of them; of a single one, nothing."""
        rows = calibrated(60, seed=9)
        apart = self.against(rows, np.full(60, 0.5))
        single = rows._replace(label=(np.arange(60) == 3).astype(int))

        assert apart.interval == (None, None)
        assert apart.low < apart.estimate < apart.high
        assert "too few" in apart.written()
        alone = self.against(single, np.full(60, 0.5))
        assert (alone.is_above(), alone.is_below()) == (False, False)
