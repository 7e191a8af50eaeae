"""The lift, specified: treated users against those held out, week by week."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest
from scipy.stats import chisquare

from propensity.learning import lift
from propensity.learning.lift import Interval, Week, figures

MONDAY = date(2026, 3, 2)


def group(users, conversions, *, is_control, revenue=None, squares=None):
    return {
        "is_control": is_control,
        "users": users,
        "conversions": conversions,
        "revenue": revenue,
        "revenue_squares": squares,
    }


def week(number, *sums):
    return Week(week=MONDAY + number * timedelta(7), control_share=0.5, sums=sums)


class TestFigures:
    def test_of_a_week_are_those_of_all_users_so_far(self):
        """Amounts of both groups as well; where none is known there are none."""
        weeks = [
            week(
                number,
                group(1_000, 300 + number, is_control=False, revenue=Decimal("10.50")),
                group(1_000, 250, is_control=True, revenue=Decimal(7)),
            )
            for number in range(2)
        ]
        first, both = figures(weeks)
        expected = lift.rate_difference((601, 2_000), (500, 2_000))
        columns = (
            *("treated_users", "control_users"),
            *("treated_conversions", "control_conversions"),
            *("treated_revenue", "control_revenue"),
        )

        assert [first[name] for name in columns] == [1_000, 1_000, 300, 250, 10.5, 7]
        assert [both[name] for name in columns] == [2_000, 2_000, 601, 500, 21, 14]
        assert both["conversion_difference"] == expected.value
        assert both["conversion_difference_low"] == expected.low
        assert both["conversion_lift"] == pytest.approx(0.202)
        assert both["revenue_difference"] == pytest.approx(0.0035)
        plain = [group(9, 1, is_control=False), group(9, 1, is_control=True)]
        assert "treated_revenue" not in figures([week(0, *plain)])[0]

    @pytest.mark.parametrize("is_control", [False, True])
    def test_of_an_empty_group_say_that_nobody_is_there(self, is_control):
        """Not that it is open: it would be for good."""
        users = group(50, 50, is_control=is_control)
        [row] = figures([replace(week(0, users), control_share=0.0)])

        assert row["verdict"] == "no_control"
        assert row["conversion_difference"] is None
        assert row["conversion_lift"] is None

    def test_say_where_the_groups_sizes_cannot_be_chance(self):
        treated = group(3_000, 3_000, is_control=False)
        control = group(2_000, 2_000, is_control=True)

        [row] = figures([week(0, treated, control)])

        assert row["verdict"] == "sample_ratio"
        assert row["sample_ratio_p"] < 0.001


def test_mean_difference_has_the_standard_error_of_means():
    amounts = np.array([0.0, 0.0, 3.0, 5.0]), np.array([0.0, 2.0])
    treated, control = (
        group(len(paid), 1, is_control=True, revenue=paid.sum(), squares=paid @ paid)
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
def test_a_verdict_needs_final_outcomes_enough_of_them_and_an_interval(
    ends, known, expected
):
    difference = Interval(value=sum(ends) / 2, low=ends[0], high=ends[1])
    options = {"conversions": 50, "is_sound": True, "is_final": True} | known

    assert lift.verdict(difference, **options) == expected


def test_rate_difference_is_that_of_newcombe():
    """The example of his paper: 56 of 70 and 48 of 80."""
    found = lift.rate_difference((56, 70), (48, 80))

    expected = pytest.approx([0.2, 0.0524, 0.3339], abs=1e-4)
    assert [found.value, found.low, found.high] == expected
