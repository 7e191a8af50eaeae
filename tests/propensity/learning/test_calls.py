"""
Intervals of calls, specified: they know what few rows have not shown.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.budget import Budget
from propensity.learning import bootstrap, metrics
from propensity.learning.bootstrap import UNSAMPLED, Expansion
from propensity.learning.metrics import rate_interval
from propensity.learning.thresholds import Selection
from tests.propensity.learning.scored_rows import Rows, quality

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
        intervals = bootstrap.calls(counts(hits, false_alarms, misses), UNSAMPLED)
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
        intervals = bootstrap.calls(
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

        for place in ("", "_at_best"):
            assert figures[f"precision{place}"] == 1
            assert figures[f"precision{place}_low"] < 0.4386
            assert figures[f"recall{place}_high"] > 0.85


def test_few_rows_of_a_label_say_too_little_of_a_ranking():
    """19 conversions have figures, and no resampled interval; 20 have both."""
    for conversions in (bootstrap.FEW - 1, bootstrap.FEW):
        label = np.array([1] * conversions + [0] * 400)
        rows = Rows(np.linspace(0.9, 0.1, len(label)), label, np.ones(len(label)))
        figures = quality(rows)

        assert figures["roc_auc"] == 1
        assert (figures["roc_auc_low"] is None) == (conversions < bootstrap.FEW)
        assert figures["recall_low"] is not None
