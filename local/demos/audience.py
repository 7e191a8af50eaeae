"""
The audience of the demo: its best users, sent to a receiver that enforces limits.

By the command that anybody uses, in a process of its own. The receiver runs on this
machine while users are sent and takes their ids for nothing: nobody is written to. So
the lift that 03-ModelEvaluation measures a week later is that of doing nothing, and its
interval should hold 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from local.demos.calls import TIMEOUT_S
from local.errors import LocalError
from local.progress import say, step
from local.receiver import Faults, Limits, Receiver
from local.stack.state import ROOT
from offline.audience.requests import ADD, REMOVE
from offline.dashboard.cases import audience_sentence
from propensity.pages.words import plural

NAME = "best_customers"
# Enough users, and enough of them held out, that an interval says something.
DECILES, CONTROL = 3, "20%"
# The last so many weeks with probabilities: their outcomes are evaluated in the demo,
# and the second has members who have left since the first.
WEEKS = 2

LIMITS = Limits(users=100)
# One in so many users is on the receiver's own list of those who want no mail.
UNSUBSCRIBED = 50

DESTINATION = """\
# The receiver of the demo; `python -m local.receiver` is one to play with.
kind = "http"
name = "crm"
url = "{url}/lists/{{audience}}"
batch = {batch}

[body]
users = "{{users}}"

[user]
id = "{{user_id}}"
score = "{{probability}}"

[remove]
method = "DELETE"

[answer]
rejected = "errors"
user = "id"
reason = "message"
"""


def rejects(user_id: str) -> str:
    """Return why the receiver does not take a user; empty for most."""
    is_listed = zlib.crc32(user_id.encode()) % UNSUBSCRIBED == 0
    return "unsubscribed" if is_listed else ""


def act(
    environment: Mapping[str, str],
    folder: Path,
    use_case: str,
    as_of: date,
    *,
    is_first: bool,
) -> None:
    """
    Send the audience of a date, and say what came of it.

    Args:
        environment: Where commands find the deployment.
        folder: For the file of the destination.
        use_case: By its name.
        as_of: Of a publication.
        is_first: Whether to say first what sending would do.

    Raises:
        LocalError: It could not be sent.
    """
    with Receiver(LIMITS, Faults(rejects=rejects)) as receiver:
        file = folder / "crm.toml"
        file.write_text(DESTINATION.format(url=receiver.url, batch=LIMITS.users))
        options = (
            *(NAME, "--use-case", use_case, "--as-of", str(as_of)),
            *("--deciles", str(DECILES), "--control", CONTROL, "--to", str(file)),
        )
        if is_first:
            with step(f"previewing the audience of {as_of}"):
                previewed = command(environment, "audience", "preview", *options)
            say(preview_text(previewed))
        with step(f"sending the audience of {as_of}"):
            answer = command(environment, "audience", "send", *options)
        say(sent_text(answer))


def command(environment: Mapping[str, str], *words: str) -> dict[str, Any]:
    """
    Run a command of the project, and return what it says to programs.

    Raises:
        LocalError: It failed.
    """
    process = subprocess.run(
        [sys.executable, "-m", "propensity", *words, "--json"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    if process.returncode:
        reason = process.stderr.strip() or "it said nothing"
        raise LocalError(f"propensity {' '.join(words)} failed: {reason}")
    answer: dict[str, Any] = json.loads(process.stdout)
    return answer


def preview_text(answer: Mapping[str, Any]) -> str:
    """Return a line on what sending would do."""
    return (
        f"{answer['as_of']}  preview   audience {answer['audience']}: "
        f"{answer['members']:,} users ({answer['selection']}), "
        f"{answer['held_out']:,} held out; {answer['reachable']:,} in "
        f"{plural(answer['requests'], 'request')}, of whom "
        f"{answer['expected']:,.1f} would {answer['outcome']} as things are"
    )


def sent_text(answer: Mapping[str, Any]) -> str:
    """Return a line on a delivery: what was sent is accepted plus rejected."""
    parts = []
    # In the order in which they are sent.
    for action, verb in ((REMOVE, "taken off"), (ADD, "sent")):
        tally = answer["tallies"][action]
        if not tally["sent"]:
            continue
        reasons = ", ".join(
            f"{count:,} {reason}" for reason, count in tally["rejected"].items()
        )
        parts.append(
            f"{tally['sent']:,} {verb} = {tally['accepted']:,} accepted + "
            f"{sum(tally['rejected'].values()):,} rejected"
            + (f" ({reasons})" if reasons else "")
        )
    if answer["before"]:
        parts.append(f"{answer['before']:,} were sent before")
    return (
        f"{answer['as_of']}  send      audience {answer['audience']} to "
        f"{answer['destination']}: {'; '.join(parts) or 'nobody'}; "
        f"{answer['held_out']:,} held out"
    )


def lift_text(answer: Mapping[str, Any]) -> str:
    """Return a line on what acting did, as an evaluation found; empty without any."""
    rows = [row for row in answer.get("audiences", ()) if row["audience"] == NAME]
    if not rows:
        return ""
    newest = max(rows, key=lambda row: row["week"])
    return (
        f"{answer['as_of']}  lift      {audience_sentence(newest)} "
        "Nobody was written to, so the truth is 0"
    )
