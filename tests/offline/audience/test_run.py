"""
Audiences, specified on emulators and a receiver: from a publication to the ledger.

Whoever is killed is so by an error that nothing catches, before or after a request is
sent or rows are written: what was in memory is lost, as by SIGKILL.
"""

from __future__ import annotations

from decimal import Decimal

import pyarrow.parquet as pq
import pytest
from pyarrow import BufferReader

from commands.cli import main
from local.receiver import Faults, Receiver
from offline import promote
from offline.audience import run
from offline.audience.ledger import account
from offline.audience.selection import Rule
from propensity import tables
from propensity.errors import RequestError, RunInProgress
from propensity.gcp.artifacts import Artifacts
from tests.emptied import empty_tables
from tests.offline.audience.conftest import (
    MONDAY,
    TABLES,
    USERS,
    WEEK,
    Site,
    members_of,
    plan,
    send,
)
from tests.offline.audience.killing import Fate, Killed, kill_and_resume

pytestmark = pytest.mark.runs


class TestPreview:
    def test_counts_and_writes_no_member(self, site):
        site.suppress("u199")

        preview = run.preview(plan(cost_per_user=Decimal("0.25")), clock=site.clock)

        assert preview.members == 100
        assert preview.held_out + preview.treated == 100
        assert 0 < preview.held_out < 30
        assert preview.suppressed == 1
        assert preview.reachable == preview.treated
        assert preview.cost == preview.treated * Decimal("0.25")
        assert f"{preview.expected:,.1f} of them are expected to buy" in str(preview)
        assert preview.requests == 1
        assert site.rows("SELECT * FROM ma_audience_members") == []

    def test_names_the_event_that_a_setting_has_predicted(self, site, monkeypatch):
        """And not the use case's own outcome."""
        monkeypatch.setenv("PROPENSITY_LABEL_EVENT", "sign_up")

        preview = run.preview(plan(), clock=site.clock)

        assert "to have the event sign_up without the audience" in str(preview)

    @pytest.mark.long
    def test_is_what_is_sent(self, site):
        preview = run.preview(plan(), clock=site.clock)
        delivery = send(site)

        assert delivery.tallies["add"].sent == preview.treated
        assert delivery.held_out == preview.held_out

    @pytest.mark.long
    @pytest.mark.parametrize(
        ("rule", "members"),
        [
            (Rule(top=30), 30),
            (Rule(deciles=2), 40),
            (Rule(threshold=0.4), 41),
            (Rule(top=1_000), 200),
        ],
    )
    def test_has_the_best_users(self, site, rule, members):
        preview = run.preview(plan(rule=rule, control=0.0), clock=site.clock)

        assert preview.members == preview.treated == members
        best = [(n + 1) / 400 for n in range(USERS)][-members:]
        assert preview.expected == pytest.approx(sum(best))

    @pytest.mark.long
    def test_names_what_is_missing(self, site):
        with pytest.raises(RequestError) as raised:
            run.preview(plan(until=MONDAY - WEEK), clock=site.clock)

        assert raised.value.field == "as_of"


class TestBucket:
    def test_has_the_treated_and_nobody_else(self, site):
        send(site)

        artifacts = Artifacts.open(site.settings)
        [name] = artifacts.names("audiences/ga4_purchase/winback/")
        rows = pq.read_table(BufferReader(artifacts.read(name).data))
        artifacts.close()
        assert set(rows["user_id"].to_pylist()) == members_of(site, is_control=False)
        assert name.endswith(".parquet")


class TestLedger:
    def test_has_a_row_for_everybody_who_was_sent(self, site, crm):
        faults = Faults(rejects=lambda user: "unknown" * (user == "u150"))
        with Receiver(faults=faults) as receiver:
            delivery = send(site, crm(receiver), control=0.0)

        rows = site.newest()
        assert len(rows) == 100
        tally = delivery.tallies["add"]
        assert tally.sent == tally.accepted + tally.rejected.total() == 100
        [rejected] = [row for row in rows if row["status"] == "rejected"]
        assert (rejected["user_id"], rejected["reason"]) == ("u150", "unknown")
        assert all(row["reason"] is None for row in rows if row != rejected)

    def test_of_an_older_date_puts_nobody_back(self, site, crm):
        """What was cut off last week is not gone on with after this week's."""
        with Closing() as receiver:
            assert not send(site, crm(receiver, remove=True)).is_complete
        site.publish(MONDAY + WEEK, {"new": 0.5})
        site.clock.advance(WEEK.total_seconds())
        with Receiver() as receiver:
            to = crm(receiver, remove=True)
            send(site, to)
            assert send(site, to).is_complete
            requests = receiver.taken.requests
            with pytest.raises(RequestError, match="have left since"):
                send(site, to, until=MONDAY)

        assert receiver.taken.requests == requests

    def test_takes_users_off_a_list_before_it_adds_others(self, site, crm):
        with Receiver() as receiver:
            send(site, crm(receiver, remove=True), rule=Rule(top=10), control=0.0)
            site.publish(MONDAY + WEEK, {"u199": 0.3, "u002": 0.2})
            site.clock.advance(WEEK.total_seconds())
            delivery = send(
                site, crm(receiver, remove=True), rule=Rule(top=10), control=0.0
            )

        assert delivery.tallies["remove"].accepted == 9
        assert delivery.tallies["add"].accepted == 2
        assert receiver.taken.users["add", "u199"] == 2
        assert receiver.taken.users["remove", "u190"] == 1
        assert ("remove", "u199") not in receiver.taken.users

    def test_knows_who_was_taken_off_and_put_back_within_a_week(self, site, crm):
        """A user who is suppressed, allowed again, and has left by the next week."""
        best = {"control": 0.0, "rule": Rule(top=1)}
        with Receiver() as receiver:
            to = crm(receiver, remove=True)
            send(site, to, **best)
            site.publish(MONDAY + WEEK, {"u199": 0.3, "u002": 0.2})
            site.clock.advance(WEEK.total_seconds())
            send(site, **best)
            site.suppress("u199")
            send(site, to, **best)
            site.clock.advance(60)
            empty_tables(site.warehouse, [tables.SUPPRESSED_USERS])
            send(site, to, **best)
            site.publish(MONDAY + 2 * WEEK, {"u002": 0.2})
            site.clock.advance(WEEK.total_seconds())
            delivery = send(site, to, **best)

        assert delivery.tallies["remove"].accepted == 1
        assert receiver.taken.users["add", "u199"] == 2
        assert receiver.taken.users["remove", "u199"] == 2

    @pytest.mark.long
    def test_is_printed_by_the_command(self, site, capsys):
        assert (
            main(["audience", "send", "winback", "--top", "10", "--to", "bucket"]) == 0
        )
        assert main(["audience", "ledger", "winback"]) == 0

        printed = capsys.readouterr().out
        assert "sent = " in printed
        assert "10 members (top 10)" in printed


class TestNobody:
    """A week in which no user is in the audience."""

    def sent_before(self, site, to):
        send(site, to, rule=Rule(top=10), control=0.0)
        site.publish(MONDAY + WEEK, {"u199": 0.3})
        site.clock.advance(WEEK.total_seconds())

    def test_is_refused_and_takes_nobody_off(self, site, crm):
        """It may be a mistake of the rule."""
        with Receiver() as receiver:
            to = crm(receiver, remove=True)
            self.sent_before(site, to)
            with pytest.raises(RequestError, match="--allow-empty removes") as raised:
                send(site, to, rule=Rule(threshold=0.9), control=0.0)

        assert raised.value.field == "audience"
        assert all(action == "add" for action, _ in receiver.taken.users)

    def test_that_is_allowed_takes_everybody_off(self, site, crm):
        none = {"rule": Rule(threshold=0.9), "control": 0.0, "may_be_empty": True}
        with Receiver() as receiver:
            to = crm(receiver, remove=True)
            self.sent_before(site, to)
            delivery = send(site, to, **none)
            again = send(site, to, **none)

        assert delivery.is_complete
        assert delivery.tallies["remove"].accepted == 10
        assert again.tallies["remove"].sent == 0
        with promote.opened() as deployment:
            printed = str(account(deployment, "winback"))
        assert "2026-03-09  no member\n  crm          remove accepted" in printed

    def test_is_refused_where_nobody_can_be_taken_off(self, site, crm):
        with Receiver() as receiver:
            to = crm(receiver)
            self.sent_before(site, to)
            with pytest.raises(RequestError, match="crm cannot remove"):
                send(site, to, rule=Rule(threshold=0.9), control=0.0, may_be_empty=True)


class Closing(Receiver):
    """A receiver that denies access after three requests."""

    def take(self, method, path, headers, body):
        if self.taken.requests > 3:
            return 403, {}, {"error": "closed"}
        return super().take(method, path, headers, body)


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

    @pytest.mark.long
    def test_delivery_excludes_another_one(self, site, crm, monkeypatch):
        with Receiver() as receiver:
            fate = Fate(monkeypatch)
            fate.left = 5
            with pytest.raises(Killed):
                send(site, crm(receiver))

            with pytest.raises(RunInProgress):
                send(site, crm(receiver))

    @pytest.mark.long
    def test_delivery_at_200_points_is_resumed(self, site, crm, monkeypatch):
        rejected = {"u120", "u133", "u134"}
        killed = seed = 0
        while killed < 200:
            seed += 1
            empty_tables(site.warehouse, TABLES[2:])
            faults = Faults(
                lost=0.1,
                rejects=lambda user: "x" * (user in rejected),
                refuses_whole=seed % 2 == 0,
                seed=seed,
            )
            with Receiver(faults=faults) as receiver, monkeypatch.context() as patched:
                fate = Fate(patched)
                to = crm(receiver, at_once=1 + seed % 3)
                killed += kill_and_resume(site, to, fate, at_most=20, seed=seed)
            check_account(site, receiver, rejected=rejected)
            site.clock.advance(6 * 60)
