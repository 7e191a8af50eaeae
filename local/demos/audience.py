"""
The audiences of the demo: a receiver on this machine gets its best users, and a list
those customers to whom the shop may write.

As in a deployment, the first date is sent by the command, and later ones by
05-Audiences on its schedule. The receiver writes to no one, but the generated shop
reacts as if it and the mailing did: contacted users buy about 40% more often from
then on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from local.demos.calls import call, command, rows
from local.errors import LocalError
from local.exports.sources import replace_table
from local.generators.shop import Shop
from local.processes import shown
from local.receiver import Receiver
from local.stack.stack import Stack
from propensity.audience import control
from propensity.audience.destinations.destination import ADD, REMOVE
from propensity.audience.programme import programme_lines, read_programmes
from propensity.cli.progress import say, step
from propensity.dashboard import message
from propensity.dashboard.pages import Dashboard
from propensity.dashboard.reading import Window
from propensity.errors import Conflict
from propensity.gcp.warehouse import Warehouse
from propensity.registry.deployment import connected, open_deployment
from propensity.settings import Settings
from propensity.usecases import UseCase

BEST = "best_customers"
MAILING = "mailing"
# Weeks before the last date, whose outcomes are known.
WEEKS = 4
BATCH = 500
FOLDER = resources.files(__package__) / "audiences"
# Lines of the last list that are printed, with its header.
LINES = 4
# A deployment draws a key of its own, which nobody knows.
DEMO_KEY = 32 * "5e"


def declare(stack: Stack, use_case: str, *, is_generated: bool) -> None:
    """Write the audiences' files and the secret of a destination, before a start."""
    folder = _folder(stack, use_case)
    destination = Template(FOLDER.joinpath("crm.toml").read_text())
    address = {"url": stack.url("receiver"), "batch": BATCH}
    texts = {
        folder / "destinations" / "crm.toml": destination.substitute(address),
        stack.state.folder / "secrets" / "CRM_TOKEN": "a token of the demo",
    }
    for file in (FOLDER / ("shop" if is_generated else "own")).iterdir():
        texts[folder / file.name] = file.read_text()
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _folder(stack: Stack, use_case: str) -> Path:
    """Return where the audiences of a use case are declared."""
    return stack.audiences_folder / use_case / "audiences"


def load_customers(client: Any, shop: Shop) -> None:
    """Replace the table of the shop's customers, ``crm.customers``."""
    client.create_dataset("crm", exists_ok=True)
    replace_table(client, f"{client.project}.crm.customers", shop.customers)


def act(
    stack: Stack,
    warehouse: Warehouse,
    use_case: UseCase,
    as_of: date,
    *,
    begins: bool,
) -> None:
    """
    Send the audiences of a date and print the results; raise LocalError if it fails.
    """
    with Receiver(batch=BATCH, port=stack.port("receiver")) as receiver:
        folder = _folder(stack, use_case.name)
        if begins:
            _draw_as_always(stack)
            for file in sorted(folder.glob("*.toml")):
                _send(stack, use_case.name, file.stem, as_of)
        else:
            body = {"use_case": use_case.name, "as_of": as_of.isoformat()}
            call(stack, "audiences", body)
    heard = sum(receiver.users.values())
    how = "by command" if begins else "scheduled"
    for file in sorted(folder.glob("*.toml")):
        of_audience = {"use_case": use_case.name, "audience": file.stem}
        users = Counter[str]()
        for row in rows(warehouse, "audience_deliveries", **of_audience):
            if row["as_of"] == as_of:
                what = row["action"] if row["status"] == "accepted" else row["status"]
                users[what] += row["users"]
        if file.stem == BEST and heard != users[ADD] + users[REMOVE]:
            raise LocalError(f"the receiver took {heard} users, and {users} recorded")
        [chosen, *_] = rows(warehouse, "audience_selections", **of_audience)
        say(
            f"{as_of}  audience  {file.stem}, {how}: {users[ADD]:,} users added, "
            f"{users[REMOVE]:,} removed, {users['rejected']:,} rejected; control group "
            f"of {chosen['control_users']:,}"
        )


def _draw_as_always(stack: Stack) -> None:
    """Give a new state the same key as others, so that two demos print the same."""
    settings = Settings.from_environment(stack.environment)
    key = json.dumps({"key": DEMO_KEY}).encode()
    with stack.entered(), connected(settings) as (artifacts, _), suppress(Conflict):
        artifacts.create(control.KEY, key, content_type="application/json")


def _send(stack: Stack, use_case: str, name: str, as_of: date) -> None:
    words = ("audience", "send", name, "--use-case", use_case, "--as-of", f"{as_of}")
    with step(f"{name} of {as_of}"):
        command(stack, *words)


def last_date(warehouse: Warehouse, use_case: str) -> date | None:
    """Return the last date of an audience; None before an earlier demo chose it."""
    dates = rows(warehouse, "audience_selections", use_case=use_case, audience=BEST)
    return dates[0]["as_of"] if dates else None


def contacted(warehouse: Warehouse, use_case: str) -> dict[str, date]:
    """Return the day of the first contact of each contacted user."""
    users = rows(warehouse, "contacted_users", use_case=use_case)
    return {row["user_id"]: row["as_of"] for row in users}


def monday(stack: Stack, use_case: str, as_of: date) -> Iterator[str]:
    """Yield what a marketer has on the last Monday: the list, and the message."""
    folder = stack.bucket_folder / "audiences" / use_case / MAILING / f"{as_of}"
    for file in sorted(folder.glob("*.csv")):
        lines = file.read_text("utf-8-sig").splitlines()
        yield f"\nThe list of {as_of}, best first: {shown(file)}"
        for line in lines[:LINES]:
            yield f"  {line}"
        yield f"  … {len(lines) - LINES:,} more"
    yield f"\nThe message of {as_of}:"
    for said in _message(stack, as_of):
        yield f"  {said}"


def _message(stack: Stack, as_of: date) -> list[str]:
    """Return the sentences that 05-Audiences sends to a chat, if one is set."""
    page = shown(stack.state.dashboard / "index.html")
    settings = Settings.from_environment(stack.environment)
    with stack.entered(), connected(settings) as (artifacts, warehouse):
        window = Window.up_to(as_of)
        read = Dashboard.read(settings, warehouse, artifacts, window)
        return message.sentences(read, link=page)


def end(stack: Stack, use_case: str) -> None:
    """
    Take the users of the best customers off the receiver's list, as its last day is.

    The receiver is there while a demo plays, and could not be told later.
    """
    with Receiver(batch=BATCH, port=stack.port("receiver")):
        command(stack, "audience", "end", BEST, "--use-case", use_case)


def brought_text(stack: Stack, use_case: str, until: date, *, reacts: bool) -> str:
    """
    Return a line on the money that contacting brought, as in the dashboard's heading;
    empty before outcomes.
    """
    with stack.entered(), open_deployment(use_case) as opened:
        together = read_programmes(opened, until=until)
        currency = opened.use_case.currency
    if not together:
        return ""
    brought = programme_lines(together[0], currency)[0]
    truth = "The fake CRM doesn't contact anyone, so the true effect is 0."
    if reacts:
        truth = "In this shop a contact makes users buy about 40% more often."
    return f"{until}  brought   {brought} {truth}"
