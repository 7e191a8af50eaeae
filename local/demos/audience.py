"""
The audience of the demo: its best users, sent to a receiver on this machine.

As in a deployment, the first date is sent by the command, and later ones by
05-Audiences on its schedule. The receiver writes to no one, but the generated shop
reacts as if it did: contacted users buy about twice as often from then on. Real shops
react less, and need more users or weeks for a verdict.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from importlib import resources
from string import Template
from typing import Any

from local.demos.calls import call, command, rows
from local.errors import LocalError
from local.receiver import Receiver, unsubscribed
from local.stack.stack import Stack
from propensity.audience.result import newest, result, sentence
from propensity.cli.progress import say, step
from propensity.gcp.warehouse import Warehouse
from propensity.usecases import UseCase

NAME = "best_customers"
# The first by the command, the others by the schedule.
WEEKS = 3
BATCH = 500
FOLDER = resources.files(__package__)
# A deployment draws a key of its own, which nobody knows.
DEMO_KEY = 32 * "5e"


def declare(stack: Stack, use_case: str) -> None:
    """Write the audience's files and the secret of its destination, before a start."""
    folder = stack.audiences_folder / use_case / "audiences"
    destination = Template(FOLDER.joinpath("crm.toml").read_text())
    address = {"url": stack.url("receiver"), "batch": BATCH}
    for path, text in {
        folder / f"{NAME}.toml": FOLDER.joinpath(f"{NAME}.toml").read_text(),
        folder / "destinations" / "crm.toml": destination.substitute(address),
        stack.state.folder / "secrets" / "CRM_TOKEN": "a token of the demo",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def act(stack: Stack, use_case: str, as_of: date, *, is_first: bool) -> None:
    """
    Send the audience of a date and print the results; raise LocalError if it fails.
    """
    if is_first:
        _draw_as_always(stack)
    port = stack.port("receiver")
    with Receiver(batch=BATCH, rejects=unsubscribed, port=port) as receiver:
        if is_first:
            done = _by_hand(stack, use_case, as_of)
            done |= done["tallies"]["add"]
            done["rejected"] = sum(done["rejected"].values())
        else:
            body = {"use_case": use_case, "as_of": as_of.isoformat()}
            [done] = call(stack, "audiences", body)["audiences"]
    heard = sum(receiver.users.values())
    if heard != done["accepted"]:
        raise LocalError(f"the receiver took {heard} users, and {done} was recorded")
    counts = Counter[str]()
    for (action, _), times in receiver.users.items():
        counts[action] += times
    sender = "by command" if is_first else "scheduled"
    say(
        f"{as_of}  audience  {sender}: {counts['add']:,} users added, "
        f"{counts['remove']:,} removed, {done['rejected']:,} rejected; control group "
        f"of {done['held_out']:,}"
    )


def _draw_as_always(stack: Stack) -> None:
    """Give a new state the same key as others, so that two demos print the same."""
    from google.api_core.exceptions import PreconditionFailed
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    from propensity.audience import control

    client = storage.Client(
        project=stack.options.project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": stack.url("storage")},
    )
    key = client.bucket(stack.options.bucket).blob(control.KEY)
    with suppress(PreconditionFailed):
        text = json.dumps({"key": DEMO_KEY})
        key.upload_from_string(text, "application/json", if_generation_match=0)
    client.close()


def _by_hand(stack: Stack, use_case: str, as_of: date) -> dict[str, Any]:
    words = ("audience", "send", NAME, "--use-case", use_case, "--as-of", f"{as_of}")
    with step(f"the audience of {as_of}"):
        return command(stack, *words)


def last_date(warehouse: Warehouse, use_case: str) -> date | None:
    """Return the last date of the audience; None before an earlier demo chose it."""
    dates = rows(warehouse, "audience_selections", use_case=use_case, audience=NAME)
    return dates[0]["as_of"] if dates else None


def contacted(warehouse: Warehouse, use_case: str) -> dict[str, date]:
    """Return the day of the first contact of each contacted user."""
    users = rows(warehouse, "contacted_users", use_case=use_case, audience=NAME)
    return {row["user_id"]: row["as_of"] for row in users}


def uplift_text(answer: Mapping[str, Any], *, reacts: bool) -> str:
    """
    Return a line on the uplift that an evaluation measured; empty without any.

    Args:
        reacts: Whether the users are a generated shop's, who react to a contact.
    """
    of_audience = [
        row for row in answer.get("audiences", ()) if row["audience"] == NAME
    ]
    if not of_audience or of_audience[-1]["conversion_difference"] is None:
        return ""
    names = ("", "_low", "_high")
    figures = [of_audience[-1][f"conversion_difference{end}"] for end in names]
    difference, low, high = (f"{100 * figure:+z.1f}" for figure in figures)
    truth = (
        "In this shop a contact makes users buy about twice as often"
        if reacts
        else "The fake CRM doesn't contact anyone, so the true effect is 0"
    )
    return (
        f"{answer['as_of']}  uplift    contacted users minus control group: "
        f"{difference} percentage points (95% interval {low} to {high}). {truth}"
    )


def brought_text(warehouse: Warehouse, use_case: UseCase, until: date) -> str:
    """Return a line on the money that contacting brought; empty before outcomes."""
    named = {"use_case": use_case.name, "until": until}
    lifts = rows(warehouse, "audience_lifts", since=date(1970, 1, 1), **named)
    shown = newest([row for row in lifts if row["audience"] == NAME])
    if shown is None:
        return ""
    plans = {row["audience"]: row for row in rows(warehouse, "audience_costs", **named)}
    brought = sentence(result(shown, plans.get(NAME)), use_case.currency)
    return f"{until}  brought   {brought}"
