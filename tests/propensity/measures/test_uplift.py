"""The uplift, specified: contacted users against the control group, week by week."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest

from propensity.measures import looks, power, uplift
from propensity.measures.intervals import NORMAL, Difference
from propensity.measures.looks import LAST as ERRORS
from propensity.measures.looks import errors_at
from propensity.measures.statistic import difference_of_means, with_common_spread
from propensity.measures.uplift import figures
from propensity.tables.audiences import GroupSums


def group(users, conversions, *, is_control=False, revenue=None, squares=None):
    return GroupSums(
        is_control=is_control,
        users=users,
        conversions=conversions,
        revenue=revenue,
        revenue_squares=squares,
    )


def rates(treated, control, *, errors=ERRORS):
    """Return the difference of two rates, of conversions and users."""
    shares = [
        uplift.conversions_of([group(users, conversions)])
        for conversions, users in (treated, control)
    ]
    return difference_of_means(*shares, errors=errors)


def amounts(treated, control):
    paid = [uplift.amounts_of([each]) for each in (treated, control)]
    return difference_of_means(*with_common_spread(*paid), errors=ERRORS)


def test_figures_of_a_week_are_those_of_all_users_so_far():
    """Amounts of both groups as well; where none is known there are none."""
    week = [
        group(1_000, 300, revenue=Decimal("10.50"), squares=9.0),
        group(1_000, 250, is_control=True, revenue=Decimal(7), squares=4.0),
    ]
    found = figures(week * 2, control_share=0.5, errors=ERRORS).columns()
    expected = rates((600, 2_000), (500, 2_000))
    names = ("users", "conversions", "revenue")
    columns = [f"{of}_{name}" for name in names for of in ("treated", "control")]

    assert [found[name] for name in columns] == [2_000, 2_000, 600, 500, 21, 14]
    assert found["conversion_difference"] == expected.estimate
    assert found["conversion_difference_low"] == expected.low
    assert found["conversion_lift"] == pytest.approx(0.2)
    assert found["revenue_difference"] == pytest.approx(0.0035)
    plain = [group(9, 1), group(9, 1, is_control=True)]
    assert figures(plain, control_share=0.5, errors=ERRORS).revenue is None


@pytest.mark.parametrize(
    ("control", "share", "verdict"),
    [(0, 0.0, "no_control"), (2_000, 0.5, "sample_ratio")],
)
def test_figures_say_where_groups_cannot_be_compared(control, share, verdict):
    """Nobody is in one, or their sizes can't be chance. Not that it is open: it would
    be for good."""
    sums = [group(3_000, 3_000), group(control, control, is_control=True)]
    row = figures(sums, control_share=share, errors=ERRORS)

    assert row.verdict == verdict
    assert (row.sample_ratio_p < 0.001) == (share > 0)


def paid(users, amounts):
    return group(users, len(amounts), revenue=amounts.sum(), squares=amounts @ amounts)


def test_an_interval_of_money_is_right_in_94_of_100():
    """
    Amounts of a few buyers, as skewed as those of shops; the truth is no effect.

    The few of the control group seldom show a large order: the interval must not be
    narrow just where they have paid little.
    """
    random = np.random.default_rng(5)
    tries = 1_000
    covered = 0
    for _ in range(tries):
        sums = [
            paid(users, random.lognormal(0, 1.5, random.binomial(users, 0.1)))
            for users in (4_500, 500)
        ]
        found = amounts(*sums)
        covered += found.low is None or found.low <= 0 <= found.high

    assert covered >= 0.94 * tries
    few = amounts(paid(400, np.ones(80)), paid(200, np.ones(39)))
    assert (few.low, few.high) == (None, None)


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

    assert uplift.verdict(difference, **options).code == expected


def test_rate_difference_is_that_of_newcombe():
    """The example of his paper: 56 of 70 and 48 of 80, at 95%."""
    found = rates((56, 70), (48, 80), errors=NORMAL)

    expected = pytest.approx([0.2, 0.0524, 0.3339], abs=1e-4)
    assert [found.estimate, found.low, found.high] == expected


MONDAY = date(2026, 3, 2)


@pytest.mark.parametrize(
    ("rate", "members", "share"), [(0.02, 10_000, 0.1), (0.08, 650, 0.2)]
)
def test_the_smallest_uplift_is_found_in_80_of_100(rate, members, share):
    """Each is drawn 1,000 times: a standard error of 1.3 points."""
    effect = power.smallest_uplift(rate, members, share=share)
    control = round(share * members)
    treated = members - control
    random = np.random.default_rng(1)
    found = 0
    for _ in range(1_000):
        bought = random.binomial(treated, rate * (1 + effect))
        anyway = random.binomial(control, rate)
        found += rates((bought, treated), (anyway, control)).low > 0

    assert found / 1_000 == pytest.approx(0.8, abs=0.04)


def test_only_new_members_add_to_what_an_audience_can_show():
    """Those of the first week count once, however often they are members."""
    weeks = power.power(0.08, 1_000, new_a_week=100.0, share=0.2)
    effects = [week.smallest_lift for week in weeks]

    assert [week.members for week in weeks] == [1_000, 1_300, 2_200, 6_100]
    assert effects == sorted(effects, reverse=True)


def lifts(*weeks, share=0.2, explained=None, until=None):
    """Rows of an audience: numbers of weeks since the first, and of users so far."""
    rows = []
    for number, users in weeks:
        control = round(share * users)
        row = {"week": MONDAY + timedelta(weeks=number), "control_users": control}
        row |= {"treated_users": users - control, "conversion_lift": 0.1}
        row |= {"control_conversions": 0.1 * control, "planned_until": until}
        rows.append({**row, "variance_explained": explained})
    return rows


def test_an_open_verdict_says_how_many_weeks_it_takes():
    """Counted by the week, and not by the row, where an audience skips some. Users who
    suffice only wait for their outcomes."""
    weeks = ((0, 2_000), (1, 4_000), (2, 6_000))
    left = looks.weeks_left(lifts(*weeks))
    thirty_weeks = MONDAY + timedelta(weeks=30)

    for count, suffices in ((left - 1, False), (left, True)):
        errors = errors_at((3 + count) / 52)
        needed = looks.members_needed(0.1, 0.1, share=0.2, errors=errors)
        assert (needed <= 6_000 + 2_000 * count) is suffices
    weekly = looks.weeks_left(lifts((0, 2_000), (1, 6_000)))
    assert looks.weeks_left(lifts((0, 2_000), (2, 6_000))) > weekly
    assert looks.weeks_left(lifts((0, 90_000), (1, 200_000))) == 0
    # Nobody new comes, or nobody is held out: never.
    assert looks.weeks_left(lifts((0, 2_000), (1, 2_000))) is None
    assert looks.weeks_left(lifts(*weeks, share=0)) is None
    assert looks.weeks_left(lifts(*weeks, explained=0.2)) < left
    assert looks.weeks_left(lifts(*weeks, until=thirty_weeks)) < left
