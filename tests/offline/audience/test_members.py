"""
The members of an audience, specified on emulators: chosen once, held out for good.
"""

from __future__ import annotations

import pytest

from local.receiver import Receiver
from offline.audience import run
from offline.audience.run import Plan
from offline.audience.selection import Rule
from propensity.errors import RequestError
from propensity.gcp.artifacts import Artifacts
from tests.emptied import empty_bucket
from tests.offline.audience.conftest import MONDAY, WEEK, members_of, plan, send


class TestMembers:
    def test_are_chosen_once(self, site):
        send(site)
        before = site.rows("SELECT * FROM ma_audience_members ORDER BY user_id")

        delivery = send(site, rule=Rule(top=5))

        after = site.rows("SELECT * FROM ma_audience_members ORDER BY user_id")
        assert before == after
        assert delivery.tallies["add"].sent == 0
        assert delivery.before == len([row for row in before if not row["is_control"]])

    def test_are_chosen_of_no_older_publication_than_before(self, site):
        """A user counts in the first week as a member, which may be final."""
        site.publish(MONDAY + WEEK, {"new": 0.5})
        site.clock.advance(WEEK.total_seconds())
        send(site)

        with pytest.raises(RequestError, match="first week as a member") as raised:
            run.preview(plan(until=MONDAY), clock=site.clock)

        assert raised.value.field == "as_of"

    def test_who_are_held_out_are_so_every_week(self, site):
        send(site)
        site.publish(MONDAY + WEEK, {f"u{n:03}": (n + 1) / 400 for n in range(150)})
        site.clock.advance(WEEK.total_seconds())
        send(site)

        first, second = (
            members_of(site, as_of, is_control=True)
            for as_of in (MONDAY, MONDAY + WEEK)
        )
        both = members_of(site, is_control=False) | first
        both &= members_of(site, MONDAY + WEEK, is_control=False) | second
        assert first & both == second & both

    @pytest.mark.long
    def test_keep_their_control_group(self, site):
        send(site)
        site.publish(MONDAY + WEEK, {"u001": 0.5})
        site.clock.advance(WEEK.total_seconds())

        with pytest.raises(RequestError, match="another name") as raised:
            send(site, control=0.2)

        assert raised.value.field == "control"

    def test_are_not_drawn_by_another_key(self, site):
        """As where the bucket is a new one: others would be held out from then on."""
        send(site)
        artifacts = Artifacts.open(site.settings)
        empty_bucket(artifacts)
        artifacts.close()
        site.publish(MONDAY + WEEK, {f"u{n:03}": 0.5 for n in range(100)})
        site.clock.advance(WEEK.total_seconds())

        with pytest.raises(RequestError, match="another key") as raised:
            send(site)

        assert raised.value.field == "control"

    @pytest.mark.long
    def test_of_two_audiences_with_one_control_group_are_held_out_together(self, site):
        send(site, group="everybody")
        other = Plan(
            audience="upsell", rule=Rule(top=100), control=0.1, to="bucket",
            group="everybody", is_quiet=True,
        )  # fmt: skip
        run.send(other, clock=site.clock)

        rows = site.rows("SELECT * FROM ma_audience_members WHERE is_control")
        held_out = {(row["audience"], row["user_id"]) for row in rows}
        users = {user for _, user in held_out}
        assert len(held_out) == 2 * len(users)

    @pytest.mark.long
    def test_are_not_sent_once_they_are_suppressed(self, site, crm):
        send(site)
        gone = min(members_of(site, is_control=False))
        site.suppress(gone)
        with Receiver() as receiver:
            send(site, crm(receiver))

        assert ("add", gone) not in receiver.taken.users
