"""Requests to functions, and commands in the operators' job: sent, and waited for."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import secrets
import sys
import tempfile
import time
from datetime import UTC, datetime

from deploy import DeploymentError, UsageError, functions
from deploy.shell import Shell, tell

# Half an hour, as long as Cloud Scheduler waits, and a line's way into the log.
CALL_S = 1860
# A job's line reaches the log some seconds after its end.
TRIES = 12
COMMANDS = (
    *("versions", "promote", "rollback", "pin", "dashboard", "doctor", "forget"),
    *("dead-letters", "audience", "deployment"),
)


def call(shell: Shell, options: argparse.Namespace) -> int:
    """
    Send one request to a scheduled function by hand: Cloud Scheduler sends it, which
    needs neither a machine in the project's network nor a token. Waits for the
    function's line in the log and shows it; exits with 0 if the run succeeded.

      deploy/call.sh FUNCTION [REQUEST] [--hang-up] [--dry-run] [--deployment FILE]
      deploy/call.sh predictions '{"use_case": "ga4_purchase", "force": true}'
      deploy/call.sh model_training '{"as_of": "2026-02-01"}'
      deploy/call.sh compact_features
    With --hang-up the scheduler hangs up after 15 seconds, and the run may go on.
    """
    target = options.target
    scheduled = [one.target for one in functions.load() if one.schedule]
    if target not in scheduled:
        known = ", ".join(scheduled[:-1])
        raise UsageError(f"FUNCTION is '{target}'. Use {known} or {scheduled[-1]}")
    request = options.request if options.request else "{}"
    use_case = use_case_of(request)
    if not shell.function(target):
        return 1
    # One for each request: two may be under way at once. deploy/setup.sh deletes one
    # that is over an hour old, whose script was killed.
    job = f"{shell.d.prefix}-by-hand-{time.time():.0f}-{os.getpid()}"
    deadline = "15s" if options.hang_up else "1800s"
    url = shell.url_of(target)
    # Where the scheduler hangs up, its own line comes first and says so.
    failing = "" if options.hang_up else job
    lines = lines_of(shell.d.name(target), use_case, failing=failing)
    shell.run("call", job=job, url=url, request=request, deadline=deadline)
    line = ""
    ends = time.monotonic() + CALL_S
    try:
        shell.run("call_now", job=job)
        tell("# waiting for the function's line in the log, for half an hour at most")
        while not line and time.monotonic() < ends:
            line = shell.run("called_line", lines=lines, is_read=True)
            if shell.is_dry:
                return 0
            if not line:
                time.sleep(10)
    finally:
        if line:
            print(line)
        shell.run("call_done", job=job)
    if not line:
        missing = "the log has no line after half an hour"
        raise DeploymentError(f"{missing}; the run may still be under way")
    return int("\tok\t" not in line)


def use_case_of(request: str) -> str:
    """Return which use case a request is about; raise UsageError if it is no object."""
    with contextlib.suppress(ValueError):
        read = json.loads(request)
        if isinstance(read, dict):
            return str(read.get("use_case", ""))
    raise UsageError(
        f"REQUEST is '{request}', which is not a JSON object. Example: "
        "'{\"force\": true}'"
    )


def lines_of(service: str, use_case: str, *, failing: str) -> str:
    """
    Return a filter of the log: what a service says of its run from now on.

    Args:
        use_case: Another one may run meanwhile. The line of a request that was not
            understood names none.
        failing: A schedule whose failures are shown, too; "" for none.
    """
    line = f'resource.labels.service_name="{service}" AND jsonPayload.outcome:*'
    if use_case:
        other = f'jsonPayload.use_case:* AND NOT jsonPayload.use_case="{use_case}"'
        line += f" AND NOT ({other})"
    lines = f"({line})"
    if failing:
        job = f'resource.labels.job_id="{failing}" AND severity>=ERROR'
        lines += f' OR (resource.type="cloud_scheduler_job" AND {job})'
    return f'timestamp>="{_now()}" AND ({lines})'


def operate(shell: Shell, options: argparse.Namespace) -> int:
    """
    Run a command of propensity in the deployment's own job, under the operators'
    account: on this machine it needs gcloud, the deployment's folder and `make
    setup-deploy`. Waits for it, prints its answer, and exits with its exit code.
    Options before COMMAND are this script's.

      deploy/operate.sh [--dry-run] [--deployment FILE] COMMAND [WORD]...
      deploy/operate.sh audience send winback
      deploy/operate.sh rollback --use-case ga4_purchase
      deploy/operate.sh forget - < ids.txt
    """
    command = options.command
    problem = refusal(command)
    if problem:
        raise UsageError(problem)
    if not shell.function("model_training"):
        return 1
    object_ = _given(shell) if "-" in command else "-"
    since = _now()
    listed = json.dumps(command)
    execution = shell.run("operate", object=object_, listed=listed, is_read=True)
    if shell.is_dry:
        return 0
    executions = "gcloud run jobs executions"
    where = f"{execution} --region={shell.names['region']} --project={shell.d.project}"
    told = "has begun, and continues if you stop waiting. To stop it"
    tell(f"# {execution} {told}: {executions} cancel {where}")
    lines = f'timestamp>="{since}" AND resource.type="cloud_run_job"'
    lines += ' AND jsonPayload.function="operate"'
    lines += f' AND labels."run.googleapis.com/execution_name"="{execution}"'
    tries = TRIES
    while tries:
        time.sleep(5)
        if shell.run("ended", execution=execution, is_read=True):
            tries -= 1
            for entry in json.loads(shell.run("answer", lines=lines, is_read=True)):
                said = entry["jsonPayload"]
                if "exit_code" in said:
                    sys.stderr.write(said["notes"])
                    sys.stdout.write(said["message"])
                    return int(said["exit_code"])
    raise DeploymentError(
        f"{execution} ended without an answer: it was killed, or the log is late. See "
        f"{executions} describe {where}"
    )


def refusal(command: list[str]) -> str:
    """
    Return why a command may not be said; empty where it may.

    A job's words stay in its record, and in the audit log: a mistyped command may be
    followed by users. What else it cannot run, 00-ModelTraining/operate.py refuses.
    """
    name = command[0] if command else ""
    if name not in COMMANDS:
        known = ", ".join(COMMANDS[:-1])
        return f"COMMAND is '{name}'. Use {known} or {COMMANDS[-1]} digest"
    if any("|" in word for word in command):
        return "a word contains '|', which no command takes"
    if name == "forget" and not all(word.startswith("-") for word in command[1:]):
        return (
            "'forget' reads users from standard input here, because a job's record "
            "keeps its words, and takes --use-case=NAME in one word. Example: "
            "deploy/operate.sh forget - < ids.txt"
        )
    return ""


def _given(shell: Shell) -> str:
    """Copy the standard input to an object; return its name, which nobody can guess."""
    users = sys.stdin.buffer.read()
    # The job takes these very bytes.
    name = f"operate/{secrets.token_hex(8)}-{hashlib.sha256(users).hexdigest()}"
    with tempfile.NamedTemporaryFile() as file:
        file.write(users)
        file.flush()
        shell.run("give", users=file.name, object=name)
    return name


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
