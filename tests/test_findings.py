"""Each finding says what it means for Monday's list, and who does what by when."""

from __future__ import annotations

from datetime import date

import pytest

from deploy import alerts, configuration
from offline.dashboard.cases import Case, Facts
from offline.doctor.checks import Finding
from offline.doctor.run import CHECKS, Report
from propensity.findings import PAGE, meanings
from tests.deploy.conftest import SETTINGS

DEPLOYMENT = configuration.of(SETTINGS)
POLICIES = list(alerts.policies(DEPLOYMENT))
# What the doctor finds before its checks, and what one of them finds of its own.
BEFORE = ("settings", "processes", "use cases", "ended")
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
    lift = dict.fromkeys(("conversion_lift", "revenue_difference"))
    lift |= {"audience": "winback", "week": DAY, "week_end": DAY, "status": "final"}
    lift |= {"treated_users": 9, "control_users": 9, "planned_until": None}
    lift |= {"control_conversions": None}
    drift = {"as_of": DAY, "is_alarm": True, "psi": 0.6, "bound": 0.2, "message": "m"}
    rows = {
        "publications": [{"as_of": DAY}],
        "deliveries": [{"audience": "winback", "as_of": DAY, "pending": 3}],
        "drift": [drift],
        "evaluations": [FAR_OFF],
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

    assert found == ON_THE_DASHBOARD


# A week in which twice as many bought as expected, and paid twice as much.
FAR_OFF = {
    **dict.fromkeys(("recall_at_budget", "alerted", "alerted_conversions")),
    "week": DAY, "week_end": DAY, "prediction_as_of": DAY, "status": "final",
    "outcome": "evaluated", "users": 900, "conversions": 180, "base_rate": 0.2,
    "mean_probability": 0.1, "residual_log_odds": 0.8, "residual_standard_error": 0.1,
    "value_promised": 1_000.0, "value_observed": 2_000.0,
    "value_error": -0.5, "value_error_low": -0.6, "value_error_high": -0.4,
}  # fmt: skip
IN_A_MESSAGE = {
    "audience_not_sent",
    "drift",
    "events_refused",
    "harms",
    "lost_users",
    "pending",
    "rejected",
    "run_missed_predictions",
    "stopped",
}
ON_THE_DASHBOARD = {
    "damaged",
    "drift",
    "harms",
    "lost_users",
    "no_model",
    "pending",
    "run_missed_model_evaluation",
    "run_missed_predictions",
    "season",
    "value",
}
# What pages say beside the actions (tests/offline/dashboard/test_pages.py).
BESIDE = {"apart", "beyond_chance", "events_refused"}


def test_the_table_has_what_is_said_and_no_more():
    """Each of these words is drawn by a test of what says it."""
    said = {policy.alert for policy in POLICIES}
    said.update(check.replace(" ", "_") for check in [*CHECKS, *BEFORE])

    assert said | IN_A_MESSAGE | ON_THE_DASHBOARD | BESIDE == set(meanings())
    for meaning in meanings().values():
        assert meaning.monday.endswith(".")
        assert not meaning.by.endswith(".")
