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


def group(label, *, is_control, amount=None):
    label = np.asarray(label, float)
    paid = None if amount is None else np.asarray(amount, float)
    return {
        "is_control": is_control,
        "users": len(label),
        "conversions": int(label.sum()),
        "revenue": None if paid is None else Decimal(str(round(paid.sum(), 2))),
        "revenue_squares": None if paid is None else (paid * paid).sum(),
    }


def week(number, *sums):
    return Week(week=MONDAY + number * timedelta(7), control_share=0.5, sums=sums)


@pytest.fixture
def users():
    generator = np.random.default_rng(0)
    p = generator.beta(2, 5, 4_000)
    label = generator.random(4_000) < p
    return label, label * np.round(generator.gamma(2, 10, 4_000), 2)


def weeks_of(users):
    label, amount = users
    return [
        week(
            number,
            *(
                group(
                    label[rows],
                    amount=amount[rows],
                    is_control=is_control,
                )
                for rows, is_control in (
                    (slice(2_000 * number, 2_000 * number + 1_000), False),
                    (slice(2_000 * number + 1_000, 2_000 * number + 2_000), True),
                )
            ),
        )
        for number in range(2)
    ]


class TestFigures:
    def test_of_a_week_are_those_of_all_users_so_far(self, users):
        label, _ = users
        rows = figures(weeks_of(users))

        treated = np.r_[0:1_000, 2_000:3_000]
        held_out = np.r_[1_000:2_000, 3_000:4_000]
        expected = lift.rate_difference(
            (label[treated].sum(), 2_000), (label[held_out].sum(), 2_000)
        )
        assert rows[1]["conversion_difference"] == pytest.approx(expected.value)
        assert rows[1]["conversion_difference_low"] == pytest.approx(expected.low)
        assert rows[1]["treated_users"] == rows[1]["control_users"] == 2_000
        assert rows[1]["control_conversions"] == label[held_out].sum()

    @pytest.mark.parametrize("is_control", [False, True])
    def test_of_an_empty_group_say_that_nobody_is_there(self, is_control):
        """Not that it is open: it would be for good."""
        users = group([1] * 50, is_control=is_control)
        [row] = figures([replace(week(0, users), control_share=0.0)])

        assert row["verdict"] == "no_control"
        assert row["conversion_difference"] is None
        assert row["conversion_lift"] is None

    def test_say_where_the_groups_sizes_cannot_be_chance(self):
        treated = group(np.ones(3_000), is_control=False)
        control = group(np.ones(2_000), is_control=True)

        [row] = figures([week(0, treated, control)])

        assert row["verdict"] == "sample_ratio"
        assert row["sample_ratio_p"] < 0.001


def test_mean_difference_has_the_standard_error_of_means():
    amounts = np.array([0.0, 0.0, 3.0, 5.0]), np.array([0.0, 2.0])
    treated, control = (
        {
            "users": len(paid),
            "revenue": paid.sum(),
            "revenue_squares": (paid**2).sum(),
        }
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


def test_rate_difference_is_that_of_newcombe():
    """The example of his paper: 56 of 70 and 48 of 80."""
    found = lift.rate_difference((56, 70), (48, 80))

    expected = pytest.approx([0.2, 0.0524, 0.3339], abs=1e-4)
    assert [found.value, found.low, found.high] == expected
