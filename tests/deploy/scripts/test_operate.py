"""
Commands in the operators' job, and requests by hand, by their scripts: what Google is
asked, what is shown, and what may not be said.
"""

from __future__ import annotations

import hashlib
import io
import json
import re

import pytest

from tests.deploy.conftest import POOL, Cloud

# The same word twice, which gcloud refuses in its list.
SEND = ("audience", "send", "winback", "--use-case", "winback")
EXECUTION = "propensity-operator-x7k2p"
SAID = {"message": "sent\n", "exit_code": 3, "notes": "one waits\n"}


@pytest.fixture
def operated(inside) -> Cloud:
    """A cloud whose job answers at once."""
    inside.settings["DEPLOY_FUNCTIONS"] = "model_training predictions"
    inside.rules[:0] = [
        ("run jobs execute", EXECUTION, 0),
        ("executions describe", "2026-03-02T03:30:00Z", 0),
        ("logging read", json.dumps([{"jsonPayload": SAID}]), 0),
    ]
    return inside


def words_of(call: str) -> list[str]:
    """Return the words that a call has the job run."""
    [args] = re.findall(r"--args=\^\|\^(\S.*?) --format", call)
    *first, listed = args.split("|")
    return first + json.loads(listed)


def test_a_command_runs_in_the_job_and_its_answer_is_shown(operated, capsys):
    """As if it ran here: its output, its notes, and its exit code. A job that was
    killed is no success."""
    status = operated.do("operate", *SEND)
    said = capsys.readouterr()
    started, *_, read = operated.calls()

    assert (status, said.out) == (3, "sent\n")
    assert "one waits" in said.err
    assert words_of(started) == ["--", "python3", "operate.py", "-", *SEND]
    assert f'execution_name"="{EXECUTION}"' in read
    operated.rules.insert(0, ("logging read", "[]", 0))
    assert operated.do("operate", *SEND) == 1
    assert f"{EXECUTION} ended without an answer" in capsys.readouterr().err


def test_users_are_in_no_word_of_a_job(operated, monkeypatch):
    """Its record and the audit log keep words for good; the object is deleted. Nobody
    else can guess its name or put other users there."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ana\n")))
    status = operated.do("operate", "forget", "-")
    copied, started, *_ = operated.calls()
    [name] = re.findall(r"^gcloud storage cp \S+ gs://my-bucket/(operate/\S+)", copied)

    assert status == 3
    assert words_of(started)[3:] == [name, "forget", "-"]
    assert name.endswith("-" + hashlib.sha256(b"ana\n").hexdigest())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ana\n")))
    operated.do("operate", "forget", "-")
    assert operated.count(name) == operated.count("ana") == 0


EVERY_BRANCH = f"{POOL}/attribute.repository/me/shop"
REFUSED = [
    ("operate", ["forgett", "ana"], "COMMAND is 'forgett'. Use versions"),
    ("operate", ["forget", "--use-case=x", "ana"], "forget - < ids.txt"),
    ("operate", ["audience", "send", "a|b"], "contains '|'"),
    ("call", ["get_proba"], "FUNCTION is 'get_proba'"),
    ("schedule", ["predicitons"], "FUNCTION is 'predicitons'"),
    ("call", ["predictions", "[1]"], "REQUEST is '[1]', which is not a JSON object"),
    ("roles", ["allUsers"], "Example: user:ana@example.com"),
    ("roles", [EVERY_BRANCH, "--planner"], "every branch of a repository"),
]


@pytest.mark.parametrize(("script", "words", "told"), REFUSED)
def test_what_may_not_be_said_is_refused_in_a_line(
    operated, script, words, told, capsys
):
    assert (operated.do(script, *words), operated.calls()) == (2, [])
    [said] = capsys.readouterr().err.splitlines()
    assert told in said


REQUEST = '{"use_case": "ga4_purchase", "force": true}'


@pytest.mark.parametrize(("outcome", "status"), [("ok", 0), ("score_shift", 1)])
def test_a_request_by_hand_is_sent_once(operated, outcome, status, capsys):
    """By a schedule of its own with that very body; the function's line is shown."""
    line = f"2026-11-26T10:00:00Z\t{outcome}\tscores\t\t"
    operated.rules.insert(0, ("gcloud logging read", line, 0))
    assert operated.do("call", "predictions", REQUEST) == status
    made, started, _, removed = [c for c in operated.calls() if "describe" not in c]
    job = made.split()[5]

    assert line in capsys.readouterr().out
    assert f"--message-body={REQUEST} " in made
    assert "--max-retry-attempts=0" in made
    assert "--oidc-service-account-email=propensity-scheduler@" in made
    assert started.startswith(f"gcloud scheduler jobs run {job} ")
    assert removed.startswith(f"gcloud scheduler jobs delete {job} ")
