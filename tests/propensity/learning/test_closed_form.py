"""
Intervals in closed form, specified: they know what few rows have not shown.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.budget import Budget
from propensity.learning import bootstrap, closed_form, metrics
from propensity.learning.bootstrap import UNSAMPLED, Expansion
from propensity.learning.metrics import rate_interval
from propensity.learning.thresholds import Selection
from tests.propensity.learning.scored_rows import Rows, calibrated, quality

COUNTS = st.integers(0, 40)


def counts(hits: float, false_alarms: float, misses: float) -> dict[str, float]:
    return {
        "true_positives": hits,
        "false_positives": false_alarms,
        "false_negatives": misses,
    }


class TestCalls:
    @given(COUNTS, COUNTS, COUNTS)
    def test_have_intervals_around_their_figures(self, hits, false_alarms, misses):
        """Where a figure exists, and only there; both ends in [0, 1]."""
        intervals = closed_form.calls(counts(hits, false_alarms, misses), UNSAMPLED)
        figures = {
            "precision": metrics.ratio(hits, hits + false_alarms),
            "recall": metrics.ratio(hits, hits + misses),
            "f1": metrics.ratio(2 * hits, 2 * hits + false_alarms + misses),
        }

        for name, figure in figures.items():
            limits = intervals[name]
            assert (limits is None) == (figure is None)
            if limits is not None:
                low, high = limits
                assert 0 <= low <= high <= 1
                assert low - 1e-12 <= figure <= high + 1e-12
                assert high - low > 0.01

    @pytest.mark.parametrize("each", [1, 10])
    def test_are_rates(self, each):
        """Of 8 calls 6 right, of 10 positives 6 found, of 12 called or missed 6; and of
        the rows that there are, where each stands for 10 users."""
        intervals = closed_form.calls(
            counts(6 * each, 2 * each, 4 * each), Expansion(each, each)
        )
        low, high = rate_interval(6, 12)

        assert intervals["precision"] == pytest.approx(rate_interval(6, 8))
        assert intervals["recall"] == pytest.approx(rate_interval(6, 10))
        assert intervals["f1"] == pytest.approx(
            (2 * low / (1 + low), 2 * high / (1 + high))
        )

    def test_that_were_all_right_may_be_wrong_next_time(self):
        """Defect: the precision of three calls that were all right was 1.000, 1.000 to
        1.000."""
        label = np.array([1, 1, 1, 1, 1] + [0] * 95)
        rows = Rows(np.where(np.arange(100) < 3, 0.9, 0.1), label, np.ones(100))
        figures = quality(
            rows, selection=Selection(budget=Budget(count=3), threshold=0.5)
        )

        for place in ("", "_at_best", "_at_budget"):
            assert figures[f"precision{place}"] == 1
            assert figures[f"precision{place}_low"] < 0.4386
            assert figures[f"recall{place}_high"] > 0.85


class TestBudget:
    def test_all_grow_with_the_hits(self):
        """Of 20 rows 3 of the 5 positives among 200: 3 of 5 is 23% to 88%."""
        intervals = closed_form.budget(3.0, 20.0, 5.0, 200.0, UNSAMPLED)
        low, high = rate_interval(3, 5)

        assert intervals["recall"] == pytest.approx((low, high))
        assert intervals["precision"] == pytest.approx((low / 4, high / 4))
        assert intervals["lift"] == pytest.approx((10 * low, 10 * high))
        assert intervals["f1"] == pytest.approx((low * 5 / 12.5, high * 5 / 12.5))

    def test_of_fewer_rows_than_positives_is_their_precision(self):
        """Of 4 rows 3 are hits: no more than 4 of the 10 positives can be found."""
        intervals = closed_form.budget(3.0, 4.0, 10.0, 100.0, UNSAMPLED)
        low, high = rate_interval(3, 4)

        assert intervals["precision"] == pytest.approx((low, high))
        assert intervals["recall"] == pytest.approx((low * 0.4, high * 0.4))

    def test_of_nothing_is_none(self):
        """Without rows or positives there are no figures."""
        assert {*closed_form.budget(0.0, 0.0, 0.0, 0.0, UNSAMPLED).values()} == {None}


class TestRocAuc:
    @given(st.floats(0, 1), st.integers(1, 50), st.integers(1, 50))
    def test_is_around_the_area(self, area, positives, negatives):
        """In [0, 1]; turned round, it is that of the turned ranking."""
        low, high = closed_form.roc_auc(area, positives, negatives)
        back = closed_form.roc_auc(1 - area, negatives, positives)

        assert 0 <= low <= area <= high <= 1
        assert (1 - high, 1 - low) == pytest.approx(back, abs=1e-9)

    def test_ends_at_a_half_where_chance_would_just_give_it(self):
        """With equal numbers the error at 0.5 is that of the rank sum test, without its
        normal's correction: (m + n + 1) / (12 m n)."""
        error = np.sqrt((8 + 8 + 1) / (12 * 8 * 8))
        low, _ = closed_form.roc_auc(0.5 + 1.959964 * error, 8, 8)

        assert low == pytest.approx(0.5, abs=1e-6)

    def test_of_a_perfect_ranking_of_few_is_in_doubt(self):
        """One conversion, ranked first of 200: an area of 1, and not surely so."""
        label = np.array([0] * 199 + [1])
        figures = quality(Rows(np.linspace(0.1, 0.6, 200), label, np.ones(200)))

        assert figures["roc_auc"] == figures["roc_auc_high"] == 1
        assert figures["roc_auc_low"] < 0.5

    def test_holds_the_truth_where_few_convert(self):
        """Defect: with three conversions the interval of the area held the truth in 78
        of 100 weeks, and says 95. Of 100 sets of 100 fair ones 99 reach 88."""
        selection = Selection(budget=Budget(share=0.1))
        whole = quality(calibrated(50_000, seed=5), selection=selection)
        names = ("roc_auc", "pr_auc", "precision_at_budget", "lift_at_budget")
        held = dict.fromkeys(names, 0)
        weeks = [calibrated(30, seed=100 + week) for week in range(100)]
        for week in weeks:
            figures = quality(week, selection=selection)
            for name in names:
                low, high = figures[f"{name}_low"], figures[f"{name}_high"]
                held[name] += low is None or low <= whole[name] <= high

        assert min(held.values()) >= 88, held

    def test_leaves_many_rows_to_resampling(self):
        """From 20 rows of either label on, which knows the scores' own spread."""
        rows = calibrated(2_000, seed=3)
        figures = quality(rows)
        drawn, _ = bootstrap._resampled(rows.outcomes, seed=0, expansion=Expansion())

        assert rows.label.sum() > 20
        assert figures["roc_auc_low"] == np.quantile(drawn["roc_auc"], 0.025)


class TestPrAuc:
    def test_is_that_of_a_rate_of_so_many_rows(self):
        """An average precision of 0.5 at four conversions."""
        assert closed_form.pr_auc(0.5, 4.0) == pytest.approx(rate_interval(2, 4))
