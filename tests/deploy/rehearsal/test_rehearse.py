"""
``propensity rehearse`` before stand-ins for gcloud, bq and Terraform: what it makes, in
which order, what it asks and says, and that all of it is taken away however it ends.
"""

from __future__ import annotations

import json
import shlex
import signal
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials

from local.errors import LocalError
from local.rehearsal import google_cloud, questions, steps
from local.rehearsal.google_cloud import GoogleCloud
from local.rehearsal.run import Ask, No, Rehearsal, asked, rehearse
from propensity.gcp.warehouse import Warehouse
from propensity.runs import setup
from tests.deploy.conftest import SHIM, Cloud
from tests.support import shop
from tests.support.deployment import Deployment
from tests.support.gcloud import problems

STATE = "my-project-rehearse1-state"
DENIED = "PERMISSION_DENIED: Permission denied on the resource"


def settings() -> dict[str, str]:
    return google_cloud.settings_of(
        "my-project",
        region="us-central1",
        prefix="rehearse1",
        email="a@a.org",
        given={},
    )


# What gcloud says to a login of CI, which has credentials of another company.
FEDERATED = "principal://iam.googleapis.com/projects/1/locations/global/"
FEDERATED += (
    "workloadIdentityPools/github/subject/repo:me@1/shop@2:environment:production"
)
NO_TOKEN = (
    "ERROR: (gcloud.auth.print-identity-token) No identity token can be obtained from "
    "the current credentials."
)


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Cloud:
    """A project with nothing in it; the scripts are stood in for as programs are."""
    programs = ("gcloud", "bq", "terraform", "sleep")
    cloud = Cloud(tmp_path, tmp_path, {}, [], programs)
    (tmp_path / "deploy").mkdir()
    for name in ("deploy_all.sh", "setup.sh", "teardown.sh", "call.sh", "operate.sh"):
        script = tmp_path / "deploy" / name
        script.write_text(SHIM)
        script.chmod(0o755)
    monkeypatch.setattr(google_cloud, "ROOT", tmp_path)
    return cloud


@pytest.fixture
def place(scratch, monkeypatch, tmp_path) -> GoogleCloud:
    """A place where the stand-ins are found, with a login and no waiting."""
    account = ("config get-value account", "ana@example.com", 0)
    scratch.rules += [account, ("gcloud version", "beta 2026.06.20", 0)]
    for name, value in {**scratch.install(), "NO_GCE_CHECK": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(google_cloud, "PAUSES_S", (0.0, 0.0))
    login = (AnonymousCredentials(), "my-project")
    monkeypatch.setattr("google.auth.default", lambda **_: login)
    # An export of a day, which is not loaded.
    week = date(2025, 6, 17)
    monkeypatch.setattr(Rehearsal, "shop", SimpleNamespace(dates=[week]))
    monkeypatch.setattr(steps, "chosen_weeks", lambda *_, **__: [week])
    monkeypatch.setattr(steps.shop, "load", lambda *_, **__: None)
    runner = google_cloud.run
    return GoogleCloud(settings(), tmp_path / "deployment", runner=runner)


def again(cloud: Cloud, *rules: Any) -> None:
    """Have other answers from now on."""
    cloud.rules[:0] = rules
    cloud.install()


def rehearsed(place: GoogleCloud, ask: Ask | None = None) -> dict[str, Any]:
    """Set up, and ask this alone."""
    questions = {"other": ask} if ask else {}
    rehearsal = Rehearsal(place=place)
    return rehearse(rehearsal, steps={"set up": steps.set_up}, questions=questions)


# The API of each command of gcloud. All others are enabled by the scripts.
API_OF = {
    "gcloud run": "run",
    "gcloud scheduler": "cloudscheduler",
    "gcloud secrets": "secretmanager",
    "gcloud storage": "storage",
    "bq": "bigquery",
}


def own(cloud: Cloud) -> list[str]:
    """Return what a rehearsal has run, but for what it may be refused."""
    others = ("gcloud version", "gcloud auth", "gcloud config", "gcloud logging")
    return [call for call in cloud.calls() if not call.startswith(others)]


def is_taken_away(cloud: Cloud) -> bool:
    """Whether the last thing that was done is to remove the bucket with the label."""
    return cloud.calls()[-1].startswith(f"gcloud storage rm --recursive gs://{STATE} ")


def test_a_dry_run_shows_everything_and_changes_nothing(place, scratch, tmp_path):
    """APIs first, and the functions' calls; gcloud's own parser takes all."""
    rehearsed(place)
    done = own(scratch)
    scratch.install()
    shown = google_cloud.planned(settings(), tmp_path / "dry")
    commands = [shlex.split(line) for line in shown if line.startswith("gcloud ")]
    lines = [" ".join(shlex.split(line)) for line in shown] + own(scratch)

    assert "gcloud services enable" in lines[0]
    for start, api in API_OF.items():
        if any(call.startswith(f"{start} ") for call in done):
            assert f"{api}.googleapis.com" in done[0]
    assert all("--dry-run" in call for call in own(scratch))
    for part in [*done, "call.sh predictions", "operate.sh"]:
        assert any(part in line for line in lines), part
    assert [one for one in problems(commands, tmp_path) if one] == []


def test_each_command_is_refused_once(place, scratch):
    """Nothing is made where nobody could look first. Each thing is removed by itself,
    and what stays is named, with the bucket by which it is found."""
    rehearsed(place)
    calls = own(scratch)
    removals = calls[-4:]
    rules = list(scratch.rules)
    first = next(n for n, call in enumerate(calls) if "create" in call)
    for n, call in enumerate(calls):
        scratch.rules[:] = [(call, DENIED, 1), *rules]
        scratch.install()
        if n < first:
            with pytest.raises(LocalError, match=DENIED):
                rehearsed(place)
            assert not any("create" in call for call in scratch.changes())
            continue
        said = rehearsed(place)
        assert scratch.count("secrets delete") == 1
        if call in removals:
            assert DENIED in said["left"][0]
            assert said["left"][-1].startswith("Terraform's bucket")
        else:
            assert DENIED in said["findings"][0]["seen"]
            assert is_taken_away(scratch)


def ended(_: Rehearsal) -> str:
    signal.raise_signal(signal.SIGTERM)
    return "it went on"


def test_all_is_taken_away_where_a_rehearsal_is_broken_off(place, scratch):
    with pytest.raises(SystemExit):
        rehearsed(place, ended)

    assert is_taken_away(scratch)


def test_what_a_killed_rehearsal_has_left_is_found_by_its_label(place, scratch):
    again(scratch, ("buckets list", f"{STATE}\trehearse1", 0))
    rehearsed(place)
    calls = [call.partition(" ")[0] for call in scratch.calls()]

    assert calls.index("teardown.sh") < calls.index("deploy_all.sh")
    assert scratch.count("teardown.sh") == 2


def test_a_deployment_with_the_prefix_is_left_as_it_is(place, scratch):
    again(scratch, ("run services list", "rehearse1-get-proba", 0))
    with pytest.raises(LocalError, match="has a deployment with the prefix rehearse1"):
        rehearsed(place)

    assert [call for call in scratch.changes() if " enable" not in call] == []


def test_a_program_ends_by_itself_where_a_rehearsal_is_broken_off(tmp_path):
    """Terraform would leave its lock behind. What a shell begins in the background
    ignores the interrupt."""
    script = f"""
    trap 'touch {tmp_path}/ended; exit' TERM
    touch {tmp_path}/ready
    sleep 60
    """

    def broken_off(*_: object) -> None:
        if (tmp_path / "ready").exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, broken_off)
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
        with pytest.raises(KeyboardInterrupt):
            google_cloud.run(["bash", "-c", script])
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGINT, ignored)

    assert (tmp_path / "ended").exists()


def test_an_answer_tells_nobodys_name(place, scratch):
    """It goes to people outside."""
    told = (
        "rehearse1-x@my-project.iam.gserviceaccount.com denies ana@example.com tables "
        "of projects/123456789012 at https://rehearse1-get-proba-1.run.app"
    )
    again(scratch, ("secrets create", told, 1), ("secrets delete", told, 1))
    text = json.dumps(rehearsed(place))

    for name in ("my-project", "ana@", "123456789012", "run.app"):
        assert name not in text


@pytest.fixture
def asked_of_bigquery() -> Any:
    """A rehearsal whose export has twenty days."""
    deployment = Deployment()
    deployment.prepare()
    days = [date(2026, 1, 1 + n) for n in range(20)]
    rows = []
    for day in days:
        at = shop.microseconds(day)
        rows.append(shop.purchase("u", at, 5.0, transaction=f"{day}"))
    shop.load(deployment, rows)
    setup.prepare_export(deployment.warehouse, deployment.settings)
    return SimpleNamespace(
        warehouse=deployment.warehouse,
        weeks=[date(2026, 1, 21)],
        shop=SimpleNamespace(dates=days),
    )


@pytest.mark.parametrize(("bytes_of_all", "prunes"), [(20, True), (1, False)])
def test_whether_constants_prune_days_decides_the_bill(
    asked_of_bigquery, monkeypatch, bytes_of_all, prunes
):
    """By what a dry run says of one day and of all."""

    def priced(_: object, sql: str, parameters: dict[str, str]) -> int:
        is_day = parameters["first_suffix"] == parameters["last_suffix"]
        return 1 if is_day else bytes_of_all

    monkeypatch.setattr(Warehouse, "dry_run", priced)
    if prunes:
        assert "a day reads 1 bytes of 20" in questions.prune_days(asked_of_bigquery)
        return
    with pytest.raises(No, match="constants prune no days"):
        questions.prune_days(asked_of_bigquery)


def test_a_login_of_ci_tries_all_but_lookups(place, scratch, tmp_path):
    """It has no identity token. Defects: no training was called, and each answer was
    no; its name was granted as a person's."""
    again(scratch, ("config get-value", FEDERATED, 0), ("identity-token", NO_TOKEN, 1))
    again(scratch, ("run services describe", "https://get-proba.example", 0))
    in_ci = GoogleCloud(settings(), tmp_path / "in_ci", runner=google_cloud.run)
    rehearsal = Rehearsal(place=in_ci, weeks=[date(2025, 6, 17)], user="someone")
    asked("play", steps.play_weeks, rehearsal, failure="no")

    assert in_ci.deployment.own["callers"] == ""
    assert scratch.count("call.sh model_training") > 0
    looked = asked("look up", steps.look_up, rehearsal, failure="no")
    assert looked["answer"] == "not tried"
    assert "no identity token" in looked["seen"]


@pytest.mark.parametrize(
    ("actions", "answer"), [(["no-op"], "yes"), (["update"], "no"), ([], "not tried")]
)
def test_a_second_plan_is_empty_or_says_what_differs(place, actions, answer):
    """CI refuses a change that nobody has approved, and would at each deploy."""
    plan = place.file.with_name("plan") / "plan.json"
    if actions:
        policy = {"address": "policy.x", "change": {"actions": actions}}
        plan.parent.mkdir()
        plan.write_text(json.dumps({"resource_changes": [policy]}))
    said = asked("x", questions.plan_again, Rehearsal(place=place), failure="no")

    assert said["answer"] == answer
    assert ("changes policy.x" in said["seen"]) == (answer == "no")


def called(*minutes: str) -> str:
    """Return the log's lines of calls that were due in these minutes."""
    lines = [{"jsonPayload": {"due": f"2025-06-17T10:0{one}:00Z"}} for one in minutes]
    return json.dumps(lines)


# Of the log: what it has, and the answer.
DENIES = '[{"jsonPayload": {"outcome": "read", "message": "x denies access to y"}}]'
LOGGED = [
    (questions.have_permissions, "[]", "not tried"),
    (questions.have_permissions, DENIES, "no"),
    (questions.spare_retries, '[{"httpRequest": {"status": 200}}]', "yes"),
    (questions.keep_the_time, called("1", "2", "3", "4"), "no"),
    (questions.keep_the_time, called("1", "1", "2", "2"), "yes"),
]


@pytest.mark.parametrize(("question", "log", "answer"), LOGGED)
def test_a_question_is_answered_yes_or_no(place, scratch, question, log, answer):
    """Where nobody can tell, it is not tried. A line that is late is none that is not
    there: it is waited for."""
    late = ("logging read", "[]", 0, 1)
    refused = "2026-11-26T10:00:00Z\tbad_request\tno such use case\t\t"
    again(scratch, late, ("logging read", log, 0), ("call.sh", refused, 0))
    again(scratch, ("run services", "https://audiences.example", 0))
    rehearsal = Rehearsal(place=place, weeks=[date(2025, 6, 17)])

    assert asked("x", question, rehearsal, failure="not tried")["answer"] == answer
