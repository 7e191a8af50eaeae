"""The plan of an audience, specified: what it can prove, and when it pays."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from propensity.audience import plan
from propensity.audience.boundary import errors_at
from tests.propensity.audience.test_uplift import rates

MONDAY = date(2026, 3, 2)
SHOPS = [
    (0.02, 10_000, 0.1),
    (0.02, 50_000, 0.2),
    (0.08, 650, 0.2),
    (0.08, 10_000, 0.5),
    (0.25, 10_000, 0.1),
]


@pytest.mark.parametrize(("rate", "members", "share"), SHOPS)
def test_the_smallest_uplift_is_found_in_80_of_100(rate, members, share):
    """Each is drawn 1,000 times: a standard error of 1.3 points."""
    effect = plan.smallest_uplift(rate, members, share=share)
    control = round(share * members)
    treated = members - control
    random = np.random.default_rng(1)
    found = 0
    for _ in range(1_000):
        bought = random.binomial(treated, rate * (1 + effect))
        anyway = random.binomial(control, rate)
        found += rates((bought, treated), (anyway, control)).low > 0

    assert found / 1_000 == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(
    ("rate", "members", "share"),
    [(0.0, 10**6, 0.1), (1.0, 10**6, 0.1), (0.5, 10, 0.1), (0.5, 10**4, 0.0)],
)
def test_nothing_can_be_shown_by_too_few_users(rate, members, share):
    assert plan.smallest_uplift(rate, members, share=share) is None


def test_only_new_members_add_to_what_an_audience_can_show():
    """Those of the first week count once, however often they are members."""
    weeks = plan.power(0.08, 1_000, new_a_week=100.0, share=0.2)
    effects = [week.smallest_lift for week in weeks]

    assert [week.members for week in weeks] == [1_000, 1_300, 2_200, 6_100]
    assert effects == sorted(effects, reverse=True)
    assert len(plan.power(0.08, 1_000, new_a_week=None, share=0.2)) == 1


def lifts(
    *weeks: tuple[int, int],
    share=0.2,
    bought=0.11,
    anyway=0.1,
    explained=None,
    until=None,
):
    """Rows of an audience: numbers of weeks since the first, and of users so far."""
    rows = []
    for number, users in weeks:
        control = round(share * users)
        rows.append(
            {
                "week": MONDAY + timedelta(weeks=number),
                "treated_users": users - control,
                "control_users": control,
                "control_conversions": round(anyway * control),
                "conversion_lift": bought / anyway - 1 if anyway else None,
                "variance_explained": explained,
                "planned_until": until,
            }
        )
    return rows


def test_an_open_verdict_says_how_many_weeks_it_takes():
    """Counted by the week, and not by the row, where an audience skips some. Users who
    suffice only wait for their outcomes."""
    weekly = plan.weeks_left(lifts((0, 2_000), (1, 6_000)))
    rows = lifts((0, 2_000), (1, 4_000), (2, 6_000))
    left = plan.weeks_left(rows)

    for weeks, suffices in ((left - 1, False), (left, True)):
        errors = errors_at((3 + weeks) / 52)
        needed = plan.members_needed(0.1, 0.1, share=0.2, errors=errors)
        assert (needed <= 6_000 + 2_000 * weeks) is suffices
    assert plan.weeks_left(lifts((0, 2_000), (2, 6_000))) > weekly
    assert plan.weeks_left(lifts((0, 90_000), (1, 200_000))) == 0


def test_a_verdict_takes_fewer_weeks_by_a_shorter_plan_or_good_probabilities():
    weeks = ((0, 2_000), (1, 4_000), (2, 6_000))
    left = plan.weeks_left(lifts(*weeks))

    assert plan.weeks_left(lifts(*weeks, explained=0.2)) < left
    assert plan.weeks_left(lifts(*weeks, until=MONDAY + timedelta(weeks=30))) < left


@pytest.mark.parametrize(
    "rows",
    [
        lifts((0, 2_000), (1, 4_000), until=MONDAY + timedelta(weeks=5)),
        lifts((0, 2_000), (1, 2_000)),
        lifts((0, 2_000)),
        lifts((0, 20), (1, 40)),
        lifts((0, 2_000), (1, 4_000), bought=0.1),
        lifts((0, 2_000), (1, 4_000), anyway=0),
        lifts((0, 2_000), (1, 4_000), share=0),
    ],
)
def test_a_verdict_that_no_year_of_looks_decides_says_never(rows):
    assert plan.weeks_left(rows) is None


def ranked(value=(40.0, 10.0, 30.0, 0.0)):
    """Four scores of 25 users each."""
    return plan.Ranked(
        users=np.full(4, 25.0),
        conversions=np.array([4.0, 3.0, 2.0, 1.0]),
        value=None if value is None else np.array(value),
    )


def test_deciles_have_the_best_users_first():
    rows = ranked().deciles(cost=0.5, margin=0.4)
    sums = {
        name: sum(getattr(row, name) for row in rows)
        for name in ("users", "conversions", "value", "cost")
    }

    assert sums == pytest.approx(
        {"users": 100, "conversions": 10, "value": 80, "cost": 50}
    )
    assert (rows[0].conversions, rows[0].value) == (1.6, 16)


def test_contacting_pays_from_the_uplift_of_its_cost():
    """Nobody pays in the last decile, so no lift is enough there."""
    rows = ranked().deciles(cost=0.5, margin=0.4)

    assert rows[0].pays_from == pytest.approx(0.5 * 10 / (0.4 * 16))
    assert rows[-1].pays_from is None
    for known in ({"cost": None, "margin": 0.4}, {"cost": 0.5, "margin": None}):
        assert ranked().deciles(**known)[0].pays_from is None
    bare = ranked(value=None).deciles(cost=0.5, margin=0.4)[0]
    assert (bare.value, bare.pays_from) == (None, None)
