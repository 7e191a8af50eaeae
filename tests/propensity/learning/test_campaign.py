"""An audience week by week, specified: sums of weeks become figures of all so far."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest

from propensity.learning import lift
from propensity.learning.campaign import Week, figures
from propensity.learning.lift import Sums

MONDAY = date(2026, 3, 2)


def group(p, label, *, is_control, amount=None):
    p, label = np.asarray(p, float), np.asarray(label, float)
    paid = None if amount is None else np.asarray(amount, float)
    return {
        "is_control": is_control,
        "users": len(p),
        "probability": p.sum(),
        "probability_squares": (p * p).sum(),
        "conversions": int(label.sum()),
        "probability_conversions": (p * label).sum(),
        "revenue": None if paid is None else Decimal(str(round(paid.sum(), 2))),
        "revenue_squares": None if paid is None else (paid * paid).sum(),
        "probability_revenue": None if paid is None else (paid * p).sum(),
    }


def week(number, *sums):
    return Week(week=MONDAY + number * timedelta(7), control_share=0.5, sums=sums)


@pytest.fixture
def users():
    generator = np.random.default_rng(0)
    p = generator.beta(2, 5, 4_000)
    label = generator.random(4_000) < p
    return p, label, label * np.round(generator.gamma(2, 10, 4_000), 2)


def weeks_of(users, *, has_amounts=True):
    p, label, amount = users
    return [
        week(
            number,
            *(
                group(
                    p[rows],
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
        p, label, _ = users
        rows = figures(weeks_of(users))

        treated = np.r_[0:1_000, 2_000:3_000]
        held_out = np.r_[1_000:2_000, 3_000:4_000]
        expected = lift.compare(
            Sums.of(p[treated], label[treated]),
            Sums.of(p[held_out], label[held_out]),
            quantile=lift.always(4_000, 2_000),
            is_binary=True,
        ).difference
        assert rows[1]["conversion_difference"] == pytest.approx(expected.value)
        assert rows[1]["conversion_difference_low"] == pytest.approx(expected.low)
        assert rows[1]["treated_users"] == rows[1]["control_users"] == 2_000
        assert rows[1]["control_conversions"] == label[held_out].sum()

    def test_have_money_to_the_cent(self, users):
        _, _, amount = users
        rows = figures(weeks_of(users))

        cents = sum(round(x * 100) for x in amount[np.r_[0:1_000, 2_000:3_000]])
        assert rows[1]["treated_revenue"] == Decimal(cents) / 100

    def test_have_no_revenue_where_outcomes_have_no_amount(self, users):
        rows = figures(weeks_of(users, has_amounts=False))

        assert "treated_revenue" not in rows[1]
        assert rows[1]["conversion_difference"] is not None

    def test_of_every_look_are_wider_than_of_a_single_one(self, users):
        for row in figures(weeks_of(users)):
            for of in ("conversion", "revenue"):
                name = f"{of}_difference"
                assert row[f"{name}_low"] < row[f"{name}_once_low"] < row[name]
                assert row[name] < row[f"{name}_once_high"] < row[f"{name}_high"]

    def test_of_a_week_without_new_members_are_those_of_before(self, users):
        first, _ = weeks_of(users)
        rows = figures([first, week(1)])

        assert rows[1]["conversion_difference"] == rows[0]["conversion_difference"]
        assert rows[1]["sums"] == []

    @pytest.mark.parametrize("is_control", [False, True])
    def test_of_an_empty_group_say_that_nobody_is_there(self, is_control):
        """Not that it is open: it would be for good."""
        users = group([0.5] * 50, [1] * 50, is_control=is_control)
        [row] = figures([replace(week(0, users), control_share=0.0)])

        assert row["verdict"] == "no_control"
        assert row["conversion_difference"] is None
        assert row["conversion_lift_high"] is None

    def test_have_no_ratio_to_a_group_that_did_not_convert(self):
        """Whatever the adjustment makes of its share. How much more it is at least is
        known, unless nobody converted at all, or nobody is there."""
        p = np.linspace(0.001, 0.3, 2_000)
        treated = group(p, p > 0.1, is_control=False)
        idle = group(p, np.zeros(2_000), is_control=False)
        held_out = group(p[:1_900], np.zeros(1_900), is_control=True)
        [some], [none], [nobody] = (
            figures([week(0, *sums)])
            for sums in ((treated, held_out), (idle, held_out), (treated,))
        )

        assert some["conversion_difference"] > 0
        assert some["conversion_lift"] is some["conversion_lift_high"] is None
        assert some["conversion_lift_low"] > 0
        for row in (none, nobody):
            ends = [row[f"conversion_lift{end}"] for end in ("", "_low", "_high")]
            assert ends == [None, None, None]

    def test_say_where_the_groups_sizes_cannot_be_chance(self):
        treated = group(np.full(3_000, 0.5), np.ones(3_000), is_control=False)
        control = group(np.full(2_000, 0.5), np.ones(2_000), is_control=True)

        [row] = figures([week(0, treated, control)])

        assert row["verdict"] == "sample_ratio"
        assert row["sample_ratio_p"] < 0.001
