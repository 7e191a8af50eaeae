"""
The alert policies, specified: what their filters read is what the functions log.
"""

from __future__ import annotations

import json
import re

import pytest

from deploy import functions
from deploy.functions import ROOT
from deploy.render import TERRAFORM

WATCH = TERRAFORM / "watch"
TEXTS = {file.stem: file.read_text() for file in (WATCH / "alerts").glob("*.json")}
# One for each kind of run: its word for the field is alerts.tf's.
FIELDS = re.findall(r'field = "(\w+)"', (WATCH / "alerts.tf").read_text())


def asked_of_the_log(name: str) -> str:
    [condition] = json.loads(TEXTS[name])["conditions"]
    return condition["conditionMatchedLog"]["filter"]


def camel(target: str) -> str:
    """The name of a function in its log lines."""
    first, *others = target.split("_")
    return first + "".join(word.title() for word in others)


def test_filters_read_fields_and_functions_that_are_logged():
    """Each field is a word that the code writes."""
    files = [*(ROOT / "propensity").rglob("*.py"), *ROOT.glob("0*/*.py")]
    code = "\n".join(file.read_text() for file in files)
    asked = "\n".join(TEXTS.values()).replace("\\", "")
    groups = re.findall(r"function(?:=|\) = )(\([^)]*\)|[\"']\w+[\"'])", asked)
    names = {name for group in groups for name in re.findall(r"\w+", group)} - {"OR"}

    assert names
    assert names <= {camel(function.target) for function in functions.load()}
    for word in {*FIELDS, *re.findall(r"(?:jsonPayload|json_payload)\.(\w+)", asked)}:
        assert re.search(rf'["\s(]{word}["=]', code), word


def test_a_failed_run_of_every_scheduled_function_is_noticed():
    for function in functions.load():
        if function.schedule:
            assert f'"{camel(function.target)}"' in asked_of_the_log("run_failed")
    assert "jsonPayload.status>=400 AND NOT" in asked_of_the_log("run_failed")


def test_nobody_is_mailed_for_what_is_expected():
    """An export that comes later, a run under way, a use case before its first
    training: the scheduler logs an ERROR for each, as for every 409 and 503."""
    asked = asked_of_the_log("run_failed")
    own, scheduler, platform, job = asked.split(") OR (resource.type=")

    for outcome in ("export_late", "run_in_progress"):
        assert outcome in own.partition("NOT jsonPayload.outcome=")[2]
    # After a training, a use case that nothing serves is what a person must mend.
    untrained = 'outcome="no_champion" AND jsonPayload.is_trained=false'
    assert f"AND NOT (jsonPayload.{untrained})" in own
    assert "NOT httpRequest.status=(409 OR 503)" in scheduler
    # Killed for its memory, a function answers 503 and writes nothing.
    assert "run.googleapis.com/varlog/system" in platform
    # A job that ends without a line of its own has told the scheduler 200 before.
    assert job.startswith('"cloud_run_job" AND ')
    assert job.endswith("AND severity>=ERROR)")


@pytest.mark.parametrize("name", TEXTS)
def test_an_alert_is_answered_by_a_page(name):
    """It names the page that says what to do, and has a row there."""
    page = (ROOT / "docs" / "operate.md").read_text()
    alerts = page.partition("\n## Alerts\n")[2].partition("\n## ")[0]

    assert "docs/operate.md, section Alerts" in TEXTS[name]
    for target in ("model_training", "predictions", "model_evaluation"):
        one = f"run_missed_{target}" if name == "run_missed" else name
        assert f"`{one}`" in alerts
