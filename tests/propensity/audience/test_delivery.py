"""Audiences, specified on a receiver: from publication to ledger."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from commands.cli import main
from local.receiver import Receiver
from offline import forget, receivers, stopping
from propensity.audience import declared, run
from propensity.audience.stopping import listed
from propensity.cli.answers import Exit
from propensity.errors import (
    AudienceStopped,
    RequestError,
)
from propensity.registry.deployment import open_deployment
from propensity.settings import Settings
from tests.propensity.audience.conftest import (
    MONDAY,
    START,
    act,
    ledger,
    next_week,
    send,
    winback,
)
from tests.support.deployment import entered
from tests.support.receivers import Playing
from tests.support.rows import log_request

BEST = {"control": "0%", "top": 10}
CLOSED = 403, {}, {"error": "closed"}
BUSY = 503, {}, {}


def test_a_preview_counts_what_is_sent_afterwards(deployment):
    deployment.suppress("u199", at=deployment.clock.now())
    preview = act(deployment, run.preview, winback(cost_per_contact=0.25))

    assert preview["members"] == preview["held_out"] + preview["treated"] == 100
    assert 0 < preview["held_out"] < 30
    assert preview["suppressed"] == preview["requests"] == 1
    assert preview["cost"] == preview["treated"] * Decimal("0.25")
    assert deployment.rows("SELECT * FROM ma_audience_members") == []
    delivery = send(deployment)
    assert delivery["tallies"]["add"]["sent"] == preview["treated"]
    assert delivery["held_out"] == preview["held_out"]


def test_an_audience_of_nobody_needs_a_permission(deployment, crm):
    """A week in which no user is in the audience may be a mistake of the rule."""
    nobody = {"threshold": 0.9, "control": "0%"}
    with Receiver() as receiver:
        to = crm(receiver, remove=True)
        send(deployment, to, **BEST)
        next_week(deployment, {"u199": 0.3})
        with pytest.raises(RequestError, match="--allow-empty removes") as raised:
            send(deployment, to, **nobody)
        with pytest.raises(RequestError, match="crm cannot remove"):
            send(deployment, crm(receiver), **nobody, may_be_empty=True)
        assert raised.value.field == "audience"
        to = crm(receiver, remove=True)
        delivery = send(deployment, to, **nobody, may_be_empty=True)
        again = send(deployment, to, **nobody, may_be_empty=True)

    assert delivery["failure"] == ""
    assert delivery["tallies"]["remove"]["accepted"] == 10
    assert again["tallies"]["remove"]["sent"] == 0
    # An older date puts nobody back, though no newer member is stored.
    for action in (run.preview, run.send):
        with pytest.raises(RequestError, match="who have left"):
            act(deployment, action, winback(to, **BEST), until=MONDAY)


@pytest.fixture
def readings(deployment, monkeypatch) -> list[str]:
    """The statements that read users of the log."""
    found = []
    client = deployment.warehouse.client
    query = client.query

    def watched(sql: str, *, job_config: Any = None, **more: Any) -> Any:
        if "ma_audience_l" in sql and not job_config.dry_run:
            found.append(sql)
        return query(sql, job_config=job_config, **more)

    monkeypatch.setattr(client, "query", watched)
    return found


def test_members_are_those_of_one_choice(deployment, crm):
    """Of a statement that gives other rows each time, too: who is a member was drawn
    once, and who is sent is a member. Of the control group no further column is stored.
    """
    with Receiver() as receiver:
        folder = crm(receiver)
        sql = "SELECT user_id, RAND() AS r FROM publication ORDER BY RAND() LIMIT 50"
        (folder / "winback.sql").write_text(sql)
        sent = send(deployment, folder, top=30, control="50%")

    members = deployment.rows("SELECT * FROM ma_audience_members")
    treated = {row["user_id"] for row in members if not row["is_control"]}
    assert {user for _, user in receiver.users} == treated
    assert (len(members), sent["tallies"]["add"]["accepted"]) == (30, len(treated))
    for row in members:
        assert (row["attributes"] is None) == row["is_control"]


def test_a_receiver_that_does_not_answer_is_tried_eight_times(deployment, crm):
    """After the pause that it asks for, of a quarter of an hour at most."""
    best = {"top": 1, "control": "0%"}
    with Playing(*[(503, {}, {})] * 20) as receiver:
        delivery = send(deployment, crm(receiver), **best)
    assert len(receiver.heard) == 8
    assert "failed 8 times, most recently with status 503" in delivery["failure"]
    assert delivery["pending"] == 1

    busy = [(429, {"Retry-After": asked}, {}) for asked in ("7", "86400")]
    began = deployment.clock.monotonic()
    with Playing(*busy) as receiver:
        assert send(deployment, crm(receiver), **best)["failure"] == ""
    assert deployment.clock.monotonic() - began == 7 + 900


class TestRefused:
    """Requests that a receiver refuses for some of their users."""

    @staticmethod
    def receiver(bad) -> Receiver:
        class Refusing(Receiver):
            def take(self, method, path, headers, body):
                if any(f'"{user}"'.encode() in body for user in bad):
                    return 422, {}, {"error": "unsubscribed"}
                return super().take(method, path, headers, body)

        return Refusing(batch=1_000)

    def test_refused_users_stop_no_others(self, deployment, crm):
        bad = {"u170", "u199"}
        with self.receiver(bad) as receiver:
            folder = crm(receiver, batch=30)
            delivery = send(deployment, folder, top=30, control="0%")

        assert delivery["failure"] == ""
        assert delivery["pending"] == 0
        rows = {row["user_id"]: row["reason"] for row in ledger(deployment)}
        assert rows.keys() - {user for _, user in receiver.users} == bad
        assert {rows[user] for user in bad} == {"status 422"}
        # Two requests for each of five halvings, and one for the batch.
        assert receiver.requests <= 1 + 2 * 5 * len(bad)

    def test_a_delivery_goes_on_with_others_where_users_are_at_fault(
        self, deployment, crm
    ):
        """Though they are ten in a row, and the first in each delivery: the file may be
        at fault, and nobody is found by a thousand requests."""
        bad = {f"u{n}" for n in range(100, 112)}
        with self.receiver(bad) as receiver:
            first = send(deployment, crm(receiver), control="0%")
            second = send(deployment, crm(receiver), control="0%")

        assert "rejected 10 users and accepted nobody since" in first["failure"]
        assert first["pending"] == 100
        assert second["failure"] == ""
        assert second["tallies"]["add"]["rejected"] == {"status 422": 12}
        assert len(receiver.users) == 88

    @pytest.mark.parametrize(("batch", "first"), [(1, BUSY), (1, CLOSED), (30, CLOSED)])
    def test_a_user_at_fault_is_rejected_though_nobody_was_reached_before(
        self, deployment, crm, batch, first
    ):
        """Else the user would be pending until the next predictions."""
        with Playing(always=first) as receiver:
            send(deployment, crm(receiver, batch=batch), **BEST)
        with self.receiver({"u195"}) as receiver:
            delivery = send(deployment, crm(receiver, batch=batch), **BEST)

        assert delivery["failure"] == ""
        assert delivery["tallies"]["add"]["rejected"] == {"status 422": 1}
        assert len(receiver.users) == 9


@pytest.fixture
def undeclared(tmp_path, monkeypatch):
    """The folder of the use case's audiences; none is declared in it."""
    monkeypatch.setattr(declared, "folder_of", lambda use_case: tmp_path)
    return tmp_path


def end(deployment, **how):
    """End the audience on each list; return what was done."""
    with open_deployment() as opened_run:
        return [
            run.end(opened_run, some, {}.__getitem__, clock=deployment.clock, **how)
            for some in listed(opened_run)
        ]


class TestEnd:
    """Users of an audience whose file is gone, or is to go."""

    def test_a_person_records_a_removal(self, deployment, crm, undeclared):
        with Receiver() as receiver:
            send(deployment, crm(receiver), **BEST)
            with pytest.raises(RequestError, match="has 10 users of winback on") as no:
                end(deployment)
            (undeclared / "destinations" / "crm.toml").unlink()
            with pytest.raises(RequestError, match="no file in audiences/destinations"):
                end(deployment)
            [done] = end(deployment, is_by_hand=True)

        assert "--removed-by-hand" in no.value.hint
        assert (done.accepted, end(deployment)) == (10, [])
        assert {action for action, _ in receiver.users} == {"add"}


def log(deployment, *users, **row):
    """Log a request of the audience, as of Monday unless another date is given."""
    key = {"use_case": "ga4_purchase", "audience": "winback", "as_of": MONDAY}
    row = {**key, "status": "pending", "recorded_at": START, **row}
    log_request(deployment.warehouse, *(users or ["u1"]), **row)


def test_a_receipt_is_asked_for_60_days(deployment, crm):
    """Receivers do not say any more after that what became of it."""
    with Receiver() as receiver:
        for days in (60, 61):
            log(deployment, as_of=MONDAY - timedelta(days=days), receipt="r")
        delivery = send(deployment, crm(receiver), **BEST)

    assert (delivery["pending"], receiver.users["add", "u199"]) == (1, 1)


@pytest.mark.parametrize("row", [{"status": "accepted"}, {"receipt": "r"}])
def test_the_clock_sends_to_a_destination_that_has_users(
    deployment, crm, readings, row
):
    """Also to one that has yet to say what became of them. A delivery reads the users
    of the log once, and of the last 60 days again for what receivers say by now."""
    before = {"as_of": MONDAY - timedelta(days=7), "request": "refused"}
    with Receiver() as receiver:
        named = winback(crm(receiver), **BEST)
        with pytest.raises(AudienceStopped, match="was never sent to crm"):
            act(deployment, run.send, named, scheduled_on=MONDAY)
        log(deployment, receipt="r", **before)
        later = START + timedelta(hours=1)
        log(deployment, status="rejected", receipt="r", recorded_at=later, **before)
        with pytest.raises(AudienceStopped, match="was never sent to crm"):
            act(deployment, run.send, named, scheduled_on=MONDAY)
        log(deployment, as_of=MONDAY - timedelta(days=7), **row)
        readings.clear()
        done = act(deployment, run.send, named, scheduled_on=MONDAY, lists=[])

    assert done.accepted == 10
    assert len(readings) == 2


@pytest.mark.parametrize("row", [{"status": "accepted"}, {"receipt": "r"}])
def test_the_last_user_is_rejected_if_others_were_taken_before(deployment, crm, row):
    """By an earlier delivery, though it has but a receipt: else the user would be
    pending for good. First it is told, since the file may have changed."""
    others = [f"u{n}" for n in range(190, 199)]
    log(deployment, *others, **row)
    with Playing(always=(422, {}, {})) as receiver:
        first = send(deployment, crm(receiver), **BEST)
        second = send(deployment, crm(receiver), **BEST)

    assert "accepted nobody" in first["failure"]
    assert second["failure"] == ""
    assert first["pending"] - second["pending"] == 1
    assert second["tallies"]["add"]["rejected"] == {"status 422": 1}


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


@pytest.mark.parametrize("which", ["winback", "--all"])
def test_a_delivery_under_way_ends_and_goes_on_where_it_was(
    deployment, folder, command, which
):
    states = []

    class Night(Receiver):
        def take(self, *request: Any) -> Any:
            if self.requests == 2:
                name = None if which == "--all" else "winback"
                with open_deployment() as here:
                    stopping.change(here, name, is_stopped=True)
                    states.extend(stopping.states(here, name))
            return super().take(*request)

    with Night() as receiver:
        crm(folder, receiver)
        code, sent = command("send", "winback")
        again, refused = command("send", "winback")
        heard = receiver.requests
        command("resume", which)
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


@pytest.mark.parametrize("is_set", [False, True])
def test_removals_wait_as_well_and_forgetting_says_so(
    deployment, folder, command, is_set
):
    """By the setting, and by the command, which stops all but lets go on by name."""
    quiet = {"PROPENSITY_SENDS": "no"} if is_set else {}
    with Receiver() as receiver:
        crm(folder, receiver)
        command("send", "winback")
        heard = receiver.requests
        with entered(deployment.environment | quiet):
            if not is_set:
                command("stop", "winback")
                command("stop", "--all")
            report = forget.run(Settings.from_environment(), ["u199"])
            next_week(deployment, ALL)
            sent, _ = command("send", "winback")
            ended, _ = command("end", "winback")
        if not is_set:
            command("resume", "--all")
            sent, _ = command("send", "winback")
            command("resume", "winback")
        assert receiver.requests == heard
        command("send", "winback")

    assert report["receivers"][0]["removal"] == receivers.STOPPED
    assert report["left"] > 0
    assert (sent, ended) == (Exit.FAILED, Exit.FAILED)
    assert receiver.users["remove", "u199"] == 1


@pytest.mark.parametrize("action", ["send", "end"])
@pytest.mark.parametrize("job", ["", "propensity-operator"])
def test_a_receiver_s_words_are_for_the_person_who_sends(
    deployment, folder, capsys, job, action
):
    """A terminal shows them; the log keeps what a job prints. The command fails: a
    script that took its word would delete the file of users who are on the list."""
    closed = 403, {}, {"error": "the token of Anna Muster has expired"}
    with Playing() as receiver, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUD_RUN_JOB", job)
        crm(folder, receiver)
        if action == "end":
            main(["audience", "send", "winback"])
        receiver.always = closed
        code = main(["audience", action, "winback"])

    rows = deployment.rows("SELECT DISTINCT reason FROM ma_audience_ledger")
    assert code == Exit.FAILED
    assert ("Anna Muster has expired" in capsys.readouterr().err) == (not job)
    assert [row["reason"] for row in rows if row["reason"]] == ["status 403"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("winbakc",), "Did you mean 'winback'?"),
        (("winback", "--destination", "crn"), "It was sent to: crm"),
    ],
)
def test_an_ending_of_what_there_never_was_fails(
    deployment, folder, command, words, said
):
    """A misspelt name in a runbook must not look like a success."""
    with Receiver() as receiver:
        crm(folder, receiver)
        command("send", "winback")
        code, answer = command("end", *words)
        assert (code, answer["error"]["hint"]) == (Exit.FAILED, said)

        (folder / "winback.toml").unlink()
        codes = [command("end", "winback")[0] for _ in range(2)]

    assert codes == [Exit.DONE, Exit.DONE]
    assert receiver.users["remove", "u199"] == 1
