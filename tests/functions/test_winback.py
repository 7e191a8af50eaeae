"""
A win-back of customers who were away for three months, from the files of the pages to
the ledger, with the buyers who were expected and those who came.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pytest

from propensity.measures.intervals import rate_interval
from tests.docs.pages import blocks
from tests.functions.conftest import MONDAY
from tests.support import own_use_cases
from tests.support.deployment import Deployment
from tests.support.shop import DAY, WEEK, purchase

[DECLARING] = blocks("docs/audiences.md", "bash")
[THREE_MONTHS] = [
    sql for sql in blocks("docs/audiences-reference.md", "sql") if "ga_user_days" in sql
]
WEEKS = 30
# Whether a customer buys in a week, which is on Wednesday: many do so rarely.
CHANCES = [0.25] * 150 + [0.04] * 900


@dataclass(frozen=True)
class Winback:
    """
    What was sent on Monday, and evaluated after its week.

    Attributes:
        days: On which each customer bought, the last week included.
    """

    deployment: Deployment
    days: dict[str, list[date]]
    members: list[dict[str, Any]]

    def bought(self, user: str) -> bool:
        """Say whether a customer bought in the week from Monday on."""
        return self.days[user][-1] >= MONDAY


def customers() -> dict[str, list[date]]:
    """Return the days on which each customer bought, the oldest first."""
    generator = np.random.default_rng(11)
    days: dict[str, list[date]] = {}
    for week in range(-WEEKS, 1):
        wednesday = MONDAY + week * WEEK + 2 * DAY
        for number in np.flatnonzero(generator.random(len(CHANCES)) < CHANCES):
            days.setdefault(f"user.{number}", []).append(wednesday)
    return days


@pytest.fixture(scope="module")
def winback(borrow_module_deployment, tmp_path_factory) -> Iterator[Winback]:
    days = customers()
    rows = [purchase(user, day, 20.0) for user, each in days.items() for day in each]
    with own_use_cases.in_folder(tmp_path_factory.mktemp("own")) as folder:
        subprocess.run(["bash", "-ec", DECLARING], check=True)
        audiences = folder / "ga4_purchase" / "audiences"
        (audiences / "winback.sql").write_text(THREE_MONTHS)
        deployment = borrow_module_deployment(rows)
        deployment.run("model_training", MONDAY)
        deployment.run("predictions", MONDAY)
        assert deployment.command("audience", "send", "winback") == 0
        deployment.run("model_evaluation", MONDAY + 2 * WEEK)
        members = deployment.rows("SELECT * FROM ma_audience_members")
        yield Winback(deployment, days, members)


def test_members_are_all_customers_who_were_away_for_three_months(winback, capfd):
    """A preview says how many they are, and the ledger counts those contacted."""
    away = set()
    for user, days in winback.days.items():
        before = [day for day in days if day < MONDAY]
        if before and before[-1] < MONDAY - 90 * DAY:
            away.add(user)
    contacted = {row["user_id"] for row in winback.members if not row["is_control"]}
    printed = {}
    for word in ("preview", "ledger"):
        assert winback.deployment.command("audience", word, "winback") == 0
        printed[word] = capfd.readouterr().out

    assert {row["user_id"] for row in winback.members} == away
    assert len(away) > len(contacted) > 100
    assert f"only {len(away)} users are in winback.sql" in printed["preview"]
    assert f"Contacting {len(contacted)} users brought" in printed["ledger"]
    assert re.search(rf"csv +{len(contacted)} +0 +0 +0 ", printed["ledger"])


def test_as_many_of_them_buy_as_were_expected(winback):
    """Nobody was contacted in truth: groups differ by chance, and all are counted."""
    [row] = winback.deployment.rows("SELECT * FROM ma_audience_lift")
    expected = sum(member["probability"] for member in winback.members)
    actual = sum(winback.bought(member["user_id"]) for member in winback.members)
    low, high = rate_interval(actual, len(winback.members))

    assert row["treated_users"] + row["control_users"] == len(winback.members)
    assert row["treated_conversions"] + row["control_conversions"] == actual > 0
    assert low < expected / len(winback.members) < high


def test_as_many_of_each_kind_buy_as_were_expected(winback):
    """The week is evaluated for active users, and for those who were away."""
    [week] = [row for row in winback.deployment.evaluations() if row["week"] == MONDAY]
    kinds = [row for row in week["categories"] if row["category"] == "presence"]

    assert [kind["value"] for kind in kinds] == ["active", "away"]
    assert kinds[1]["users"] > len(winback.members)
    for kind in kinds:
        low, high = rate_interval(kind["conversions"], kind["users"])
        assert low < kind["mean_probability"] < high
