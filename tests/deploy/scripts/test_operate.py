"""
Commands in the operators' job, by their script: what Google is asked, what is shown,
and what may not be said there.
"""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from tests.deploy.conftest import Cloud

# The same word twice, which gcloud refuses in its list.
SEND = ("audience", "send", "winback", "--use-case", "winback")
EXECUTION = "propensity-operator-x7k2p"
ANSWERED = [
    ("run jobs execute", EXECUTION, 0),
    ("executions describe", "2026-03-02T03:30:00Z", 0),
]


def line(message: str, exit_code: int = 0, notes: str = "") -> str:
    """Return what the log has of a command, as gcloud prints it."""
    said = {"message": message, "exit_code": exit_code, "notes": notes}
    return json.dumps([{"jsonPayload": said}])


@pytest.fixture
def operated(cloud) -> Cloud:
    """A cloud whose job answers at once."""
    cloud.settings["DEPLOY_FUNCTIONS"] = "model_training compact_features"
    answer = line("sent\n", exit_code=3, notes="one waits\n")
    cloud.rules[:0] = [*ANSWERED, ("logging read", answer, 0)]
    return cloud


def words_of(call: str) -> list[str]:
    """Return the words that a call has the job run."""
    [args] = re.findall(r"--args=\^\|\^(\S.*?) --format", call)
    *first, listed = args.split("|")
    return first + json.loads(listed)


def test_a_command_runs_in_the_job_and_its_answer_is_shown(operated):
    """As if it ran here: its output, its notes, and its exit code."""
    done = operated.run("deploy/operate.sh", *SEND)
    started, *_, read = [call for call in operated.calls() if "sleep" not in call]

    assert (done.returncode, done.stdout) == (3, "sent\n")
    assert "one waits" in done.stderr
    assert words_of(started) == ["--", "python3", "operate.py", "-", *SEND]
    assert f'execution_name"="{EXECUTION}"' in read


def test_users_are_in_no_word_of_a_job(operated):
    """Its record and the audit log keep words for good; the object is deleted. Nobody
    else can guess its name or put other users there."""
    done = operated.run("deploy/operate.sh", "forget", "-", stdin="ana\n")
    copied, started, *_ = operated.calls()
    [name] = re.findall(r"^gcloud storage cp \S+ gs://my-bucket/(operate/\S+)", copied)

    assert done.returncode == 3, done.stderr
    assert words_of(started)[3:] == [name, "forget", "-"]
    assert name.endswith("-" + hashlib.sha256(b"ana\n").hexdigest())
    operated.run("deploy/operate.sh", "forget", "-", stdin="ana\n")
    assert operated.count(name) == operated.count("ana") == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "COMMAND is ''. Use versions"),
        (["forgett", "ana"], "COMMAND is 'forgett'. Use versions"),
        (["forget", "ana"], "forget - < ids.txt"),
        (["forget", "--use-case", "ga4_purchase", "ana"], "forget - < ids.txt"),
        (["audience", "send", "a|b"], "contains '|'"),
    ],
)
def test_what_a_job_may_not_be_told_is_refused_in_a_line(operated, words, told):
    refused = operated.run("deploy/operate.sh", *words)

    assert (refused.returncode, operated.calls()) == (2, [])
    [said] = refused.stderr.splitlines()
    assert told in said


def test_a_job_that_was_killed_is_no_success(operated):
    operated.rules.insert(0, ("logging read", "[]", 0))
    done = operated.run("deploy/operate.sh", *SEND)

    assert done.returncode == 1
    assert f"{EXECUTION} ended without an answer" in done.stderr
