"""The lift, specified: treated users against those held out, week by week."""

from __future__ import annotations

from dataclasses import astuple
from decimal import Decimal

import numpy as np
import pytest
from scipy.stats import chisquare

from propensity.audience import uplift
from propensity.audience.uplift import figures
from propensity.measures.intervals import NORMAL, Difference
from propensity.tables.audiences import GroupSums


def group(users, conversions, *, is_control, revenue=None, squares=None):
    return GroupSums(
        is_control=is_control,
        users=users,
        conversions=conversions,
        revenue=revenue,
        revenue_squares=squares,
    )


class TestFigures:
    def test_figures_of_a_week_are_those_of_all_users_so_far(self):
        """Amounts of both groups as well; where none is known there are none."""
        sums = [
            group(1_000, 300, is_control=False, revenue=Decimal("10.50")),
            group(1_000, 250, is_control=True, revenue=Decimal(7)),
            group(1_000, 301, is_control=False, revenue=Decimal("10.50")),
            group(1_000, 250, is_control=True, revenue=Decimal(7)),
        ]
        first = figures(sums[:2], control_share=0.5).columns()
        both = figures(sums, control_share=0.5).columns()
        expected = uplift.rate_difference((601, 2_000), (500, 2_000))
        columns = (
            "treated_users",
            "control_users",
            "treated_conversions",
            "control_conversions",
            "treated_revenue",
            "control_revenue",
        )

        assert [first[name] for name in columns] == [1_000, 1_000, 300, 250, 10.5, 7]
        assert [both[name] for name in columns] == [2_000, 2_000, 601, 500, 21, 14]
        assert both["conversion_difference"] == expected.estimate
        assert both["conversion_difference_low"] == expected.low
        assert both["conversion_lift"] == pytest.approx(0.202)
        assert both["revenue_difference"] == pytest.approx(0.0035)
        plain = [group(9, 1, is_control=False), group(9, 1, is_control=True)]
        assert figures(plain, control_share=0.5).revenue is None

    @pytest.mark.parametrize("is_control", [False, True])
    def test_figures_of_an_empty_group_say_that_nobody_is_there(self, is_control):
        """Not that it is open: it would be for good."""
        users = group(50, 50, is_control=is_control)
        row = figures([users], control_share=0.0)

        assert row.verdict == "no_control"
        assert row.conversion_difference is None
        assert row.conversion_lift is None

    def test_figures_say_where_the_groups_sizes_cannot_be_chance(self):
        treated = group(3_000, 3_000, is_control=False)
        control = group(2_000, 2_000, is_control=True)

        row = figures([treated, control], control_share=0.5)

        assert row.verdict == "sample_ratio"
        assert row.sample_ratio_p < 0.001


def test_a_difference_of_money_has_the_standard_error_of_means():
    """And no interval, where a group has too few buyers for one."""
    amounts = np.arange(40.0), np.arange(25.0)
    sums = [
        group(len(paid), 20, is_control=True, revenue=paid.sum(), squares=paid @ paid)
        for paid in amounts
    ]
    value, low, high = astuple(uplift.mean_difference(*sums))
    error = np.sqrt(sum(paid.var() / len(paid) for paid in amounts))

    assert value == pytest.approx(7.5)
    assert high - value == pytest.approx(value - low)
    assert high - value == pytest.approx(2.85 * error)
    few = group(25, 19, is_control=True, revenue=300.0)
    assert uplift.mean_difference(sums[0], few) == Difference(value, None, None)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_an_interval_of_money_is_right_in_94_of_100(sigma):
    """Amounts of a few buyers, as skewed as those of shops; the truth is no effect."""
    random = np.random.default_rng(5)
    tries = 400
    covered = 0
    for _ in range(tries):
        sums = []
        for users in (4_500, 500):
            paid = random.lognormal(0, sigma, random.binomial(users, 0.1))
            total = {"revenue": paid.sum(), "squares": paid @ paid}
            sums.append(group(users, len(paid), is_control=True, **total))
        found = uplift.mean_difference(*sums)
        covered += found.low <= 0 <= found.high

    assert covered >= 0.94 * tries


@pytest.mark.parametrize("a_week", [200, 1_000, 5_000])
def test_a_look_each_week_misleads_in_5_of_100(a_week):
    """Without an effect; one in ten converts, and one in ten is held out."""
    random = np.random.default_rng(8)
    tries = 300
    misled = 0
    users = np.array([0.9 * a_week, 0.1 * a_week]).astype(int)
    for _ in range(tries):
        drawn = random.binomial(users, 0.1, (52, 2)).cumsum(axis=0)
        intervals = (
            uplift.rate_difference(
                (treated, week * users[0]), (control, week * users[1])
            )
            for week, (treated, control) in enumerate(drawn, 1)
        )
        misled += any(one.low > 0 or one.high < 0 for one in intervals)

    assert misled <= 0.05 * tries


def test_the_least_difference_is_found_in_80_of_100():
    random = np.random.default_rng(9)
    tries = 400
    found = 0
    users = (9_000, 1_000)
    rate = 0.1
    sums = [group(n, rate * n, is_control=False) for n in users]
    effect = uplift.detectable(*sums)
    for _ in range(tries):
        treated = random.binomial(users[0], rate + effect)
        control = random.binomial(users[1], rate)
        difference = uplift.rate_difference((treated, users[0]), (control, users[1]))
        found += difference.low > 0

    assert 0.72 < found / tries < 0.88


def test_sample_ratio_is_the_chi_square_test():
    expected = chisquare([880, 120], [900, 100]).pvalue

    assert uplift.sample_ratio(880, 120, share=0.1) == pytest.approx(expected)
    assert uplift.sample_ratio(880, 0, share=0.0) == 1.0


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
def test_a_verdict_needs_final_outcomes(ends, known, expected):
    difference = Difference(sum(ends) / 2, low=ends[0], high=ends[1])
    options = {"conversions": 50, "is_sound": True, "is_final": True} | known

    assert uplift.verdict(difference, **options) == expected


def test_rate_difference_is_that_of_newcombe(monkeypatch):
    """The example of his paper: 56 of 70 and 48 of 80, at 95%."""
    monkeypatch.setattr(uplift, "ERRORS", NORMAL)
    found = uplift.rate_difference((56, 70), (48, 80))

    expected = pytest.approx([0.2, 0.0524, 0.3339], abs=1e-4)
    assert [found.estimate, found.low, found.high] == expected
