"""Audiences by money, and their plan, specified on published probabilities."""

from __future__ import annotations

import json

import pytest

from local.receiver import Receiver
from propensity.audience import run
from propensity.audience.delivery import account
from propensity.errors import RequestError
from propensity.registry.deployment import open_deployment
from propensity.tables.audiences import AUDIENCE_LIFT
from tests.offline.audience.conftest import (
    MONDAY,
    USERS,
    WEEK,
    act,
    members_of,
    send,
    winback,
)
from tests.support.rows import publish

PROBABILITIES = {f"u{n:03}": (n + 1) / 400 for n in range(USERS)}
# Users who buy the least often pay the most.
VALUES = {f"u{n:03}": float(USERS - n) for n in range(USERS)}
MONEY = {"order": "expected_value", "cost_per_contact": 1.9, "margin": 0.5}


@pytest.fixture
def shop(deployment):
    """The deployment with expected values of all users."""
    publish(deployment.warehouse, MONDAY, PROBABILITIES, values=VALUES)
    return deployment


def preview(deployment, **changed):
    return act(deployment, run.preview, winback(**changed))


class TestByMoney:
    def test_those_of_whom_most_is_expected_are_members(self, shop):
        send(shop, top=10, control="0%", order="expected_value")

        assert members_of(shop, is_control=False) == {f"u{n:03}" for n in range(10)}

    def test_a_threshold_is_a_probability_anyway(self, shop):
        send(shop, threshold=0.475, control="0%", order="expected_value")

        assert members_of(shop, is_control=False) == {
            f"u{n}" for n in range(189, USERS)
        }

    def test_an_order_by_money_needs_expected_values(self, deployment):
        with pytest.raises(RequestError, match="publishes no expected_value"):
            send(deployment, order="expected_value")

    def test_what_is_published_of_a_user_can_be_sent(self, shop, crm):
        """By a delivery that goes on as well: the request stays the same."""
        with Receiver(unavailable=1.0) as away:
            folder = crm(away)
            file = folder / "destinations" / "crm.toml"
            more = 'rank = "{percentile}"\nworth = "{decile_value}"\np ='
            file.write_text(file.read_text().replace("p =", more))
            assert send(shop, folder, top=1, control="0%")["failure"]
        with Receiver() as receiver:
            file.write_text(file.read_text().replace(away.url, receiver.url))
            send(shop, folder, top=1, control="0%")
        [body] = receiver.bodies.values()
        mean = round(sum(VALUES.values()) / len(VALUES), 2)

        assert json.loads(body)["users"] == [
            {"id": "u199", "p": 0.5, "rank": 100, "worth": mean}
        ]


class TestPlan:
    def test_a_plan_has_what_each_tenth_of_the_users_may_bring(self, shop):
        first, *_, last = preview(shop, **MONEY)["deciles"]

        assert (first["users"], first["cost"], first["value"]) == (20, 38, 3_810)
        assert first["pays_from"] == pytest.approx(38 / (0.5 * 3_810))
        assert last["pays_from"] > first["pays_from"]
        assert first["conversions"] < last["conversions"]

    def test_a_plan_is_stored_with_the_members_as_it_was_shown(self, shop):
        shown = preview(shop, **MONEY)
        send(shop, **MONEY)
        send(shop, **MONEY)
        [stored] = shop.rows("SELECT * FROM ma_audience_plans")

        assert (stored["audience"], stored["as_of"]) == ("winback", MONDAY)
        assert stored["deciles"] == shown["deciles"]
        assert stored["power"] == shown["power"]

    def test_a_plan_says_what_the_weeks_to_come_can_show(self, deployment):
        """New members are those of earlier weeks: here ten a week of the hundred."""
        best = {f"u{n:03}": PROBABILITIES[f"u{n:03}"] for n in range(100, USERS)}
        for back in range(1, 5):
            others = {f"w{back}-{n}": 0.4 for n in range(10)}
            users = dict(list(best.items())[: 90 if back == 4 else 100]) | others
            publish(deployment.warehouse, MONDAY - back * WEEK, users)
        plan = preview(deployment, top=100, control="20%", effect=0.5)

        assert plan["new_members_a_week"] == pytest.approx(10, abs=3)
        assert [week["weeks"] for week in plan["power"]] == [1, 4, 13, 52]
        assert plan["power"][0]["members"] == 100

    @pytest.mark.parametrize("top", [100, 20], ids=["distinct", "tied"])
    def test_who_was_among_the_best_before_is_no_new_member(self, deployment, top):
        """
        Defect: new members were counted by the lowest score of today's members, which
        fewer reached in the weeks before where the season had raised all scores since.
        """
        users = PROBABILITIES | {f"u{n:03}": 0.45 for n in range(150, USERS)}
        publish(deployment.warehouse, MONDAY, users)
        for back in range(1, 5):
            lower = {user: chance * 0.8 for user, chance in users.items()}
            publish(deployment.warehouse, MONDAY - back * WEEK, lower)
        plan = preview(deployment, top=top)

        assert plan["new_members_a_week"] == 0

    def test_by_a_threshold_who_reaches_it_now_is_a_new_member(self, deployment):
        lower = {user: chance * 0.8 for user, chance in PROBABILITIES.items()}
        publish(deployment.warehouse, MONDAY - WEEK, lower)
        plan = preview(deployment, top=None, threshold=0.38)

        assert (plan["power"][0]["members"], plan["new_members_a_week"]) == (49, 38)


def test_the_ledger_says_what_contacting_brought(shop):
    """With the cost of the newest plan, and users of all dates once."""
    send(shop, **MONEY)
    row = {"use_case": "ga4_purchase", "audience": "winback", "status": "final"}
    users = {"treated_users": 100, "control_users": 50, "verdict": "helps"}
    money = {
        "revenue_difference": 10.0,
        "revenue_difference_low": 5.0,
        "revenue_difference_high": 15.0,
    }
    shop.append(AUDIENCE_LIFT, {**row, **users, **money, "week": MONDAY})
    with open_deployment() as opened_run:
        found = account(opened_run, "winback")

    assert found["brought"]["profit"] == 310
    assert found["says"] == (
        "Contacting 100 users brought 1,000 USD more than not contacting them (95% "
        "interval 500 to 1,500); it cost 190 USD (first contacts at 1.90). At a margin "
        "of 50%, that is a profit of 310 USD (95% interval 60 to 560)."
    )


def test_a_receiver_that_only_takes_is_not_asked_to_validate(deployment):
    with pytest.raises(RequestError, match="cannot check"):
        act(deployment, run.preview, winback(), validate=True)

    send(deployment)
    with pytest.raises(RequestError, match="cannot check"):
        act(deployment, run.preview, winback(), validate=True)
