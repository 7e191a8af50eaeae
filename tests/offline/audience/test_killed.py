"""
Deliveries that are killed, and gone on with.

Whoever is killed is so by an error that nothing catches, before or after a request is
sent or rows are written: what was in memory is lost, as by SIGKILL.
"""

from __future__ import annotations

import pytest

from local.receiver import Faults, Receiver
from offline.audience import delivery as deliveries
from propensity.errors import RunInProgress
from tests.emptied import empty_tables
from tests.offline.audience.conftest import (
    MONDAY,
    TABLES,
    WEEK,
    Site,
    members_of,
    send,
)
from tests.offline.audience.killing import Fate, Killed, kill_and_resume

pytestmark = pytest.mark.usefixtures("quick")


def check_account(site: Site, receiver: Receiver, *, rejected: set[str]) -> None:
    accepted = site.accepted(but=rejected)
    assert {user for _, user in receiver.taken.users} == accepted
    # Nobody came twice in a way that a receiver could tell.
    assert set(receiver.taken.users.values()) == {1}
    assert receiver.taken.changed == []


class TestKilled:
    def test_delivery_is_resumed(self, site, crm, monkeypatch):
        faults = Faults(lost=0.05, rejects=lambda user: "x" * (user == "u120"))
        with Receiver(faults=faults) as receiver:
            fate = Fate(monkeypatch)
            killed = kill_and_resume(site, crm(receiver), fate, at_most=4, seed=0)

        assert killed >= 2
        check_account(site, receiver, rejected={"u120"})

    def test_delivery_repeats_requests_though_a_user_has_left(
        self, site, crm, monkeypatch
    ):
        """What was recorded before it was sent has the users and the key it had."""
        monkeypatch.setattr(deliveries, "RECORDED_AT", 1_000)
        with Receiver() as receiver:
            to, fate = crm(receiver), Fate(monkeypatch)
            # Requests are answered, and not recorded.
            fate.left = 8
            with pytest.raises(Killed):
                send(site, to)
            fate.left = None
            treated = sorted(members_of(site, is_control=False))
            site.suppress(treated[0])
            site.clock.advance(6 * 60)
            assert send(site, to)["failure"] == ""

        assert {receiver.taken.users["add", user] for user in treated[7:]} == {1}

    def test_delivery_excludes_those_of_all_dates_for_a_while(
        self, site, crm, monkeypatch
    ):
        """Those who leave by a newer date would be put on the list after it."""
        site.publish(MONDAY + WEEK, {"u001": 0.5})
        with Receiver() as receiver:
            to, fate = crm(receiver), Fate(monkeypatch)
            fate.left = 5
            with pytest.raises(Killed):
                send(site, to, until=MONDAY)
            fate.left = None
            for day in (MONDAY, MONDAY + WEEK):
                with pytest.raises(RunInProgress, match="audience-winback"):
                    send(site, to, until=day)
            site.clock.advance(6 * 60)
            assert send(site, to, until=MONDAY)["failure"] == ""

    @pytest.mark.long
    @pytest.mark.timeout(1200)
    def test_delivery_at_200_points_is_resumed(self, site, crm, monkeypatch):
        rejected = {"u120", "u133", "u134"}
        killed = seed = 0
        while killed < 200:
            seed += 1
            empty_tables(site.warehouse, TABLES[2:])
            faults = Faults(
                lost=0.1,
                rejects=lambda user: "x" * (user in rejected),
                seed=seed,
            )
            with Receiver(faults=faults) as receiver, monkeypatch.context() as patched:
                fate = Fate(patched)
                to = crm(receiver, batch=1 + seed % 7)
                killed += kill_and_resume(site, to, fate, at_most=20, seed=seed)
            check_account(site, receiver, rejected=rejected)
            site.clock.advance(6 * 60)
