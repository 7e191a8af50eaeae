"""What all audiences of a control group brought, as 03-ModelEvaluation measures it."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal

import pytest

from commands.texts import audiences as texts
from propensity import usecases
from propensity.audience import programme
from propensity.audience.boundary import LAST, errors_at, progress_at
from propensity.registry.deployment import open_deployment
from propensity.runs.uplifts import quarter_of
from propensity.tables.audiences import AUDIENCE_PLANS
from tests.functions.audiences import join
from tests.functions.conftest import MONDAY
from tests.support.deployment import Deployment, entered
from tests.support.rows import append_rows
from tests.support.shop import DAY, WEEK, event, purchase

SECOND = MONDAY + WEEK
GROUP = {"group": "shop"}
CONTACTED = [f"t{n}" for n in range(60)]
HELD_OUT = [f"c{n}" for n in range(60)]
OUTCOMES = [
    # Of the first date; who is in both audiences counts once.
    *(purchase(user, MONDAY + DAY, 10.0) for user in CONTACTED[:20]),
    *(purchase(user, MONDAY + DAY, 10.0) for user in HELD_OUT[:10]),
    # After the horizon of t0's first date, though within that of its second audience.
    purchase("t0", SECOND + DAY, 500.0),
    purchase("t40", SECOND + DAY, 30.0),
    # The export has all days.
    *(event("daily", MONDAY + n * DAY) for n in range(28)),
]


def plan(audience: str, as_of, cost: str, until):
    return {
        "use_case": "ga4_purchase",
        "audience": audience,
        "as_of": as_of,
        "planned_at": datetime.combine(as_of, time(), UTC),
        "control_group": "shop",
        "control_share": 0.5,
        "control_by": "user_id",
        "control_key": "key",
        "cost_per_contact": Decimal(cost),
        "margin": 0.5,
        "until": until,
    }


@pytest.fixture(scope="module")
def evaluated(borrow_deployment) -> Deployment:
    """Two audiences that overlap, and one of a control group of its own."""
    deployment: Deployment = borrow_deployment(OUTCOMES)
    join(deployment, MONDAY, CONTACTED[:40], HELD_OUT[:40], audience="a", **GROUP)
    join(deployment, MONDAY, CONTACTED[:10], HELD_OUT[:10], audience="b", **GROUP)
    later = CONTACTED[:10] + CONTACTED[40:], HELD_OUT[40:]
    join(deployment, SECOND, *later, audience="b", **GROUP)
    join(deployment, MONDAY, CONTACTED[:40], HELD_OUT[:40], audience="alone")
    plans = [plan("a", MONDAY, "0.10", MONDAY + WEEK)]
    plans.append(plan("b", MONDAY, "0.20", SECOND))
    plans.append(plan("b", SECOND, "0.30", SECOND))
    append_rows(deployment.warehouse, AUDIENCE_PLANS, plans)
    deployment.run("model_evaluation", SECOND + 2 * WEEK)
    return deployment


@pytest.fixture(scope="module")
def rows(evaluated) -> dict[tuple, dict]:
    """Rows by control group, period and week."""
    stored = evaluated.rows("SELECT * FROM ma_programme_lift")
    return {(r["control_group"], r["period"], r["week"]): r for r in stored}


def test_a_user_of_two_audiences_counts_once(rows):
    """At the first date in any of them, with what was paid within its horizon."""
    row = rows["shop", "all", SECOND]

    assert row["audiences"] == ["a", "b"]
    assert (row["treated_users"], row["control_users"]) == (60, 60)
    assert (row["treated_conversions"], row["control_conversions"]) == (21, 10)
    assert row["treated_revenue"] == Decimal(230)
    assert row["added_buyers"] == pytest.approx(11)
    assert row["brought"] == pytest.approx(130)


def test_a_programme_costs_what_its_first_contacts_cost(rows):
    """Of each audience on a user's first date; the profit is what is left of it."""
    row = rows["shop", "all", SECOND]
    cost = 40 * 0.10 + 10 * 0.20 + 20 * 0.30

    assert float(row["cost"]) == pytest.approx(cost)
    assert row["margin"] == pytest.approx(0.5)
    assert row["profit"] == pytest.approx(0.5 * 130 - cost)


def test_a_programme_is_planned_until_the_last_of_its_audiences_ends(rows):
    """Then its interval is at its narrowest."""
    quarter = quarter_of(SECOND)
    progress = progress_at(SECOND, first=quarter.first, until=quarter.last)
    reaches = []
    for period in ("all", quarter.name):
        row = rows["shop", period, SECOND]
        high = row["conversion_difference_high"]
        reaches.append(high - row["conversion_difference"])

    narrower = LAST / errors_at(progress)
    # A difference of shares is not quite in the middle of its interval.
    assert reaches[0] == pytest.approx(narrower * reaches[1], rel=0.02)


def test_a_command_says_what_each_control_group_brought(evaluated):
    """The largest first, as a table of it and in sentences."""
    with entered(evaluated.environment), open_deployment("ga4_purchase") as deployment:
        answer = programme.programme_account(deployment)
    text = texts.programme(answer)
    first, other = answer["programmes"]

    assert (first["control_group"], other["control_group"]) == ("shop", "alone")
    assert first["brought"] == pytest.approx(130)
    assert "All audiences of control group shop (a, b): Contacting 60 users" in text
    assert "alone: Contacting 40 users" in text


def test_a_week_is_evaluated_again_with_what_is_stored(evaluated, rows):
    """A later run reads new members alone, and adds them to the sums that it has."""
    join(evaluated, SECOND + WEEK, ["t0", "new"], ["c0"], audience="b", **GROUP)
    evaluated.run("model_evaluation", SECOND + 3 * WEEK)
    stored = evaluated.rows("SELECT * FROM ma_programme_lift")
    newest = max(
        (row for row in stored if (row["control_group"], row["period"]) == SHOP),
        key=lambda row: row["week"],
    )

    assert newest["week"] == SECOND + WEEK
    assert newest["treated_users"] == rows["shop", "all", SECOND]["treated_users"] + 1
    assert newest["treated_conversions"] == 21


SHOP = ("shop", "all")


def test_a_quarter_has_the_users_who_became_members_in_it(rows):
    quarter = quarter_of(MONDAY)
    other = quarter_of(SECOND)
    row = rows["shop", quarter.name, MONDAY]

    assert row["treated_users"] == 40
    assert rows["shop", other.name, SECOND]["treated_users"] in (20, 60)
    assert quarter.first <= MONDAY <= quarter.last


def test_audiences_with_control_groups_of_their_own_are_told_how_to_share_one(
    tmp_path, monkeypatch
):
    """In the words of their files; nothing where they share one."""
    monkeypatch.setenv("PROPENSITY_USE_CASES", str(tmp_path))
    folder = tmp_path / "ga4_purchase" / "audiences"
    folder.mkdir(parents=True)
    (folder / "a.toml").write_text('destination = "bucket"\ntop = 2\n')
    (folder / "b.toml").write_text('destination = "bucket"\ntop = 2\n')
    use_case = usecases.load("ga4_purchase")

    assert "they have 2 control groups (a; b)" in programme.apart(use_case)
    assert 'control_group = "a"' in programme.apart(use_case)
    shared = 'destination = "bucket"\ntop = 2\ncontrol_group = "a"\n'
    (folder / "b.toml").write_text(shared)
    assert programme.apart(use_case) == ""


def test_a_single_audience_is_a_programme_with_its_own_figures(rows):
    row = rows["alone", "all", MONDAY]

    assert row["treated_conversions"] == 20
    assert row["cost"] is None
    assert row["profit"] is None
