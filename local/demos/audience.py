"""
The audience of the demo: its best users, sent to a receiver on this machine.

By the command that anybody uses, in a process of its own. Nobody is written to, so the
lift that 03-ModelEvaluation measures a week later is that of doing nothing, and its
interval should hold 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from local.demos.calls import TIMEOUT_S
from local.errors import LocalError
from local.progress import say, step
from local.receiver import Faults, Limits, Receiver
from local.stack.state import ROOT

NAME = "best_customers"
# Enough users, and enough of them held out, that an interval says something.
DECILES, CONTROL = 3, "20%"
LIMITS = Limits(users=500)

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
    return "unsubscribed" if user_id.endswith("77") else ""


def act(
    environment: Mapping[str, str], folder: Path, use_case: str, as_of: date
) -> None:
    """
    Send the audience of a date, and print what came of it.

    Args:
        environment: Where commands find the deployment.
        folder: For the file of the destination.
        use_case: By its name.
        as_of: Of a publication.

    Raises:
        LocalError: It could not be sent.
    """
    with (
        step(f"sending the audience of {as_of}"),
        Receiver(LIMITS, Faults(rejects=rejects)) as receiver,
    ):
        file = folder / "crm.toml"
        file.write_text(DESTINATION.format(url=receiver.url, batch=LIMITS.users))
        words = [
            *("audience", "send", NAME, "--use-case", use_case, "--as-of", str(as_of)),
            *("--deciles", str(DECILES), "--control", CONTROL, "--to", str(file)),
        ]
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
        reason = process.stderr.strip() or "no reason given"
        raise LocalError(f"propensity {' '.join(words)} failed: {reason}")
    say(sent_text(json.loads(process.stdout)))


def sent_text(answer: Mapping[str, Any]) -> str:
    """Return a line on a delivery: what was sent is accepted plus rejected."""
    tally = answer["tallies"]["add"]
    rejected = sum(tally["rejected"].values())
    return (
        f"{answer['as_of']}  audience  the best {DECILES} tenths: "
        f"{tally['sent']:,} users sent = {tally['accepted']:,} accepted + "
        f"{rejected:,} rejected; {answer['held_out']:,} held out"
    )


def lift_text(answer: Mapping[str, Any]) -> str:
    """Return a line on what acting did, as an evaluation found; empty without any."""
    rows = [row for row in answer.get("audiences", ()) if row["audience"] == NAME]
    names = ("", "_low", "_high")
    figures = [rows[-1][f"conversion_difference{end}"] for end in names] if rows else []
    if not figures or None in figures:
        return ""
    moved, low, high = (f"{100 * figure:+.1f}" for figure in figures)
    return (
        f"{answer['as_of']}  lift      conversions of treated less held out: {moved} "
        f"percentage points (95% interval {low} to {high}). Nobody was written to, "
        "so the truth is 0"
    )
