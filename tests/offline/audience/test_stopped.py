"""Stopped audiences, specified: nothing is sent, what waits is counted, and goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands.cli import main
from local.receiver import Receiver
from offline import forget, receivers, stopping
from propensity.cli.answers import Exit
from propensity.registry.deployment import open_deployment
from propensity.settings import Settings
from tests.offline.audience.conftest import next_week
from tests.support.deployment import entered
from tests.support.receivers import Playing

ALL = {f"u{number:03}": (number + 1) / 400 for number in range(200)}


def crm(folder: Path, receiver: Receiver) -> None:
    text = f'kind = "http"\nname = "crm"\nurl = "{receiver.url}/users"\nrate = 0\n'
    text += 'batch = 2\n[user]\nid = "{user_id}"\n[remove]\nmethod = "DELETE"\n'
    (folder / "destinations" / "crm.toml").write_text(text)


@pytest.fixture
def command(capsys):
    """Run a command of audiences; return its exit code and its answer."""

    def run(*words: str) -> tuple[int, Any]:
        code = main(["audience", *words, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


STOPS = [("winback",), ("--all",)]


@pytest.mark.parametrize("which", STOPS)
def test_a_delivery_under_way_ends_and_goes_on_where_it_was(
    deployment, folder, command, which
):
    states = []

    class Night(Receiver):
        def take(self, *request: Any) -> Any:
            if self.requests == 2:
                name = None if which == ("--all",) else "winback"
                with open_deployment() as here:
                    stopping.change(here, name, is_stopped=True)
                    states.extend(stopping.states(here, name))
            return super().take(*request)

    with Night() as receiver:
        crm(folder, receiver)
        code, sent = command("send", "winback")
        again, refused = command("send", "winback")
        heard = receiver.requests
        command("resume", *which)
        after, rest = command("send", "winback")

    [state] = [state for state in states if state["audience"] == "winback"]
    assert state["is_stopped"]
    assert state["is_under_way"]
    assert state["to_add"] == 8
    assert (code, sent["pending"], heard) == (Exit.FAILED, 6, 2)
    assert "is stopped" in sent["failure"]
    assert again == Exit.FAILED
    assert "audience resume" in refused["error"]["hint"]
    assert (after, rest["pending"]) == (Exit.DONE, 0)
    assert set(receiver.users.values()) == {1}


@pytest.mark.parametrize("how", [*STOPS, ()])
def test_removals_wait_as_well_and_forgetting_says_so(deployment, folder, command, how):
    """By the command, and by the setting."""
    quiet = {} if how else {"PROPENSITY_SENDS": "no"}
    with Receiver() as receiver:
        crm(folder, receiver)
        command("send", "winback")
        heard = receiver.requests
        with entered(deployment.environment | quiet):
            if how:
                command("stop", *how)
            report = forget.run(Settings.from_environment(), ["u199"])
            next_week(deployment, ALL)
            sent, _ = command("send", "winback")
            ended, _ = command("end", "winback")
        assert receiver.requests == heard
        if how:
            command("resume", *how)
        command("send", "winback")

    assert report["receivers"][0]["removal"] == receivers.STOPPED
    assert report["left"] > 0
    assert (sent, ended) == (Exit.FAILED, Exit.FAILED)
    assert receiver.users["remove", "u199"] == 1


def test_a_removal_by_hand_is_recorded_though_nothing_is_sent(
    deployment, folder, command
):
    with Receiver() as receiver:
        crm(folder, receiver)
        command("send", "winback")
        command("stop", "winback")
        code, answer = command("end", "winback", "--removed-by-hand")

    assert code == Exit.DONE
    assert answer["lists"][0]["tallies"]["remove"]["accepted"] == 10


def test_all_audiences_go_on_but_those_stopped_by_name(deployment, folder, command):
    for words in (("stop", "winback"), ("stop", "--all"), ("resume", "--all")):
        _, answer = command(*words)

    states = {state["audience"]: state for state in answer["audiences"]}
    assert states["winback"]["is_stopped"]


def test_a_name_that_there_is_not_stops_nothing(deployment, folder, capsys):
    assert main(["audience", "stop", "winbak"]) == Exit.FAILED
    assert "Did you mean 'winback'?" in capsys.readouterr().err
    assert main(["audience", "stop"]) == Exit.UNKNOWN


@pytest.mark.parametrize("job", ["", "propensity-operator"])
def test_a_receiver_s_words_are_for_the_person_who_sends(
    deployment, folder, capsys, job
):
    """A terminal shows them; the log keeps what a job prints."""

    closed = 403, {}, {"error": "the token of Anna Muster has expired"}
    with Playing(always=closed) as receiver, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUD_RUN_JOB", job)
        crm(folder, receiver)
        code = main(["audience", "send", "winback"])

    rows = deployment.rows("SELECT DISTINCT reason FROM ma_audience_ledger")
    assert code == Exit.FAILED
    assert ("Anna Muster has expired" in capsys.readouterr().err) == (not job)
    assert [row["reason"] for row in rows if row["reason"]] == ["status 403"]
