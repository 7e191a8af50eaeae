"""Alerts, specified by the mails that are sent of lines that functions write."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy import alerts, configuration, functions
from deploy.functions import ROOT
from propensity import usecases
from tests.deploy.conftest import SETTINGS
from tests.deploy.monitoring import Entry, Mail, entry, mails

SHOP = "ga4_purchase"
VALUE = "ga4_value"
DEPLOYMENT = configuration.of({**SETTINGS, "DEPLOY_USE_CASES": f"{SHOP} {VALUE}"})
POLICIES = alerts.in_terraform(DEPLOYMENT)["policies"]
AT = datetime(2026, 3, 2, 17, tzinfo=UTC)
CLOCK = {"type": "cloud_scheduler_job"}
JOB = {"type": "cloud_run_job"}
TRAINING = "propensity-training-job-ga4-purchase"


def line(function: str, outcome: str = "ok", **fields: Any) -> dict[str, Any]:
    """Return a line as functions write it."""
    return {
        "severity": "ERROR",
        "function": function,
        "use_case": SHOP,
        "outcome": outcome,
        "message": "what is wrong",
        "status": 200,
        **fields,
    }


def sent(*entries: Entry, apart: timedelta = timedelta(minutes=2)) -> list[Mail]:
    """Return the mails of entries that come one after the other."""
    return mails(
        POLICIES, [(AT + number * apart, each) for number, each in enumerate(entries)]
    )


def of_line(function: str, outcome: str = "ok", **fields: Any) -> list[str]:
    """Return the names of the policies that a line raises."""
    return [mail.policy for mail in sent(entry(line(function, outcome, **fields)))]


@pytest.mark.parametrize(
    ("function", "fields", "alert"),
    [
        ("modelTraining", {"outcome": "schema", "status": 409}, "run_failed"),
        ("overview", {"outcome": "settings", "status": 500}, "run_failed"),
        ("audiences", {"outcome": "audience_stopped"}, "audience_not_sent"),
        ("predictions", {"bytes_billed": 10**12}, "bytes_billed_run"),
        ("predictions", {"evaluation_missing": True}, "evaluation_missing"),
        ("predictions", {"champion_age_days": 46}, "champion_age"),
        ("modelEvaluation", {"roc_auc": 0.59}, "roc_auc"),
        ("getProba", {"outcome": "no_index"}, "no_index"),
        ("compactFeatures", {"training_age_days": 32}, "run_missed_model_training"),
        ("compactFeatures", {"publication_age_days": 8}, "run_missed_predictions"),
        ("compactFeatures", {"evaluation_age_days": 8}, "run_missed_model_evaluation"),
        ("compactFeatures", {"audience_age_days": 2}, "run_missed_audiences"),
    ],
)
def test_an_alert_is_of_one_use_case(function, fields, alert):
    """Defect: all use cases shared a policy, and only the first to fail was mailed."""
    assert of_line(function, **fields) == [f"{alert}_{SHOP}"]
    assert of_line(function, use_case=VALUE, **fields) == [f"{alert}_{VALUE}"]


@pytest.mark.parametrize(
    ("function", "fields", "alert"),
    [
        ("modelTraining", {"outcome": "bad_request", "status": 400}, "run_failed"),
        ("modelEvaluation", {"roc_auc": 0.59}, "roc_auc"),
        ("scoreStream", {"reasons": {"unknown_type": 2}}, "events_refused"),
        ("overview", {"outcome": "message_not_sent"}, "message_not_sent"),
    ],
)
@pytest.mark.parametrize("use_case", [None, "card_fraud"])
def test_a_line_of_no_scheduled_use_case_raises_an_alert_too(
    function, fields, alert, use_case
):
    assert of_line(function, use_case=use_case, **fields) == [alert]


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        ("predictions", {"outcome": "export_late", "status": 503}),
        ("modelTraining", {"outcome": "run_in_progress", "status": 409}),
        ("audiences", {"outcome": "audience_waits", "status": 503}),
        (
            "predictions",
            {"outcome": "no_champion", "status": 409, "is_trained": False},
        ),
        ("getProba", {"outcome": "no_index", "message": "no index has been published"}),
        ("getProba", {"outcome": "bad_request", "status": 400}),
        ("predictions", {"evaluation_missing": False, "champion_age_days": 45}),
        ("modelEvaluation", {"roc_auc": 0.6}),
        ("compactFeatures", {"publication_age_days": 7, "audience_age_days": 1}),
    ],
)
def test_nobody_is_mailed_for_what_is_expected(function, fields):
    """An export that comes later, a run under way, a use case before its first
    training."""
    message = fields.get("message")
    if message:
        fields = {**fields, "message": f"{message} yet"}
    assert of_line(function, **fields) == []


@pytest.mark.parametrize(
    ("resource", "fields", "policies"),
    [
        (
            {**CLOCK, "labels": {"job_id": "propensity-predictions-ga4-purchase"}},
            {"httpRequest": {"status": 500}},
            [f"run_failed_{SHOP}"],
        ),
        (
            {**CLOCK, "labels": {"job_id": "propensity-predictions-ga4-purchase"}},
            {"httpRequest": {"status": 503}},
            [],
        ),
        (
            {**CLOCK, "labels": {"job_id": "propensity-compact-features"}},
            {"httpRequest": {"status": 504}},
            ["run_failed"],
        ),
        ({**JOB, "labels": {"job_name": TRAINING}}, {}, [f"run_failed_{SHOP}"]),
        (
            {
                "type": "cloud_run_revision",
                "labels": {"service_name": "propensity-model-training"},
            },
            {"log_id": "run.googleapis.com/varlog/system"},
            ["run_failed"],
        ),
        ({**JOB, "labels": {"job_name": "somebody-elses"}}, {}, []),
    ],
)
def test_a_run_that_was_killed_is_told_of(resource, fields, policies):
    """It writes no line: the scheduler, the job or the platform does."""
    logged = {"resource": resource, "severity": "ERROR", **fields}
    assert [mail.policy for mail in sent(logged)] == policies


def test_a_second_failure_of_an_hour_is_mailed():
    """Of a use case five minutes apart; the same line again is told once a day."""
    failed = entry(line("modelTraining", "schema", status=409))
    old = entry(line("predictions", champion_age_days=60))
    apart = timedelta(minutes=6)

    assert len(sent(failed, failed, apart=apart)) == 2
    assert len(sent(old, old, apart=apart)) == 1


@pytest.mark.parametrize(("days", "most"), [("MON", 7), ("MON,THU", 4), ("daily", 1)])
def test_predictions_are_missed_when_the_next_ones_were_due(days, most):
    """Defect: with daily ones a mail came after eight days."""
    d = configuration.of({**SETTINGS, "DEPLOY_PREDICTION_DAYS": days})
    policies = alerts.in_terraform(d)["policies"]
    told = []
    for age in (most, most + 1):
        late = entry(line("compactFeatures", publication_age_days=age))
        told.append(len(mails(policies, [(AT, late)])))

    assert told == [0, 1]


def test_a_mail_says_what_failed_and_what_to_do():
    """With names of the deployment, so that its commands can be typed."""
    wrong = line("predictions", "score_shift", status=409, message="scores moved")
    [mail] = sent(entry(wrong))
    late = line("compactFeatures", use_case=VALUE, evaluation_age_days=9)
    [missed] = sent(entry(late))

    assert mail.subject == "propensity: ga4_purchase: a run failed"
    for fact in ("predictions", SHOP, "score_shift", "scores moved"):
        assert f": {fact}\n" in mail.text
    assert "\ndeploy/call.sh predictions '{" in mail.text
    job = "run propensity-model-evaluation-ga4-value --location=us-central1"
    assert f"{job} --project=my-project" in missed.text


def test_every_mail_has_a_section_of_the_page_and_google_takes_it():
    """A link of the page is the name of a page: nobody can follow it in a mail."""
    assert len(POLICIES) > 30
    for policy in POLICIES.values():
        assert "](" not in policy["text"]
        # Google's limits.
        assert len(policy["text"].encode()) < 8_000
        assert len(policy["subject"]) < 255
        assert len(policy["link"]) < 2_000


def test_runs_are_missed_where_the_compaction_looks_for_them():
    few = {**SETTINGS, "DEPLOY_FUNCTIONS": "predictions get_proba"}
    made = alerts.in_terraform(configuration.of(few))

    assert not any("run_missed" in name for name in made["policies"])


def test_a_run_that_is_never_called_is_not_missed():
    """The clock calls no predictions for a use case that scores events."""
    d = configuration.of({**SETTINGS, "DEPLOY_USE_CASES": "card_fraud"})
    names = alerts.in_terraform(d)["policies"]

    assert usecases.load("card_fraud").scores_events
    assert "run_missed_model_training_card_fraud" in names
    assert "run_missed_predictions_card_fraud" not in names


def test_alerts_read_what_is_logged():
    """Each field is a word that the code writes."""
    files = [*(ROOT / "propensity").rglob("*.py"), *ROOT.glob("0*/*.py")]
    code = "\n".join(file.read_text() for file in files)
    asked = "\n".join(policy.get("log", "") for policy in POLICIES.values())
    words = {*re.findall(r"jsonPayload\.(\w+)", asked)}

    assert len(words) > 10
    for word in words:
        assert re.search(rf'["\s(]{word}["=]', code), word


def test_a_failed_run_of_every_scheduled_function_is_noticed():
    for function in functions.load():
        if function.schedule:
            name = alerts.camel(function.target)
            assert of_line(name, "internal", status=500) == [f"run_failed_{SHOP}"]
