"""Each finding says what it means for Monday's list, and who does what by when."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from deploy import alerts, configuration
from offline.dashboard.cases import Case, Facts
from offline.doctor.checks import Finding
from offline.doctor.run import CHECKS, Report
from propensity.findings import PAGE, meanings
from tests.deploy.conftest import SETTINGS

ROOT = Path(__file__).parent.parent
DEPLOYMENT = configuration.of(SETTINGS)
POLICIES = list(alerts.policies(DEPLOYMENT))
# What the doctor finds before its checks.
BEFORE = ("settings", "processes", "use cases")
SAYING = ("propensity/runs/message.py", "offline/dashboard")
DAY = date(2026, 3, 3)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_a_mail_says_what_an_alert_means(policy):
    meaning = meanings()[policy.alert]
    text = alerts.text_of(policy, DEPLOYMENT)

    assert f"{meaning.monday} {meaning.todo}" in text
    assert PAGE in text


@pytest.mark.parametrize("check", [*CHECKS, *BEFORE])
def test_the_doctor_says_what_a_finding_means(check):
    finding = Finding("something is wrong", "correct it", check=check)
    said = str(Report("p.propensity", "today", [check], [finding]))
    meaning = meanings()[check.replace(" ", "_")]

    assert f"{meaning.monday} {meaning.todo}" in said
    assert PAGE in said


def test_the_dashboard_says_what_an_action_means():
    """Of a deployment in which everything is wrong."""
    week = {"week": DAY, "week_end": DAY, "users": 900, "status": "final"}
    lift = {"audience": "winback", "week": DAY, "week_end": DAY, "status": "final"}
    lift |= {"treated_users": 9, "control_users": 9, "planned_until": None}
    for column in ("conversion_lift", "revenue_difference", "control_conversions"):
        lift[column] = None
    rows = {
        "publications": [{"as_of": DAY}],
        "deliveries": [{"audience": "winback", "as_of": DAY, "pending": 3}],
        "drift": [
            {"as_of": DAY, "is_alarm": True, "psi": 0.6, "bound": 0.2, "message": "m"}
        ],
        "evaluations": [{**week, "outcome": "evaluated", **dict.fromkeys(ODD)}],
        "versions": [],
        "plans": [],
    }
    found = set()
    for verdict, facts in (
        ("harms", Facts(title="Shop", outcome="buy")),
        ("sample_ratio", Facts(title="Shop", outcome="buy", damage="a file is wrong")),
    ):
        shown = {**rows, "lift": [{**lift, "verdict": verdict}]}
        for day in (DAY, date(2026, 3, 30)):
            case = Case(name="shop", as_of=day, facts=facts, rows=shown)
            found.update(action.word for action in case.actions)
            for action in case.actions:
                assert str(action.meaning).endswith(f"{action.meaning.by}.")

    assert found >= {
        "damaged",
        "no_model",
        "drift",
        "run_missed_model_evaluation",
        "run_missed_predictions",
        "pending",
        "harms",
        "lost_users",
    }


ODD = ("recall_at_budget", "alerted", "alerted_conversions", "value_observed")
ODD += ("value_promised", "conversions")


def test_the_table_has_what_is_said_and_no_more():
    said = {policy.alert for policy in POLICIES}
    said.update(check.replace(" ", "_") for check in [*CHECKS, *BEFORE])
    texts = []
    for place in SAYING:
        path = ROOT / place
        files = [path] if path.is_file() else sorted(path.rglob("*.*"))
        texts += [file.read_text("utf-8") for file in files if file.suffix != ".pyc"]
    text = "\n".join(texts)
    unused = [
        word for word in meanings() if word not in said and f'"{word}"' not in text
    ]

    assert unused == []
    for meaning in meanings().values():
        assert meaning.monday.endswith(".")
        assert not meaning.by.endswith(".")
