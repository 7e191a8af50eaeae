"""
What starts a function, by its own rules: a buildpack's launcher, and Cloud Scheduler,
which calls again after whatever is not 2xx. Google refuses whatever is asked of it.

Sources: buildpacks/lifecycle, launch/process.go (``userProvidedProcess``) and
launch/bash.go (``bashCommandWithTokens``);
cloud.google.com/scheduler/docs/configuring/retry-jobs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from deploy import functions, stage
from deploy.functions import ROOT
from tests.deploy.conftest import SETTINGS
from tests.functions.instances import python_of
from tests.support.deployment import KEY, Deployment, application, entered
from tests.support.described import check_described
from tests.support.gcloud import flags, listed, words_of
from tests.support.programs import execute
from tests.support.proxy import Proxy
from tests.support.rows import publish

SCHEDULED = [one.target for one in functions.load() if one.schedule]
BY_CLOCK = {"X-CloudScheduler": "true"}


def refusal(status: int, reason: str) -> tuple[int, bytes]:
    """Return the answer of Google's APIs for a failure."""
    text = "Access Denied: the resource"
    error = {"code": status, "message": text}
    error["errors"] = [{"reason": reason, "message": text}]
    return status, json.dumps({"error": error}).encode()


@pytest.fixture
def google() -> Iterator[Proxy]:
    """A Google where the account has no permission; it records what is asked."""
    with Proxy("http://127.0.0.1", lambda _: refusal(403, "accessDenied")) as server:
        yield server


def leading_to(google: Proxy) -> dict[str, str]:
    """Return what leads Google's clients there."""
    return {"BIGQUERY_EMULATOR_HOST": google.url, "STORAGE_EMULATOR_HOST": google.url}


def launched(words: list[str]) -> list[str]:
    """Return what the launcher executes: only after ``--`` the words as they are. Else
    bash evaluates each between double quotes, which takes its own quotes away."""
    if words[0] == "--" and len(words) > 1:
        return words[1:]
    tokens = " ".join(f'"$(eval echo \\"${{{n}}}\\")"' for n in range(len(words)))
    return ["bash", "-c", f"exec bash -c '{tokens}' \"${{@:1}}\"", "launcher", *words]


def jobs_line(printed, words, google, folder) -> dict:
    """Start what a printed deploy of a job has its launcher start, or these words, from
    the staged folder, with the packages of the lock and the variables that the deploy
    sets; return its first line of the log."""
    [made] = [one for one in words_of(printed) if one[1:4] == ["run", "jobs", "deploy"]]
    job = flags(made)
    staged = stage.stage(ROOT / "00-ModelTraining", folder / "staged", locked=True)
    variables = dict(one.split("=", 1) for one in listed(job["set-env-vars"]))
    path = f"{python_of('model_training').parent}{os.pathsep}/usr/bin:/bin"
    environment = variables | leading_to(google) | {"PATH": path}
    if not words:
        words = listed(job["args"])
    done = execute(launched(words), cwd=staged, env=environment, status=1)

    assert job["command"] == "/cnb/lifecycle/launcher"
    return json.loads(done.stderr.splitlines()[0])


def test_a_training_job_starts_by_the_launchers_rules(cloud, google, tmp_path):
    """Its line says which permission is missing, and on which object."""
    cloud.settings = SETTINGS
    printed = cloud.run("deploy/training_job.sh", "--dry-run").stdout
    line = jobs_line(printed, [], google, tmp_path)

    assert (line["function"], line["use_case"]) == ("modelTraining", "ga4_purchase")
    assert line["outcome"] == "access_denied"
    assert f"gs://my-bucket/runs/ga4_purchase/train/{line['as_of']}" in line["message"]
    assert google.asked
    assert all("/b/my-bucket/o/runs" in one.path for one in google.asked)


def test_a_command_of_an_operator_starts_by_the_launchers_rules(
    cloud, google, tmp_path
):
    """Its line has the answer; of a failure the exit code, and what is missing."""
    cloud.settings = SETTINGS
    made = cloud.run("00-ModelTraining/deploy.sh", "--dry-run").stdout
    asked = cloud.run("deploy/operate.sh", "--dry-run", "rollback").stdout
    [execution] = words_of(asked)
    line = jobs_line(made, listed(flags(execution)["args"]), google, tmp_path)

    assert (line["function"], line["command"]) == ("operate", "rollback")
    assert (line["exit_code"], line["severity"]) == (1, "WARNING")
    assert "gs://my-bucket/models/ga4_purchase/champion.json" in line["notes"]


def answered(target, google, headers, body="{}"):
    """Call a function with the variables of its deploy."""
    variables = {name: of for name, of in SETTINGS.items() if "DEPLOY" not in name}
    variables |= {"PROPENSITY_DEADLINE_S": "1"}
    with entered(variables | leading_to(google)):
        answer = application(target).test_client().post("/", headers=headers, data=body)
    return check_described(target, answer)


@pytest.mark.parametrize("target", SCHEDULED)
def test_a_failure_that_stays_is_not_repeated(target, google, capsys):
    """The alert reads the line; whoever calls by hand sees the status as well."""
    by_hand = answered(target, google, {})
    capsys.readouterr()
    by_clock = answered(target, google, BY_CLOCK)
    [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert (by_hand.status_code, by_clock.status_code) == (500, 200)
    assert by_clock.json["error"] == by_hand.json["error"] == "access_denied"
    assert by_clock.json["retryable"] is False
    assert (line["status"], line["outcome"]) == (500, "access_denied")


def test_a_failure_that_may_pass_is_repeated(google):
    google.rule = lambda _: refusal(503, "backendError")
    answer = answered("predictions", google, BY_CLOCK)

    assert (answer.status_code, answer.json["retryable"]) == (503, True)


MONDAY = date(2025, 9, 1)


def operated(site: Deployment, words: list[str], folder: Path) -> dict[str, Any]:
    """Run words in the operators' job, with the use cases that its image has; return
    its line of the log, in which no user is."""
    with entered(site.environment):
        source = ROOT / "00-ModelTraining"
        staged = stage.stage(source, folder / "staged", locked=True)
    path = f"{python_of('model_training').parent}{os.pathsep}/usr/bin:/bin"
    environment = {**site.environment, "PATH": path}
    environment.pop("PROPENSITY_USE_CASES", None)
    done = execute(launched(words), cwd=staged, env=environment)

    assert not re.search(r"\bu29\b", done.stdout + done.stderr)
    return json.loads(done.stderr.splitlines()[-1])


def test_users_to_forget_are_read_once(emulated, tmp_path):
    """From an object that is gone then, in every generation: no word, line or file of
    the job has them."""
    site = emulated.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
    site.prepare()
    publish(site.warehouse, MONDAY, {"u29": 0.5, "u30": 0.5})
    artifacts = site.registry.artifacts
    users = b"u29\n"
    name = f"operate/1-{hashlib.sha256(users).hexdigest()}"
    artifacts.create(name, users)
    words = ["--", "python3", "operate.py", name, '["forget", "-"]']
    answer = operated(site, words, tmp_path)

    assert (answer["exit_code"], answer["command"]) == (0, "forget -")
    assert artifacts.generations("operate/") == []
    assert site.rows("SELECT user_id FROM ma_predictions_runs") == [{"user_id": "u30"}]
