"""Each finding says what it means for Monday's list, and who does what by when."""

from __future__ import annotations

from deploy import alerts, configuration
from offline.doctor.checks import Finding
from offline.doctor.run import CHECKS, Report
from propensity.pages.findings import meanings
from tests.deploy.conftest import SETTINGS


def test_a_mail_says_what_an_alert_means():
    deployment = configuration.of(SETTINGS)
    for policy in alerts.policies(deployment):
        meaning = meanings()[policy.alert]
        text = alerts.text_of(policy, deployment)

        assert f"{meaning.monday} {meaning.todo}" in text


def test_the_doctor_says_what_a_finding_means():
    """Also of what it finds before its checks, and what one of them finds besides."""
    others = ["settings", "processes", "use cases", "ended", "export_stopped"]
    for check in [*CHECKS, *others]:
        finding = Finding("something is wrong", "correct it", check=check)
        said = str(Report("p.propensity", "today", [check], [finding]))
        meaning = meanings()[check.replace(" ", "_")]

        assert f"{meaning.monday} {meaning.todo}" in said
