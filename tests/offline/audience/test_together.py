"""
Deliveries of one audience that meet: one works at a time, whatever its date.

Of two that meet the other one does its work once the first has written to its ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import pytest

from local.receiver import Receiver
from propensity import tables
from propensity.edges.warehouse import Warehouse
from propensity.errors import Conflict, RunInProgress
from tests.offline.audience.conftest import MONDAY, WEEK, Site, members_of, send

pytestmark = pytest.mark.runs

# Users of another week, of whom half were in the audience before.
OTHERS = {f"u{n:03}": 0.5 - n / 1000 for n in range(150)}
LEASE_S = 5 * 60
# Users in a request of the receiver's file.
BATCH = 7


class Meanwhile:
    """Does something once, after a write to the ledger."""

    def __init__(self, monkeypatch) -> None:
        self.what: Callable[[], object] | None = None
        write = Warehouse.write

        def called(warehouse, table, rows):
            write(warehouse, table, rows)
            what = self.what
            if table == tables.AUDIENCE_LEDGER and what is not None:
                self.what = None
                what()

        monkeypatch.setattr(Warehouse, "write", called)


def check_each_once(site: Site, receiver: Receiver) -> None:
    """Each treated user is in the ledger once, and no receiver was told of more."""
    rows = site.ledger()
    treated = members_of(site, is_control=False)
    assert sorted(row["user_id"] for row in rows) == sorted(treated)
    assert {user for _, user in receiver.taken.users} == treated
    assert set(receiver.taken.users.values()) == {1}


class TestALostLease:
    """As of a machine that was asleep for longer than the lease."""

    @pytest.mark.parametrize("at_once", [1, 3])
    def test_ends_a_delivery_whose_turn_another_has_taken(
        self, site, crm, monkeypatch, at_once
    ):
        """With requests that are under way while it stands still, or without any."""
        meanwhile = Meanwhile(monkeypatch)
        with Receiver() as receiver:
            to = crm(receiver, at_once=at_once)

            def another():
                site.clock.advance(LEASE_S + 60)
                assert send(site, to).is_complete

            meanwhile.what = another
            with pytest.raises(Conflict, match="another delivery of winback"):
                send(site, to, flushed_at=14)

        check_each_once(site, receiver)
        needed = ceil(len(site.ledger()) / BATCH)
        assert receiver.taken.requests <= needed + at_once - 1

    def test_that_nobody_took_goes_on(self, site, crm, monkeypatch):
        meanwhile = Meanwhile(monkeypatch)
        meanwhile.what = lambda: site.clock.advance(LEASE_S + 60)
        with Receiver() as receiver:
            assert send(site, crm(receiver), flushed_at=14).is_complete

        check_each_once(site, receiver)


class TestTwoDates:
    def test_are_not_sent_together(self, site, crm, monkeypatch):
        """Those who leave by the newer date would be put on the list after it."""
        meanwhile = Meanwhile(monkeypatch)
        refused = []
        with Receiver() as receiver:
            to = crm(receiver, remove=True)

            def newer():
                site.publish(MONDAY + WEEK, OTHERS)
                site.clock.advance(1)
                with pytest.raises(RunInProgress) as raised:
                    send(site, to, until=MONDAY + WEEK)
                refused.append(str(raised.value))

            meanwhile.what = newer
            assert send(site, to, until=MONDAY, flushed_at=14).is_complete
            assert send(site, to, until=MONDAY + WEEK).is_complete

        assert "another delivery of winback is under way" in refused[0]
        last = {}
        for row in sorted(site.ledger(), key=lambda row: row["recorded_at"]):
            last[row["user_id"]] = row["action"]
        treated = members_of(site, MONDAY + WEEK, is_control=False)
        assert {user for user, action in last.items() if action == "add"} == treated
