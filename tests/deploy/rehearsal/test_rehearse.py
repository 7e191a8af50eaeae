"""
``propensity rehearse`` before stand-ins for gcloud, bq and Terraform: what it makes, in
which order, and that all of it is taken away however it ends.
"""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from commands import cli
from commands.cli import main
from deploy import configuration
from local.errors import LocalError
from local.rehearsal import google_cloud, run, steps
from local.rehearsal.google_cloud import GoogleCloud
from local.rehearsal.probes import Rehearsal
from local.rehearsal.questions import QUESTIONS
from tests.deploy.conftest import SDK, SHIM, WHOLE, Cloud
from tests.deploy.scripts.test_scripts import BUNDLED, PARSE
from tests.programs import execute

PREFIX = "rehearse1"
STATE = "gs://my-project-rehearse1-state"
NOT_THERE = ("storage buckets describe", "404", 1, 1)
NOT_FREE = ("storage buckets describe", "there", 0)
KEPT_OUT = "2026-11-26T10:00:00Z\t\t\t403\tURL_ERROR: status 403"
LINE = "2026-11-26T10:00:00Z\tok\tok\t\t"


def settings(**given: str) -> dict[str, str]:
    return google_cloud.settings_of(
        "my-project",
        region="us-central1",
        prefix=PREFIX,
        email="ana@example.com",
        caller="ana@example.com",
        given=given,
    )


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Cloud:
    """A project with nothing in it; the scripts are stood in for as programs are."""
    cloud = Cloud(tmp_path, tmp_path, {}, [NOT_THERE], ("gcloud", "bq", "sleep"))
    (tmp_path / "deploy").mkdir()
    for name in ("deploy_all.sh", "teardown.sh", "call.sh"):
        script = tmp_path / "deploy" / name
        script.write_text(SHIM)
        script.chmod(0o755)
    monkeypatch.setattr(google_cloud, "ROOT", tmp_path)
    return cloud


@pytest.fixture
def ground(scratch, monkeypatch, tmp_path) -> GoogleCloud:
    entered(scratch, monkeypatch)
    return GoogleCloud(settings(), tmp_path / "deployment")


def entered(cloud: Cloud, monkeypatch) -> None:
    """Find the stand-ins, and no credentials."""
    # Else the bill would look for a machine of Google's for half a minute.
    for name, value in {**cloud.install(), "NO_GCE_CHECK": "true"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def few(monkeypatch) -> Callable[..., None]:
    """Have a rehearsal ask these alone, after a set-up without data."""

    def choose(*asks: Callable[[Rehearsal], str]) -> None:
        others = [replace(QUESTIONS[-1], ask=ask) for ask in asks]
        monkeypatch.setattr(run, "PROBES", (steps.set_up, *others))
        monkeypatch.setattr(steps, "fill", lambda rehearsal: None)

    return choose


def again(cloud: Cloud, *rules: Any) -> None:
    """Have other answers from now on."""
    cloud.rules[:0] = rules
    cloud.install()


def place_of(calls: list[str], part: str) -> int:
    """Return where the first call with a part is."""
    return next(n for n, call in enumerate(calls) if part in call)


def is_taken_away(cloud: Cloud) -> bool:
    """Whether the last thing that was done is to remove the bucket with the label."""
    return cloud.calls()[-1].startswith(f"gcloud storage rm --recursive {STATE} ")


def test_what_has_the_label_is_made_first_and_removed_last(ground, scratch, few):
    """A second rehearsal looks for it."""
    few()
    result = run.rehearse(ground)
    calls = scratch.calls()
    parts = [
        "buckets list --filter=labels.rehearsal=rehearse1",
        f"buckets create {STATE}",
        "--update-labels=rehearsal=rehearse1",
        "secrets create rehearse1-suppression-key",
        "mk --force --dataset --label=rehearsal:rehearse1 rehearse1_export",
        "deploy_all.sh --yes",
        "teardown.sh --delete-data --yes",
        "rm --recursive --force --dataset rehearse1_export",
        "secrets delete rehearse1-suppression-key",
        f"storage rm --recursive {STATE}",
    ]
    places = [place_of(calls, part) for part in parts]

    assert [finding.answer for finding in result.findings] == ["yes"]
    assert places == sorted(places)
    assert is_taken_away(scratch)


BREAKS = {
    "a bucket": "buckets create",
    "a secret": "secrets create",
    "the export": " mk --force",
    "a deploy": "deploy_all.sh",
}


@pytest.mark.parametrize("step", BREAKS)
def test_all_is_taken_away_where_a_step_fails(ground, scratch, few, step):
    """Then no other question is asked."""
    again(scratch, (BREAKS[step], "refused by a policy", 1))
    few(lambda _: "it is there")
    first, other = run.rehearse(ground).findings

    assert (first.answer, other.answer) == ("no", "not tried")
    assert "refused by a policy" in first.seen
    assert is_taken_away(scratch)


def interrupted(_: Rehearsal) -> str:
    raise KeyboardInterrupt


def ended(_: Rehearsal) -> str:
    signal.raise_signal(signal.SIGTERM)
    return "it went on"


def failed(_: Rehearsal) -> str:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (interrupted, KeyboardInterrupt),
        (ended, SystemExit),
        (failed, ZeroDivisionError),
    ],
)
def test_all_is_taken_away_where_a_rehearsal_is_broken_off(
    ground, scratch, few, ask, error
):
    """By Ctrl-C, by SIGTERM, or by a fault of its own."""
    few(ask)
    with pytest.raises(error):
        run.rehearse(ground)

    assert is_taken_away(scratch)


def test_what_a_killed_rehearsal_has_left_is_found_by_its_label(ground, scratch, few):
    left = ("buckets list", "my-project-rehearse1-state", 0)
    again(scratch, left, ("buckets describe", "there", 0, 2))
    few()
    run.rehearse(ground)
    calls = scratch.calls()

    assert place_of(calls, "teardown.sh") < place_of(calls, f"buckets create {STATE}")
    assert scratch.count("teardown.sh") == 2


@pytest.mark.parametrize(
    "there", [("run services list", "rehearse1-get-proba", 0), NOT_FREE]
)
def test_a_deployment_with_the_prefix_is_refused(ground, scratch, few, there):
    again(scratch, there)
    few()
    with pytest.raises(LocalError, match="has a deployment with the prefix rehearse1"):
        run.rehearse(ground)

    assert scratch.changes() == []


def test_a_refused_build_is_the_builds_and_not_the_deployers(
    ground, scratch, few, monkeypatch
):
    text = "ERROR: Build failed: the builder's account was denied log entries"
    again(scratch, ("deploy_all.sh", text, 1))
    few()
    monkeypatch.setattr(run, "PROBES", (steps.set_up, *QUESTIONS))
    answers = {}
    for finding in run.rehearse(ground).findings:
        answers.setdefault(finding.answer, []).append(finding.probe.name)

    assert answers["no"] == ["builds"]
    assert "set up" in answers["not tried"]
    assert "yes" not in answers


def test_a_call_is_the_functions_line(ground, scratch):
    again(scratch, ("call.sh", LINE, 0))
    call = ground.call("predictions", {"use_case": "ga4_purchase"})

    assert (call.outcome, call.status) == ("ok", 200)


def test_a_call_that_was_not_let_in_says_so(ground, scratch):
    again(scratch, ("call.sh", KEPT_OUT, 0))
    call = ground.call("predictions", {"use_case": "ga4_purchase"})

    assert call.is_kept_out


def test_a_failure_has_the_status_that_the_scheduler_got(ground, scratch, monkeypatch):
    monkeypatch.setattr(google_cloud, "LOGGED_S", 0.0)
    failure = "2026-11-26T10:00:00Z\tbad_request\tno such use case\t\t"
    again(
        scratch,
        ("value(httpRequest.status)", "400", 0),
        ("call.sh", failure, 0),
    )
    call = ground.call("predictions", {"use_case": "nobody"})

    assert (call.outcome, call.status) == ("bad_request", 400)


def test_a_rehearsal_takes_the_place_from_a_deployment():
    """Region, keys and networks; neither its names nor its callers."""
    chosen = configuration.of(settings(**WHOLE))

    assert chosen.own["kms_key"] == WHOLE["DEPLOY_KMS_KEY"]
    assert chosen.own["vpc_connector"] == WHOLE["DEPLOY_VPC_CONNECTOR"]
    assert chosen.own["prefix"] == "rehearse1"
    assert chosen.own["callers"] == "user:ana@example.com"
    assert chosen.settings.bucket == "my-project-rehearse1"


def test_a_dry_run_without_a_login_gives_nobody_a_role(scratch, monkeypatch, tmp_path):
    """Defect: it printed a command with an empty ``--member=``."""
    entered(scratch, monkeypatch)
    nobody = settings()
    del nobody["DEPLOY_CALLERS"]
    ground = GoogleCloud(nobody, tmp_path / "deployment")

    assert not any("--member= " in line for line in ground.planned())


@pytest.mark.long
def test_a_dry_run_lists_every_command_and_runs_none(cloud, monkeypatch, capsys):
    """Its own, and those of the scripts."""
    monkeypatch.setattr(google_cloud, "ROOT", cloud.project)
    cloud.rules.insert(0, ("auth print-access-token", "not logged in", 1))
    entered(cloud, monkeypatch)
    words = ["--project", "my-project", "--region", "us-central1", "--dry-run"]

    assert main(["rehearse", *words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    text = "\n".join(answer["commands"])
    assert cloud.changes() == []
    assert f"buckets create {STATE}" in text
    assert "gcloud run deploy rehearse1-get-proba" in text
    assert "-chdir=deploy/terraform apply" in text
    assert f"storage rm --recursive {STATE}" in text
    assert 0 < answer["usd"] < 1
    assert len(answer["probes"]) > 30
    assert "ma_predictions_table" in answer["permissions"]["get_proba"]


@pytest.mark.skipif(
    not (SDK / "lib" / "googlecloudsdk").is_dir(),
    reason=f"there is no Cloud SDK in {SDK}; CLOUD_SDK names another one",
)
def test_gclouds_own_parser_takes_its_commands(ground):
    commands = []
    for line in ground.planned():
        if line.startswith("gcloud "):
            commands.append(shlex.split(line))
    parse = [BUNDLED if BUNDLED.exists() else "python3", "-c", PARSE, SDK]
    told = execute(parse, input=json.dumps(commands)).stdout

    assert len(commands) > 5
    assert [one for one in json.loads(told) if one] == []


def test_the_workflow_of_a_deployments_folder_rehearses_as_the_command_takes_it():
    file = configuration.TEMPLATE / ".github" / "workflows" / "rehearse.yml"
    [job] = yaml.safe_load(file.read_text())["jobs"].values()
    typed = [step["run"] for step in job["steps"] if "run" in step]
    program, name, *words = shlex.split(typed[-1])
    command = cli.root.commands[name]

    assert (typed[0], program) == ("make setup", ".venv/bin/propensity")
    assert command.make_context(name, words).params["is_agreed"]


def test_a_program_ends_by_itself_where_a_rehearsal_is_broken_off(tmp_path):
    """Terraform would leave its lock behind."""
    script = f"trap 'sleep 0.2; touch {tmp_path}/ended; exit' INT; sleep 60"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            google_cloud.run(["bash", "-c", script])
    finally:
        signal.signal(signal.SIGALRM, before)

    assert (tmp_path / "ended").exists()
