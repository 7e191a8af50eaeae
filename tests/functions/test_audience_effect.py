"""
An audience ordered by effect, from its first date to an open gate: 00 looks, 01 gives
users their effects, an audience is put in order.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from propensity.audience import control, run
from propensity.audience.declared import load
from propensity.errors import UseCaseError
from propensity.gcp import secrets
from propensity.registry.deployment import open_deployment
from propensity.tables.audiences import AUDIENCE_EFFECTS
from tests.functions.audiences import by_hand, declare, file_of
from tests.functions.conftest import MONDAY
from tests.support import shop
from tests.support.deployment import Deployment, entered
from tests.support.rows import publish
from tests.support.shop import DAY, event, purchase
from tests.support.shops import LATER

VISITORS = 1_300
# Everybody visits this shop, and buys, on Wednesdays.
SENT = MONDAY + 28 * DAY
VISITED = SENT - 5 * DAY
BOUGHT = SENT + 2 * DAY
WINBACK = 'destination = "bucket"\ntop = 1200\ncontrol = "30%"\norder = "effect"\n'
EXPLORED = WINBACK + 'explore = "5%"\n'
# Who visits by phone buys if contacted; who visits by computer buys anyway.
UNDECIDED = {"mobile": (0.05, 0.45), "desktop": (0.25, 0.25)}


def device_of(user: str) -> str:
    return "mobile" if int(user.split(".")[1]) % 2 else "desktop"


def visits() -> list[shop.Row]:
    """Visits of the first audience's users, and of others before the second one."""
    rows = []
    for number in range(VISITORS):
        for kind, day in (("v", VISITED), ("w", LATER - 5 * DAY)):
            user = f"{kind}.{number:04}"
            rows.append(event(user, day, device={"category": device_of(user)}))
    return rows


def bought(members, rates) -> list[shop.Row]:
    """What members buy, by their device and by whether they were contacted."""
    random = np.random.default_rng(5)
    rows = []
    for member in sorted(members, key=lambda member: member["user_id"]):
        user = member["user_id"]
        if user.startswith("v."):
            anyway, contacted = rates[device_of(user)]
            if random.random() < (anyway if member["is_control"] else contacted):
                rows.append(purchase(user, BOUGHT, 10.0))
    return rows


def preview(site: Deployment, day: date) -> dict:
    with entered(site.environment), open_deployment("ga4_purchase") as deployment:
        named = load(deployment.use_case, "winback")
        secret = secrets.reader(site.settings)
        return dict(run.preview(deployment, named, secret, until=day))


def played(borrow, rows: list[shop.Row], folder: Path, rates) -> Deployment:
    """A shop whose audience was sent once, up to the training that looks at it."""
    every = rows + visits()
    site = borrow(every, champion=True, PROPENSITY_USE_CASES=str(folder))
    site.run("predictions", SENT)
    # The same users are in the control group each time, or the gate opens by luck.
    site.artifacts.create(control.KEY, json.dumps({"key": 32 * "5e"}).encode())
    file_of(site, "").mkdir(parents=True)
    declare(site, "winback", EXPLORED)
    site.first = preview(site, SENT)
    by_hand(site, SENT)
    members = site.rows("SELECT user_id, is_control FROM ma_audience_members")
    shop.load(site, every + bought(members, rates))
    site.run("model_training", LATER)
    site.run("predictions", LATER, force=True)
    return site


@pytest.fixture(scope="module")
def undecided(borrow_deployment, shop_rows, tmp_path_factory) -> Deployment:
    """A shop in which the undecided react."""
    folder = tmp_path_factory.mktemp("undecided")
    return played(borrow_deployment, shop_rows, folder, UNDECIDED)


@pytest.mark.long
class TestOpen:
    def test_a_first_date_is_by_probability_and_says_so(self, undecided):
        assert undecided.first["used_order"] == "probability"
        assert "not yet by effect" in undecided.first["selection"]
        assert "not looked at yet" in undecided.first["order_reason"]

    def test_users_who_react_are_contacted_and_the_plan_says_what_it_adds(
        self, undecided
    ):
        declare(undecided, "winback", EXPLORED.replace("1200", "400"))
        later = "SELECT user_id FROM publication WHERE NOT STARTS_WITH(user_id, 'v')"
        file_of(undecided, "winback.sql").write_text(later)
        plan = preview(undecided, LATER)
        by_hand(undecided, LATER)
        members = undecided.rows(
            "SELECT user_id, is_explored, is_control, effect FROM ma_audience_members "
            "WHERE as_of = @day AND NOT STARTS_WITH(user_id, 'user')",
            day=LATER,
        )

        chosen = [row for row in members if not row["is_explored"]]
        phones = [row for row in chosen if device_of(row["user_id"]) == "mobile"]
        contacted = [row for row in phones if not row["is_control"]]
        assert plan["used_order"] == "effect"
        assert len(phones) > 0.9 * len(chosen)
        assert min(row["effect"] for row in chosen) >= 0
        # Each of them buys 40 points more often.
        assert plan["added_conversions"] == pytest.approx(0.4 * len(contacted), rel=0.4)


# Users whose effects tests write themselves: the likeliest to buy react least.
USERS = {f"u{n:03}": (n + 1) / 400 for n in range(200)}
ADDED = {user: 0.1 - probability / 2 for user, probability in USERS.items()}
AMOUNT = 20.0


def open_gate(site: Deployment, **more: Any) -> None:
    """Have the gate of the audience be open."""
    look = {
        "use_case": "ga4_purchase",
        "audience": "winback",
        "as_of": SENT,
        "looked_at": datetime(2026, 3, 30, tzinfo=UTC),
        "users": 9_000,
        "control_users": 900,
        "is_open": True,
        "reason": "by the test",
    }
    site.append(AUDIENCE_EFFECTS, look | more)


@pytest.fixture
def site(borrow_deployment, tmp_path) -> Deployment:
    """A deployment whose gate is open, and whose users have effects."""
    site = borrow_deployment(PROPENSITY_USE_CASES=str(tmp_path))
    file_of(site, "").mkdir(parents=True)
    open_gate(site)
    values = {user: round(AMOUNT * USERS[user], 4) for user in USERS}
    publish(site.warehouse, SENT, USERS, values=values, effects={"winback": ADDED})
    return site


def members_of(site: Deployment, day: date) -> dict[str, dict]:
    by_hand(site, day)
    rows = site.rows("SELECT * FROM ma_audience_members WHERE as_of = @day", day=day)
    return {row["user_id"]: row for row in rows}


@pytest.mark.parametrize(
    ("money", "least"),
    [("", 0), ("cost_per_contact = 0.5\nmargin = 0.5\n", 0.5 / (0.5 * AMOUNT))],
    ids=["buys less", "brings less than a contact costs"],
)
def test_who_is_better_left_alone_is_no_member(site, money, least):
    declare(site, "winback", WINBACK + money)

    assert set(members_of(site, SENT)) == {u for u in USERS if ADDED[u] >= least}


def test_the_best_by_effect_are_chosen_and_the_plan_has_their_sum(site):
    declare(site, "winback", WINBACK.replace("1200", "30"))
    plan = preview(site, SENT)
    members = members_of(site, SENT)

    contacted = [user for user, row in members.items() if not row["is_control"]]
    added = sum(ADDED[user] for user in contacted)
    assert set(members) == set(sorted(USERS)[:30])
    assert plan["added_conversions"] == pytest.approx(added)
    assert plan["added_value"] == pytest.approx(AMOUNT * added)


def test_members_are_explored_at_random_and_the_same_the_next_week(site):
    """Some of them react badly, and are in the control group as others are."""
    explored = EXPLORED.replace("1200", "40").replace("30%", "50%")
    explored = explored.replace("5%", "50%")
    declare(site, "winback", explored)
    publish(site.warehouse, SENT + 7 * DAY, USERS, effects={"winback": ADDED})
    weeks = [members_of(site, day) for day in (SENT, SENT + 7 * DAY)]

    first, second = (
        {user: row["is_control"] for user, row in week.items() if row["is_explored"]}
        for week in weeks
    )
    assert [len(week) for week in weeks] == [40, 40]
    # A draw, of about 20.
    assert 5 < len(first) < 36
    assert first == second
    assert min(ADDED[user] for user in first) < 0
    assert set(first.values()) == {True, False}


def test_predictions_without_effects_are_ordered_by_probability(site):
    """The gate opened after they were published."""
    declare(site, "winback", WINBACK.replace("1200", "30"))
    publish(site.warehouse, SENT + 7 * DAY, USERS)
    plan = preview(site, SENT + 7 * DAY)

    assert set(members_of(site, SENT + 7 * DAY)) == set(sorted(USERS)[-30:])
    assert plan["order_reason"].endswith("from the next predictions on")


def test_an_order_by_effect_needs_a_control_group(site):
    declare(site, "winback", WINBACK.replace("30%", "0%"))

    with pytest.raises(UseCaseError, match="needs a control group"):
        preview(site, SENT)


def test_a_model_of_other_bytes_is_not_unpickled(borrow_deployment, log_lines):
    """Its audience is ordered by probability, and the log says why."""
    site = borrow_deployment(champion=True)
    site.artifacts.create("effects/model", b"whatever")
    open_gate(site, model_object="effects/model", model_sha256="0" * 64)
    site.run("predictions", LATER)
    effects = site.rows("SELECT effects FROM ma_predictions_history")

    warned = [line["message"] for line in log_lines() if "audience" in line]
    assert {len(row["effects"]) for row in effects} == {0}
    assert "has changed since it was recorded" in warned[0]
