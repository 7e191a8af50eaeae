"""The lift, specified: differences of treated users and those held out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from propensity.learning import lift
from propensity.learning.lift import Amounts, Interval


class TestRateDifference:
    def test_is_that_of_newcombe(self):
        """The example of his paper: 56 of 70 and 48 of 80."""
        difference = lift.rate_difference((56, 70), (48, 80))

        assert difference.value == pytest.approx(0.2)
        assert difference.low == pytest.approx(0.0524, abs=1e-4)
        assert difference.high == pytest.approx(0.3339, abs=1e-4)

    def test_has_the_truth_in_it_in_95_of_100_campaigns(self):
        random = np.random.default_rng(1)
        drawn = random.binomial((4_500, 500), (0.09, 0.08), (2_000, 2))
        covered = []
        for treated, control in drawn.tolist():
            found = lift.rate_difference((treated, 4_500), (control, 500))
            covered.append(found.low <= 0.01 <= found.high)

        assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_mean_difference_has_the_standard_error_of_means():
    amounts = np.array([0.0, 0.0, 3.0, 5.0]), np.array([0.0, 2.0])
    treated, control = (
        Amounts(users=len(paid), total=paid.sum(), squares=(paid**2).sum())
        for paid in amounts
    )
    difference = lift.mean_difference(treated, control)
    error = np.sqrt(sum(paid.var() / len(paid) for paid in amounts))

    assert difference.value == pytest.approx(1.0)
    assert difference.high - difference.value == pytest.approx(1.96 * error, rel=1e-4)


def test_sample_ratio_is_the_chi_square_test():
    expected = chisquare([880, 120], [900, 100]).pvalue

    assert lift.sample_ratio(880, 120, share=0.1) == pytest.approx(expected)
    assert lift.sample_ratio(880, 0, share=0.0) == 1.0


@pytest.mark.parametrize(
    ("ends", "known", "expected"),
    [
        ((0.01, 0.03), {}, "helps"),
        ((-0.03, -0.01), {}, "harms"),
        ((-0.01, 0.03), {}, "open"),
        ((0.01, 0.03), {"is_final": False}, "open"),
        ((0.01, 0.03), {"conversions": 9}, "too_few"),
        ((0.01, 0.03), {"is_sound": False}, "sample_ratio"),
    ],
)
def test_verdict(ends, known, expected):
    difference = Interval(value=sum(ends) / 2, low=ends[0], high=ends[1])
    options = {"conversions": 50, "is_sound": True, "is_final": True} | known

    assert lift.verdict(difference, **options) == expected
