"""An audience week by week, specified: sums of weeks become figures of all so far."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest

from propensity.learning import lift
from propensity.learning.campaign import Week, figures

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


def weeks_of(users, *, has_amounts=True):
    label, amount = users
    return [
        week(
            number,
            *(
                group(
                    label[rows],
                    amount=amount[rows] if has_amounts else None,
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

    def test_have_money_to_the_cent(self, users):
        _, amount = users
        rows = figures(weeks_of(users))

        cents = sum(round(x * 100) for x in amount[np.r_[0:1_000, 2_000:3_000]])
        assert rows[1]["treated_revenue"] == Decimal(cents) / 100

    def test_have_no_revenue_where_outcomes_have_no_amount(self, users):
        rows = figures(weeks_of(users, has_amounts=False))

        assert "treated_revenue" not in rows[1]
        assert rows[1]["conversion_difference"] is not None

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
