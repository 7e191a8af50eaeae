"""Alerts, specified by the lines that raise them, and by what their mails say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deploy import alerts, configuration, functions
from deploy.functions import ROOT
from propensity.errors import PropensityError
from tests.deploy.conftest import SETTINGS
from tests.deploy.monitoring import are_met, raised

SHOP = "ga4_purchase"
VALUE = "ga4_value"
DEPLOYMENT = configuration.of({**SETTINGS, "DEPLOY_USE_CASES": f"{SHOP} {VALUE}"})
EVERY = {policy.name: policy for policy in alerts.policies(DEPLOYMENT)}
POLICIES = alerts.in_terraform(DEPLOYMENT)["policies"]


def of_line(function: str, outcome: str = "ok", **fields: Any) -> list[str]:
    """Return the names of the policies that a line raises."""
    line = {
        "function": function,
        "use_case": SHOP,
        "outcome": outcome,
        "message": "what is wrong",
        "status": 200,
    }
    return sorted(raised(line | fields, DEPLOYMENT))


@pytest.mark.parametrize(
    ("function", "fields", "alert"),
    [
        ("modelTraining", {"outcome": "schema", "status": 409}, "run_failed"),
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
    """Google mails once for a policy: a shared one would tell of the first use case
    alone."""
    assert of_line(function, **fields) == [f"{alert}_{SHOP}"]
    assert of_line(function, use_case=VALUE, **fields) == [f"{alert}_{VALUE}"]


def test_a_line_of_no_scheduled_use_case_raises_an_alert_too():
    refused = {"outcome": "bad_request", "status": 400}
    for use_case in (None, "card_fraud"):
        failed = of_line("modelTraining", use_case=use_case, **refused)
        unknown = of_line("scoreStream", use_case=use_case, reasons={"unknown": 2})
        assert (failed, unknown) == (["run_failed"], ["events_refused"])


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        ("predictions", {"outcome": "export_late", "status": 503}),
        ("predictions", {"outcome": "digest_unfinished", "status": 503}),
        ("predictions", {"outcome": "conflict", "status": 409}),
        ("predictions", {"outcome": "unavailable", "status": 503, "waited_s": 4_300}),
        ("modelTraining", {"outcome": "quota_exceeded", "status": 503}),
        ("getProba", {"outcome": "index_kept"}),
        ("predictions", {"export_age_days": 2}),
        ("predictions", {"outcome": "no_champion", "status": 409, "is_trained": False}),
        (
            "getProba",
            {"outcome": "no_index", "message": "no index has been published yet"},
        ),
        ("getProba", {"outcome": "bad_request", "status": 400}),
        ("predictions", {"evaluation_missing": False, "champion_age_days": 45}),
        ("modelEvaluation", {"roc_auc": 0.6}),
        ("compactFeatures", {"publication_age_days": 7, "audience_age_days": 1}),
    ],
)
def test_nobody_is_mailed_for_what_is_expected(function, fields):
    """An export that comes later, a use case before its first training, a bound."""
    assert of_line(function, **fields) == []


@pytest.mark.parametrize("outcome", alerts.RETRIED)
@pytest.mark.parametrize(
    ("function", "last_s"),
    [
        ("modelTraining", 3 * 3_600),
        ("predictions", 600 + 1_200 + 2_400 + 3_600),
        ("audiences", 600 + 1_200 + 2_400 + 2 * 3_600),
        ("overview", 300 + 600 + 3 * 1_200),
    ],
)
def test_what_a_retry_may_mend_is_told_of_at_the_last_attempt(
    function, last_s, outcome
):
    """Cloud Scheduler says of no attempt which one it is, but since when it is due."""
    failed = {"outcome": outcome, "status": 503}
    assert of_line(function, waited_s=last_s - 1, **failed) == []
    assert of_line(function, waited_s=last_s, **failed) == [f"run_failed_{SHOP}"]


def test_every_error_that_a_retry_may_mend_has_its_alert():
    kinds = [PropensityError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    codes = {kind.code for kind in kinds if kind.retryable}

    assert codes == set(alerts.RETRIED + alerts.EXPECTED) - {"audience_stopped"}


def test_an_export_that_has_stopped_is_told_of_once():
    """Not for each use case that reads it."""
    told = set()
    for use_case in (SHOP, VALUE):
        told |= {*of_line("predictions", use_case=use_case, export_age_days=3)}

    assert told == {f"export_stopped_{SHOP}"}


@pytest.mark.parametrize(
    ("type_", "fields", "policies"),
    [
        ("cloud_scheduler_job", {"httpRequest.status": 500}, [f"run_failed_{SHOP}"]),
        ("cloud_scheduler_job", {"httpRequest.status": 503}, []),
        ("cloud_run_job", {}, [f"run_failed_{SHOP}"]),
        ("cloud_run_job", {"jsonPayload.outcome": "unavailable"}, []),
        (
            "cloud_run_job",
            {"resource.labels.job_name": "propensity-predictions-job-ga4-purchase"},
            ["run_failed_ga4_purchase"],
        ),
        ("cloud_run_revision", {}, []),
        (
            "cloud_run_revision",
            {"resource.labels.service_name": "propensity-overview"},
            ["run_failed"],
        ),
    ],
)
def test_a_run_that_was_killed_is_told_of(type_, fields, policies):
    """It writes no line: the scheduler, the job or the platform does. An attempt that
    is killed is repeated, and if none is done, the age of the newest run tells it."""
    entry = {
        "resource.type": type_,
        "severity": "ERROR",
        "resource.labels.job_id": "propensity-predictions-ga4-purchase",
        "resource.labels.job_name": "propensity-training-job-ga4-purchase",
        "resource.labels.service_name": "propensity-model-training",
        "logName": "projects/my-project/logs/run.googleapis.com%2Fvarlog%2Fsystem",
    }
    told = []
    for name, policy in EVERY.items():
        if any(are_met(conditions, entry | fields) for conditions in policy.killed):
            told.append(name)

    assert told == policies


def test_a_condition_is_written_as_google_reads_it():
    """In its language OR binds closer than AND."""
    assert POLICIES["no_index_ga4_value"]["log"] == (
        '(resource.labels.service_name=~"^propensity-" OR '
        'resource.labels.job_name=~"^propensity-") AND '
        'jsonPayload.use_case="ga4_value" AND jsonPayload.outcome="no_index" AND '
        'NOT jsonPayload.message=~"^no index has been published yet"'
    )
    failed = POLICIES["run_failed"]["log"]
    assert 'NOT jsonPayload.use_case=("ga4_purchase" OR "ga4_value") AND' in failed
    assert ') OR (resource.type="cloud_scheduler_job" AND severity=("ERROR" ' in failed
    assert "jsonPayload.status>=400 AND" in failed
    assert POLICIES["events_refused"]["log"].endswith("AND jsonPayload.reasons:*")


def test_a_second_failure_of_an_hour_is_mailed():
    """Of a use case five minutes apart; the same state again is told once a day."""
    assert POLICIES[f"run_failed_{SHOP}"]["pause"] == "300s"
    assert POLICIES[f"champion_age_{SHOP}"]["pause"] == "86400s"


@pytest.mark.parametrize(("days", "most"), [("MON", 7), ("MON,THU", 4), ("daily", 1)])
def test_predictions_are_missed_when_the_next_ones_were_due(days, most):
    d = configuration.of({**SETTINGS, "DEPLOY_PREDICTION_DAYS": days})
    line = {"function": "compactFeatures", "use_case": SHOP}

    assert raised(line | {"publication_age_days": most}, d) == set()
    assert len(raised(line | {"publication_age_days": most + 1}, d)) == 1


def test_a_mail_says_what_failed_and_what_to_do():
    """With names of the deployment, so that its commands can be typed, and as Google
    takes it. A link of the page is the name of a page: nobody can follow it."""
    failed = POLICIES[f"run_failed_{SHOP}"]
    missed = POLICIES[f"run_missed_model_evaluation_{VALUE}"]

    assert failed["subject"] == "propensity: ga4_purchase: a run failed"
    for name in ("function", "use_case", "outcome", "message"):
        assert f"- {name}: ${{log.extracted_label.{name}}}\n" in failed["text"]
    assert "\ndeploy/call.sh predictions '{" in failed["text"]
    job = "run propensity-model-evaluation-ga4-value --location=us-central1"
    assert f"{job} --project=my-project" in missed["text"]
    for policy in POLICIES.values():
        assert "](" not in policy["text"]
        assert len(policy["text"].encode()) < 8_000
        assert len(policy["subject"]) < 255


def test_runs_are_missed_where_the_clock_calls_and_the_compaction_looks():
    """The clock calls no predictions for a use case that scores events."""
    few = {**SETTINGS, "DEPLOY_FUNCTIONS": "predictions get_proba"}
    cards = {**SETTINGS, "DEPLOY_USE_CASES": "card_fraud"}
    unseen = alerts.in_terraform(configuration.of(few))["policies"]
    seen = alerts.in_terraform(configuration.of(cards))["policies"]

    assert not any("run_missed" in name for name in unseen)
    assert "run_missed_model_training_card_fraud" in seen
    assert "run_missed_predictions_card_fraud" not in seen


def test_alerts_read_what_is_logged():
    """Each field is a word that the code writes, and each scheduled function fails."""
    files = [*(ROOT / "propensity").rglob("*.py"), *ROOT.glob("0*/*.py")]
    code = "\n".join(file.read_text() for file in files)
    names = {"waited_s"}
    for policy in EVERY.values():
        names |= {name for name, _, _ in policy.lines}

    assert len(names) > 10
    for name in names:
        assert re.search(rf'["\s(]{name}["=]', code), name
    for function in functions.load():
        if function.schedule:
            failed = of_line(alerts.camel(function.target), "internal", status=500)
            assert failed == [f"run_failed_{SHOP}"]
