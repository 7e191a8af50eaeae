"""Lists of destinations, specified: whoever is on one is taken off, or is named."""

from __future__ import annotations

from datetime import timedelta

import pytest

from local.receiver import Receiver
from propensity.audience import declared, run
from propensity.audience.lists import listed
from propensity.errors import RequestError
from propensity.registry.deployment import open_deployment
from tests.offline.audience.conftest import MONDAY, START, ledger, send
from tests.support.receivers import Playing
from tests.support.rows import log_request

BEST = {"control": "0%", "top": 10}


@pytest.fixture
def folder(tmp_path, monkeypatch):
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

    def test_an_audience_that_ends_takes_its_users_off_the_list(
        self, deployment, crm, folder
    ):
        """Also on the day on which they were added; and once."""
        (folder / "winback.sql").write_text(
            "SELECT user_id, CONCAT(user_id, '@example.com') AS email FROM publication"
        )
        with Receiver() as receiver:
            file = crm(receiver, remove=True) / "destinations" / "crm.toml"
            file.write_text(file.read_text().replace('"{user_id}"', '"{email}"'))
            send(deployment, folder, **BEST)
            [done] = end(deployment)
            again = end(deployment)

        removed = {user for action, user in receiver.users if action == "remove"}
        assert removed == {f"u{n}@example.com" for n in range(190, 200)}
        assert (done.accepted, done.pending, again) == (10, 0, [])

    def test_an_interrupted_ending_continues(self, deployment, crm, folder):
        taken = [None] * 4
        with Playing(*taken, always=(403, {}, {})) as receiver:
            send(deployment, crm(receiver, remove=True, batch=4), **BEST)
            [done] = end(deployment)
            assert done.failure
            deployment.clock.advance(86_400)
            rows = ledger(deployment)
            pending = {row["request"] for row in rows if row["status"] == "pending"}
            receiver.always = None
            [done] = end(deployment)

        assert done.accepted == 6
        assert pending < {*receiver.bodies}

    def test_a_person_records_a_removal(self, deployment, crm, folder):
        with Receiver() as receiver:
            send(deployment, crm(receiver), **BEST)
            with pytest.raises(RequestError, match="and 10 of winback are on") as no:
                end(deployment)
            (folder / "destinations" / "crm.toml").unlink()
            with pytest.raises(RequestError, match="no file in audiences/destinations"):
                end(deployment)
            [done] = end(deployment, is_by_hand=True)

        assert "--removed-by-hand" in no.value.hint
        assert (done.accepted, end(deployment)) == (10, [])
        assert {action for action, _ in receiver.users} == {"add"}


@pytest.mark.parametrize(
    ("added", "address", "lists"),
    [("pending", None, 1), ("accepted", None, 0), ("accepted", "another", 1)],
)
def test_who_was_added_before_the_removal_of_a_day_is_off(
    deployment, added, address, lists
):
    """Unless a request waits, which is sent again after it, or by another address."""
    key = {"use_case": "ga4_purchase", "audience": "winback", "as_of": MONDAY}
    add = {"action": "add", "status": added, "recorded_at": START}
    remove = {"action": "remove", "status": "accepted", "address": address}
    remove["recorded_at"] = START + timedelta(hours=1)
    for row in (add, remove):
        log_request(deployment.warehouse, "u1", **key, **row)
    with open_deployment() as opened_run:
        assert len(listed(opened_run)) == lists


class TestMoved:
    """Another name in the destination's file, or another destination."""

    def test_files_in_the_bucket_are_no_list(self, deployment, crm):
        """To practise with the bucket first is no reason to refuse."""
        send(deployment, **BEST)
        with Receiver() as receiver:
            assert send(deployment, crm(receiver), **BEST)["failure"] == ""
