"""
What acting on audiences was worth, as 03-ModelEvaluation measures it: one audience by
itself, and all audiences of a control group together.

Figures and intervals are of ``propensity/audience``.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from propensity.gcp.warehouse import Warehouse
from propensity.runs.uplifts import quarter_of
from propensity.tables.audiences import AUDIENCE_PLANS
from propensity.tables.models import EVALUATION
from tests.functions.audiences import join
from tests.functions.conftest import MONDAY
from tests.support import shop
from tests.support.deployment import Deployment
from tests.support.rows import append_rows, publish
from tests.support.shop import DAY, WEEK, event, purchase

PAGE = f"reports/ga4_purchase/{MONDAY}.html"
SECOND = MONDAY + WEEK
CONTACTED = [f"t{n}" for n in range(60)]
HELD_OUT = [f"c{n}" for n in range(60)]
# A day of the first week whose table comes late, and who buys on it.
LATE = MONDAY + 4 * DAY
BOUGHT_LATE = purchase("t30", LATE)
OUTCOMES = [
    *(purchase(user, MONDAY + DAY, 10.0) for user in CONTACTED[:20]),
    *(purchase(user, MONDAY + DAY, 10.0) for user in HELD_OUT[:10]),
    # The thank-you page once more, and a second purchase.
    purchase("t0", MONDAY + 2 * DAY, 10.0, transaction="T"),
    purchase("t0", MONDAY + 3 * DAY, 10.0, transaction="T"),
    # A correction alone: a buyer who has paid nothing.
    purchase("c20", MONDAY + 2 * DAY, -70.0),
    # These are not in a horizon, or of no member.
    purchase("t25", MONDAY - DAY, 99.0),
    purchase("t0", SECOND + DAY, 500.0),
    purchase("stranger", MONDAY + DAY, 99.0),
    # Who became a member a week later.
    purchase("t40", SECOND + DAY, 30.0),
    # The shop is open on that weekday, and no other one of the export is missing.
    *(event("weekly", LATE + n * WEEK) for n in (-4, -3, -2, -1, 1, 2, 3)),
]


def plan(
    audience: str,
    as_of: date,
    cost: str | None,
    *,
    margin: float | None = 0.5,
    group: str = "shop",
) -> dict[str, Any]:
    """Return the plan of an audience, by default of the shop's control group."""
    row = {"use_case": "ga4_purchase", "audience": audience, "as_of": as_of}
    row |= {"planned_at": datetime.combine(as_of, time(), UTC)}
    row |= {"control_group": group, "control_share": 0.5}
    row |= {"control_by": "user_id", "control_key": "key"}
    price = None if cost is None else Decimal(cost)
    return row | {"cost_per_contact": price, "margin": margin}


def lifts(deployment: Deployment) -> list[dict[str, Any]]:
    return deployment.rows("SELECT * FROM ma_audience_lift ORDER BY audience, week")


def programmes(deployment: Deployment) -> dict[tuple, dict[str, Any]]:
    """Return rows by control group, period and week."""
    stored = deployment.rows("SELECT * FROM ma_programme_lift")
    return {(r["control_group"], r["period"], r["week"]): r for r in stored}


@pytest.fixture(scope="module")
def lacking(borrow_deployment) -> SimpleNamespace:
    """
    What was said of two weeks while a day was missing: answer, lifts and page.

    Of two audiences that overlap, and one of a control group of its own. The day is
    there by now, and the weeks of ``site`` were evaluated again.
    """
    site: Deployment = borrow_deployment(OUTCOMES)
    first = CONTACTED[:40], HELD_OUT[:40]
    join(site, MONDAY, *first, audience="alone")
    join(site, MONDAY, *first, audience="a", group="shop")
    join(site, MONDAY, CONTACTED[:10], HELD_OUT[:10], audience="b", group="shop")
    later = CONTACTED[:10] + CONTACTED[40:], HELD_OUT[40:]
    join(site, SECOND, *later, audience="b", group="shop")
    plans = [
        plan("a", MONDAY, "0.10"),
        plan("b", MONDAY, "0.20"),
        plan("b", SECOND, "0.30"),
    ]
    append_rows(site.warehouse, AUDIENCE_PLANS, plans)
    # Another publication of the date, which may know what contacting did.
    publish(site.warehouse, MONDAY, dict.fromkeys(CONTACTED, 0.9))
    answer = site.run("model_evaluation", SECOND + 2 * WEEK)
    said = {"answer": answer, "lifts": lifts(site), "page": site.page(PAGE)}
    shop.load(site, [BOUGHT_LATE])
    site.run("model_evaluation", SECOND + 2 * WEEK)
    return SimpleNamespace(site=site, **said)


@pytest.fixture
def evaluated(lacking) -> Deployment:
    return lacking.site


def test_an_audience_is_measured_by_its_control_group(lacking, evaluated):
    """Users are known by the probability of their entry, not by that of a later
    publication of the date."""
    row = {one["audience"]: one for one in lifts(evaluated)}["alone"]
    group = {one["is_control"]: one for one in row["sums"]}[False]
    shown = {one["audience"]: one for one in lacking.answer["audiences"]}["alone"]

    assert (row["treated_users"], row["control_users"]) == (40, 40)
    assert (row["treated_conversions"], row["control_conversions"]) == (21, 11)
    assert (row["treated_revenue"], row["control_revenue"]) == (220, 100)
    assert row["conversion_difference"] == pytest.approx(10 / 40)
    assert row["revenue_difference"] == pytest.approx(120 / 40)
    assert group["probability"] == 0.25 * 40
    assert group["probability_revenue"] == 0.25 * 220
    assert shown["verdict"]
    assert "sums" not in shown


def test_a_lift_waits_for_a_day_that_the_export_lacks(lacking, evaluated):
    """So do the week's own figures, and its report names the day. Those of the later
    week are of both, and wait as well."""
    before = {(row["status"], row["treated_conversions"]) for row in lacking.lifts}
    after = {(row["status"], row["treated_conversions"]) for row in lifts(evaluated)}

    assert lacking.answer["missing_days"] == [str(LATE)]
    assert "The export lacks 6 Mar 2026" in lacking.page
    assert {row["status"] for row in lacking.answer["weeks"]} == {"provisional"}
    assert "· final" in evaluated.page(PAGE)
    assert before == {("provisional", n) for n in (20, 10, 11)}
    assert after == {("final", n) for n in (21, 10, 11)}


def test_a_user_of_two_audiences_counts_once(evaluated):
    """At the first date in any of them, with what was paid within its horizon; and
    costs what all first contacts cost. A later run adds new members to what is stored,
    and a quarter has those who became members in it."""
    row = programmes(evaluated)["shop", "all", SECOND]
    join(evaluated, SECOND + WEEK, ["t0", "new"], ["c0"], audience="b", group="shop")
    evaluated.run("model_evaluation", SECOND + 3 * WEEK)
    rows = programmes(evaluated)
    later = rows["shop", "all", SECOND + WEEK]
    cost = 40 * 0.10 + 10 * 0.20 + 20 * 0.30

    assert row["audiences"] == ["a", "b"]
    assert (row["treated_users"], row["control_users"]) == (60, 60)
    assert (row["treated_conversions"], row["control_conversions"]) == (22, 11)
    assert row["treated_revenue"] == Decimal(250)
    assert row["brought"] == pytest.approx(150)
    assert float(row["cost"]) == pytest.approx(cost)
    assert row["profit"] == pytest.approx(0.5 * 150 - cost)
    assert later["audiences"] == ["a", "b"]
    assert (later["treated_users"], later["treated_conversions"]) == (61, 22)
    assert rows["shop", quarter_of(MONDAY).name, MONDAY]["treated_users"] == 40
    assert rows["alone", "all", MONDAY]["cost"] is None


def test_members_who_come_late_are_in_the_sum_of_their_date(evaluated):
    """Also where that row is final, and in the sums of later dates. Once they are
    there, nothing is read again."""
    late = ([f"n{n}" for n in range(30)], [f"m{n}" for n in range(30)])
    join(
        evaluated,
        MONDAY,
        *late,
        audience="late",
        group="shop",
        selected_at=datetime.now(UTC),
    )
    evaluated.run("model_evaluation", SECOND + 3 * WEEK)
    rows = programmes(evaluated)
    evaluated.run("model_evaluation", SECOND + 3 * WEEK, force=True)

    first = rows["shop", "all", MONDAY]
    assert (first["treated_users"], first["control_users"]) == (70, 70)
    assert rows["shop", "all", SECOND]["treated_users"] == 60 + 30
    assert (first["audiences"], first["status"]) == (["a", "b", "late"], "final")
    assert programmes(evaluated) == rows


def test_a_final_week_whose_days_expire_does_not_keep_later_weeks_provisional(
    borrow_deployment,
):
    """The export of a sandbox keeps 60 days. Members who come late open the week, and
    are not counted: who bought on these days can't be read again."""
    site = borrow_deployment([*OUTCOMES, BOUGHT_LATE])
    join(site, MONDAY, ["t30", "u2"], ["u3"])
    site.run("model_evaluation", MONDAY + 2 * WEEK)
    site.warehouse.client.delete_table(f"{site.ga4_dataset}.events_{LATE:%Y%m%d}")
    join(site, MONDAY, ["u4"], ["u5"], selected_at=datetime.now(UTC))
    join(site, SECOND, ["u6"], ["u7"])
    answer = site.run("model_evaluation", SECOND + 2 * WEEK)
    names = ("status", "treated_users", "treated_conversions")
    found = [tuple(row[name] for name in names) for row in lifts(site)]

    assert answer["missing_days"] == [str(LATE)]
    assert found == [("final", 2, 1), ("final", 3, 1)]
    assert programmes(site)["winback", "all", MONDAY]["treated_conversions"] == 1


def test_a_week_that_is_too_long_over_is_not_evaluated_again(monday):
    """Though its row is provisional still: its days are not read any more."""
    join(monday, MONDAY, ["u1", "u2"], ["u3"])
    monday.run("model_evaluation", MONDAY + WEEK)
    before = lifts(monday)
    newest = MONDAY + 16 * WEEK
    shop.load(monday, [event("visitor", newest - DAY)])
    monday.run("model_evaluation", newest)

    assert [row["status"] for row in before] == ["provisional"]
    assert lifts(monday) == before


def test_a_programme_is_planned_until_its_last_audience_ends(borrow_deployment):
    """For a year where one of them has no end: then its interval is a wider one."""
    purchases = [event("visitor", MONDAY + days * DAY) for days in range(-1, 15)]
    purchases += [purchase(user, MONDAY + DAY) for user in CONTACTED[:20]]
    site = borrow_deployment(purchases + [purchase("c1", MONDAY + DAY)])
    plans = []
    for group, ends in (("ending", [MONDAY, MONDAY]), ("going_on", [MONDAY, None])):
        for number, until in enumerate(ends):
            audience = f"{group}_{number}"
            join(site, MONDAY, CONTACTED, HELD_OUT, audience=audience, group=group)
            plans.append({**plan(audience, MONDAY, None, group=group), "until": until})
    append_rows(site.warehouse, AUDIENCE_PLANS, plans)
    site.run("model_evaluation", MONDAY + WEEK)
    widths = {}
    for (group, period, _), row in programmes(site).items():
        high = row["conversion_difference_high"]
        widths[group, period] = high - row["conversion_difference_low"]
    quarter = quarter_of(MONDAY).name
    shortest = widths["ending", "all"]

    assert widths["going_on", "all"] > 1.2 * shortest
    # The quarter is planned for its three months, of which two are over.
    assert 1.02 * shortest < widths["ending", quarter] < 1.2 * shortest


def test_a_run_of_an_older_date_leaves_final_rows(monday, converters, monkeypatch):
    """A run of a newer date, with a lease of its own, has written them meanwhile, and
    their page."""
    users = sorted(converters)
    final = []
    write = Warehouse.write
    join(monday, MONDAY, users[:10], users[10:20])

    def published() -> list[Any]:
        return [monday.evaluations(), lifts(monday), monday.read(PAGE)]

    def written(self: Any, to: Any, rows: Any) -> None:
        if to is EVALUATION and not final:
            final.append(None)
            shop.load(monday, [purchase("u3", MONDAY + 2 * DAY)])
            monday.run("model_evaluation", MONDAY + 2 * WEEK)
            final[:] = published()
        write(self, to, rows)

    monkeypatch.setattr(Warehouse, "write", written)
    monday.run("model_evaluation", MONDAY + WEEK)

    assert final[0][0]["status"] == "final"
    assert published() == final


# Contacted users and the control group, and how many of each bought, by the verdict.
BY_VERDICT = {
    "helps": ((60, 50), (60, 5)),
    "harms": ((60, 5), (60, 50)),
    "open": ((60, 20), (60, 20)),
    "too_few": ((20, 1), (20, 1)),
    "no_control": ((5, 2), (0, 0)),
    "sample_ratio": ((60, 30), (10, 5)),
}


def test_a_week_is_evaluated_after_any_verdict_of_the_weeks_before(borrow_deployment):
    """Also of a programme without a control group, of one that lost users, and of one
    without a cost."""
    kinds = [(None, None), ("0.10", None), (None, 0.5), ("0.10", 0.5)]
    purchases = [event("visitor", MONDAY + days * DAY) for days in range(-1, 22)]
    plans = []
    members = []
    for verdict, groups in BY_VERDICT.items():
        names = [f"{verdict}_{number}" for number in range(len(kinds))]
        users = []
        for group, (size, buyers) in zip("tc", groups, strict=True):
            users.append([f"{verdict}_{group}{number}" for number in range(size)])
            purchases += [purchase(user, MONDAY + DAY) for user in users[-1][:buyers]]
        for name, (cost, margin) in zip(names, kinds, strict=True):
            members.append((name, users))
            plans.append(plan(name, MONDAY, cost, margin=margin, group=name))
    site = borrow_deployment(purchases)
    for name, users in members:
        join(site, MONDAY, *users, audience=name, group=name)
    append_rows(site.warehouse, AUDIENCE_PLANS, plans)
    for weeks in (1, 2, 3):
        site.run("model_evaluation", MONDAY + weeks * WEEK)
    rows = programmes(site)

    assert len(rows) == 2 * len(members)
    for (group, _, _), row in rows.items():
        is_known = row["verdict"] not in ("sample_ratio", "no_control")
        assert (row["added_buyers"] is not None) == is_known
        assert row["status"] == "final"
        assert group.startswith(row["verdict"])
