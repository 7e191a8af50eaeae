"""
The audience of the demo: its best users, sent to a receiver on this machine.

By the ordinary command, in a process of its own. The receiver writes to no one, so the
lift that 03-ModelEvaluation measures a week later is that of doing nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from string import Template
from typing import Any

from local.demos.calls import FOLDER
from local.errors import LocalError
from local.progress import say, step
from local.receiver import HOST, PORT, Receiver
from local.stack.stack import Stack

NAME = "best_customers"
# Enough users, and a control group large enough that an interval says something.
DECILES, CONTROL = 3, "20%"
BATCH = 500


def act(stack: Stack, use_case: str, as_of: date) -> None:
    """
    Send the audience of a date, and print the results.

    Args:
        stack: Running; the file of the destination stays in its state's folder.
        use_case: By its name.
        as_of: Of a publication.

    Raises:
        LocalError: It could not be sent.
    """
    with (
        step(f"the audience of {as_of}"),
        Receiver(
            batch=BATCH, rejects=lambda user: "unsubscribed" * user.endswith("77")
        ) as receiver,
    ):
        file = stack.state.folder / "crm.toml"
        text = Template(FOLDER.joinpath("crm.toml").read_text())
        file.write_text(text.substitute(url=receiver.url, batch=BATCH))
        words = [
            *("audience", "send", NAME, "--use-case", use_case, "--as-of", str(as_of)),
            *("--deciles", str(DECILES), "--control", CONTROL, "--to", str(file)),
        ]
        process = stack.command(*words, "--json")
        # An example to play on with, for `python -m local.receiver`.
        file.write_text(text.substitute(url=f"http://{HOST}:{PORT}", batch=BATCH))
    if process.returncode:
        raise LocalError(f"propensity {' '.join(words)} failed: {process.stderr}")
    answer = json.loads(process.stdout)
    tally = answer["tallies"]["add"]
    say(
        f"{answer['as_of']}  audience  the top {10 * DECILES}%: "
        f"{tally['sent']:,} users sent = {tally['accepted']:,} accepted + "
        f"{sum(tally['rejected'].values()):,} rejected; control group of "
        f"{answer['held_out']:,}"
    )


def lift_text(answer: Mapping[str, Any]) -> str:
    """Return a line on the lift that an evaluation measured; empty without any."""
    rows = [row for row in answer.get("audiences", ()) if row["audience"] == NAME]
    names = ("", "_low", "_high")
    figures = [rows[-1][f"conversion_difference{end}"] for end in names] if rows else []
    if not figures or None in figures:
        return ""
    difference, low, high = (f"{100 * figure:+.1f}" for figure in figures)
    return (
        f"{answer['as_of']}  lift      contacted users minus control group: "
        f"{difference} percentage points (95% interval {low} to {high}). The "
        "fake CRM contacts no one, so the true effect is 0"
    )
