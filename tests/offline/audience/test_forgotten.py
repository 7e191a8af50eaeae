"""Forgetting, specified with receivers: who has the person is named, or asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands.answers import Exit
from commands.cli import main
from local.receiver import Receiver
from offline import forget, receivers
from propensity import usecases
from propensity.audience import declared
from propensity.registry.deployment import opened
from tests.offline.audience.conftest import act, next_week
from tests.offline.audience.conftest import run as delivering
from tests.support.deployment import Deployment

GONE = "u199"
ALL = {f"u{number:03}": (number + 1) / 400 for number in range(200)}


@pytest.fixture
def folder(folder: Path) -> Path:
    """The same, with a statement of its own, which has addresses."""
    (folder / "winback.sql").write_text(
        "SELECT user_id, CONCAT(user_id, '@x.org') AS email FROM publication"
    )
    return folder


def crm(folder: Path, receiver: Receiver, *, removes: bool = True) -> None:
    text = f'kind = "http"\nname = "crm"\nurl = "{receiver.url}/users"\nrate = 0\n'
    text += '[user]\nid = "{user_id}"\nemail = "{email}"\n'
    if removes:
        text += '[remove]\nmethod = "DELETE"\n'
    (folder / "destinations" / "crm.toml").write_text(text)


def send(deployment: Deployment) -> dict[str, Any]:
    with opened() as opened_run:
        named = declared.load(opened_run.use_case, "winback")
    return act(deployment, delivering.send, named).answer()


def test_a_forgotten_user_is_taken_off_by_the_sent_address(emulated, folder, capsys):
    """
    Defect: the record of who has the person was deleted, so no later delivery could
    remove them.

    The rows that the removal needs stay until it was done, and forgetting says so.
    """
    with Receiver() as receiver:
        crm(folder, receiver)
        send(emulated)
        assert main(["forget", GONE, "--json"]) == Exit.LEFT_OVER
        printed = capsys.readouterr()
        report = json.loads(printed.out)
        next_week(emulated, ALL)
        delivery = send(emulated)
        bodies = list(receiver.bodies.values())

    assert report["receivers"] == [
        {
            "destination": "crm",
            "audience": "winback",
            "use_case": "ga4_purchase",
            "users": 1,
            "newest": "2026-03-02",
            "removal": "the next delivery removes them",
        }
    ]
    assert "crm took 1 of these users by audience winback" in printed.err
    assert delivery["tallies"]["remove"]["accepted"] == 1
    removed = [{"id": GONE, "email": f"{GONE}@x.org"}]
    assert json.loads(bodies[1])["users"] == removed
    assert receiver.users["add", GONE] == 1

    report = forget.run(emulated.settings, [GONE])

    assert report["left"] == 0
    assert report["receivers"][0]["removal"] == "removed"
    assert emulated.traces(GONE) == set()


def test_a_receiver_that_no_delivery_will_ask_is_for_a_person(folder):
    """And one whose files are wrong is asked once they are right."""

    def removal() -> str:
        return receivers.removal_of(usecases.load("ga4_purchase"), "winback", "crm")

    audience = folder / "winback.toml"
    destination = folder / "destinations/crm.toml"
    able = 'kind = "http"\nname = "crm"\n[remove]\n'
    destination.write_text(able)
    assert removal() == receivers.WAITS
    text = audience.read_text()
    audience.write_text("top = ten")
    assert removal() == receivers.WAITS
    audience.write_text(text.replace("crm", "bucket"))
    assert removal() == receivers.ENDS
    audience.unlink()
    assert removal() == receivers.ENDS
    for other in (able.replace("[remove]", ""), able.replace('"crm"', '"crm2"')):
        destination.write_text(other)
        assert removal() == receivers.BY_HAND
    destination.unlink()
    assert removal() == receivers.BY_HAND
