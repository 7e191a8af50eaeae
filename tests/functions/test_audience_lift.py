"""What acting on an audience was worth, as 03-ModelEvaluation measures it."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from propensity import usecases
from propensity.audience.boundary import errors_at
from propensity.audience.uplift import figures
from propensity.gcp.warehouse import Warehouse
from propensity.tables.audiences import AUDIENCE_PLANS, GroupSums
from propensity.tables.models import EVALUATION
from tests.functions.audiences import join
from tests.functions.conftest import MONDAY
from tests.functions.streaming import rows_of
from tests.support import shop
from tests.support.deployment import Deployment
from tests.support.events import registration
from tests.support.rows import append_rows, publish
from tests.support.shop import DAY, WEEK, event, purchase

PAGE = f"reports/ga4_purchase/{MONDAY}.html"
SECOND = MONDAY + WEEK
TREATED = [f"t{n}" for n in range(30)]
HELD_OUT = [f"c{n}" for n in range(30)]
# A day of the first week whose table comes late, and who buys on it.
LATE = MONDAY + 4 * DAY
BOUGHT_LATE = purchase("t20", LATE)

OUTCOMES = [
    *(purchase(user, MONDAY + DAY, 12.5) for user in TREATED[:12]),
    *(purchase(user, MONDAY + 2 * DAY, 10.0) for user in HELD_OUT[:4]),
    # The thank-you page once more, and a second purchase.
    purchase("t0", MONDAY + 2 * DAY, 12.5, transaction="T"),
    purchase("t0", MONDAY + 3 * DAY, 12.5, transaction="T"),
    # A correction alone: a buyer who has paid nothing.
    purchase("c20", MONDAY + 2 * DAY, -70.0),
    # These are not in the horizon, or of no member.
    purchase("t20", MONDAY - DAY, 99.0),
    purchase("t20", MONDAY + WEEK, 99.0),
    purchase("stranger", MONDAY + DAY, 99.0),
    purchase("new", SECOND + DAY, 5.0),
    # The shop is open on that weekday, and no other one of the export is missing.
    *(event("weekly", LATE + n * WEEK) for n in (-4, -3, -2, -1, 1, 2)),
]


def lifts(deployment: Deployment):
    return deployment.rows("SELECT * FROM ma_audience_lift ORDER BY audience, week")


@pytest.fixture(scope="module")
def weeks(borrow_deployment) -> tuple[dict, list[dict], list[dict]]:
    """Two weeks: the answer, the rows while a day is missing, and once it is there."""
    deployment = borrow_deployment(OUTCOMES)
    join(deployment, MONDAY, TREATED, HELD_OUT)
    upsell = {"audience": "upsell", "probability": 0.5}
    join(deployment, MONDAY, TREATED[:10], HELD_OUT[:10], **upsell)
    plan = {"use_case": "ga4_purchase", "audience": "upsell", "as_of": MONDAY}
    plan |= {"planned_at": datetime.combine(MONDAY, time(), UTC), "until": MONDAY}
    plan |= {"control_group": "upsell", "control_share": 0.5}
    plan |= {"control_by": "user_id", "control_key": "key"}
    append_rows(deployment.warehouse, AUDIENCE_PLANS, [plan])
    # Another publication of the date, which may know what contacting did.
    publish(deployment.warehouse, MONDAY, dict.fromkeys(TREATED, 0.9))
    # A user who is a member again counts in the first week alone.
    join(deployment, SECOND, ["new", "t20"], ["c0"])
    answer = deployment.run("model_evaluation", SECOND + 2 * WEEK)
    before = lifts(deployment)
    shop.load(deployment, [BOUGHT_LATE])
    deployment.run("model_evaluation", SECOND + 2 * WEEK)
    return answer, before, lifts(deployment)


class TestLift:
    def test_the_lift_is_of_all_members_by_group(self, weeks):
        """Of each audience its own."""
        answer, rows, _ = weeks
        other, row, _ = rows

        assert (other["audience"], other["treated_users"]) == ("upsell", 10)
        assert (row["audience"], row["treated_users"]) == ("winback", 30)
        assert row["control_users"] == 30
        assert (row["treated_conversions"], row["control_conversions"]) == (12, 5)
        # One reload of a page; the first purchase and another one.
        assert row["treated_revenue"] == Decimal("162.5")
        assert row["control_revenue"] == Decimal(40)
        assert row["conversion_difference"] == pytest.approx(7 / 30)
        assert row["revenue_difference"] == pytest.approx((162.5 - 40) / 30)
        assert answer["audiences"][1]["verdict"] == row["verdict"]
        assert "sums" not in answer["audiences"][1]

    def test_the_lift_of_a_later_week_has_new_members_beside_the_old(self, weeks):
        """It is of all users so far."""
        *_, row = weeks[1]

        assert (row["treated_users"], row["control_users"]) == (31, 30)
        assert row["treated_conversions"] == 13

    def test_the_lift_knows_users_by_the_probability_of_their_entry(self, weeks):
        """Point in time: not by that of a later publication of the date."""
        groups = {row["is_control"]: row for row in weeks[1][0]["sums"]}

        for is_control, bought, paid in ((False, 10, 137.5), (True, 4, 40.0)):
            group = groups[is_control]
            assert group["probability"] == 0.5 * group["users"]
            assert group["probability_squares"] == 0.25 * group["users"]
            assert group["probability_conversions"] == 0.5 * bought
            assert group["probability_revenue"] == 0.5 * paid

    def test_the_interval_of_a_lift_is_that_of_the_planned_length(self, weeks):
        """Of a single look where the audience was planned for it."""
        planned, open_ended, _ = weeks[1]

        for row, until, progress in ((planned, MONDAY, 1), (open_ended, None, 1 / 52)):
            sums = [GroupSums.of(group) for group in row["sums"]]
            errors = errors_at(progress)
            expected = figures(sums, control_share=0.5, errors=errors)
            low = pytest.approx(expected.conversion_difference_low)
            assert row["planned_until"] == until
            assert row["conversion_difference_low"] == low

    def test_the_lift_waits_for_a_day_that_the_export_lacks(self, weeks):
        """As the week's other figures: who bought on that day is in neither group.
        Figures of the later week are of both, and wait as well. Defect: that was final,
        and said that contacting helped."""
        before, after = (
            [(row["status"], row["treated_conversions"]) for row in rows[1:]]
            for rows in weeks[1:]
        )

        assert before == [("provisional", 12), ("provisional", 13)]
        assert after == [("final", 13), ("final", 14)]


def test_players_whose_label_is_not_known_are_in_no_group(borrow_deployment):
    """Of players the labels are those that came with their registration."""
    deployment = borrow_deployment(dataset="")
    registered = datetime.combine(MONDAY - 5 * DAY, time(), UTC)
    registrations = [
        registration(user_id=user, label=label, event_time=registered.isoformat())
        for user, label in (("t0", 1), ("t1", 0), ("t2", None), ("c0", 1))
    ]
    deployment.store(rows_of(registrations, received_at=registered))
    join(deployment, MONDAY, TREATED, HELD_OUT, use_case="first_day_churn")
    use_case = usecases.load("first_day_churn")

    rows = deployment.warehouse.rows(
        use_case.statement("audience_outcomes"),
        use_case.window(deployment.settings, [MONDAY], today=MONDAY + WEEK)
        | {"use_case": use_case.name},
    )

    groups = {row["is_control"]: (row["users"], row["conversions"]) for row in rows}
    assert groups == {False: (2, 1), True: (1, 1)}
    assert {row["revenue"] for row in rows} == {None}


def test_a_run_of_an_older_date_leaves_final_rows(monday, converters, monkeypatch):
    """Defect: what it had read before late rows came took the place of the final
    figures that a run of a newer date, with a lease of its own, had written meanwhile;
    and its page that of theirs."""
    users = sorted(converters)
    final = []
    write = Warehouse.write
    join(monday, MONDAY, users[:10], users[10:20])

    def published() -> list[Any]:
        return [*monday.evaluations(), *lifts(monday), monday.read(PAGE)]

    def written(self: Any, to: Any, rows: Any) -> None:
        if to is EVALUATION and not final:
            final.append(None)
            shop.load(monday, [purchase("u3", MONDAY + 2 * DAY)])
            monday.run("model_evaluation", MONDAY + 2 * WEEK)
            final[:] = published()
        write(self, to, rows)

    monkeypatch.setattr(Warehouse, "write", written)
    answer = monday.run("model_evaluation", MONDAY + WEEK)

    assert [week["status"] for week in answer["weeks"]] == ["provisional"]
    assert final[0]["status"] == "final"
    assert published() == final
