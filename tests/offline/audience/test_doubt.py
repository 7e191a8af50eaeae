"""
Users in doubt, specified by the list of a receiver: what a killed delivery has sent
without a record of it is taken off with the next date.
"""

from __future__ import annotations

import json
import random

import pytest

from local.receiver import ACTIONS, Receiver
from offline.audience import run
from offline.audience.doubt import FOLDER
from offline.audience.selection import Rule
from propensity.edges.artifacts import Artifacts
from tests.offline.audience.conftest import MONDAY, WEEK, members_of, plan, send
from tests.offline.audience.killing import Fate, Killed, kill_and_resume

pytestmark = pytest.mark.runs

ALL = {"control": 0.0, "rule": Rule(top=100), "flushed_at": 14}


class Listing(Receiver):
    """A receiver that keeps its list."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: set[str] = set()
        self.removed: set[str] = set()

    def take(self, method, path, headers, body):
        known = len(self.taken.bodies)
        answer = super().take(method, path, headers, body)
        if len(self.taken.bodies) > known:
            users = {user["id"] for user in json.loads(body)["users"]}
            if ACTIONS[method] == "add":
                self.listed |= users
            else:
                self.listed -= users
                self.removed |= users
        return answer


def objects(site) -> list[str]:
    artifacts = Artifacts.open(site.settings)
    names = artifacts.names(FOLDER)
    artifacts.close()
    return names


def kill(site, to, fate, *, at: int, **rest) -> None:
    fate.left = at
    with pytest.raises(Killed):
        send(site, to, **ALL | rest)
    fate.left = 0
    site.clock.advance(6 * 60)


def next_week(site, users) -> None:
    site.clock.advance(WEEK.total_seconds())
    site.publish(MONDAY + WEEK, dict.fromkeys(users, 0.5))


class TestOfADeliveryThatWasKilled:
    def test_are_taken_off_with_the_next_date(self, site, crm, monkeypatch):
        """The third request was taken and not recorded, as nothing was."""
        with Listing() as receiver:
            to = crm(receiver, remove=True)
            # Two steps each: the members, and three requests.
            kill(site, to, Fate(monkeypatch), at=8, flushed_at=1_000)
            sent = set(receiver.listed)
            next_week(site, ["u150"])
            seen = run.preview(plan(to, **ALL), clock=site.clock)
            send(site, to, **ALL)

        assert len(sent) == 21
        assert seen.removed >= 21
        assert receiver.listed == {"u150"}
        assert objects(site) == []

    def test_and_suppressed_since_are_taken_off_with_the_next_date(
        self, site, crm, monkeypatch
    ):
        """The same date is sent again without them, and is complete."""
        with Listing() as receiver:
            to = crm(receiver, remove=True)
            kill(site, to, Fate(monkeypatch), at=4)
            [first, *_] = sorted(receiver.listed)
            site.suppress(first)
            assert send(site, to, **ALL).is_complete
            assert first in receiver.listed
            assert len(objects(site)) == 1
            next_week(site, ["u150"])
            send(site, to, **ALL)

        assert receiver.listed == {"u150"}
        assert objects(site) == []

    def test_are_no_more_than_may_have_been_sent(self, site, crm, monkeypatch):
        """A receiver is not told of users who were never to come."""
        with Listing() as receiver:
            to = crm(receiver, remove=True)
            kill(site, to, Fate(monkeypatch), at=3)
            next_week(site, ["u150"])
            seen = run.preview(plan(to, **ALL), clock=site.clock)

        # Recorded by fourteens, in requests of seven: one answered, one under way.
        assert seen.removed == 14 + 2 * 7

    def test_are_in_doubt_until_it_is_complete(self, site, crm, monkeypatch):
        with Listing() as receiver:
            to = crm(receiver, remove=True)
            kill(site, to, Fate(monkeypatch), at=9)
            assert objects(site) == [f"{FOLDER}/ga4_purchase/winback/crm.json"]
            assert send(site, to, **ALL).is_complete

        assert objects(site) == []

    def test_are_none_where_the_first_attempt_is_complete(self, site, crm, monkeypatch):
        """A user who was suppressed after being chosen, and before anything is sent."""
        with Listing() as receiver:
            to = crm(receiver, remove=True)
            # The members are stored, and no request was made.
            kill(site, to, Fate(monkeypatch), at=2)
            assert objects(site) == []
            site.suppress("u150")
            assert send(site, to, **ALL).is_complete
            assert objects(site) == []
            next_week(site, ["u150", "u151"])
            send(site, to, **ALL)

        assert "u150" not in receiver.removed
        assert receiver.listed == {"u151"}

    def test_are_not_noted_where_nobody_can_be_taken_off(self, site, crm, monkeypatch):
        with Listing() as receiver:
            kill(site, crm(receiver), Fate(monkeypatch), at=9)

        assert objects(site) == []

    @pytest.mark.parametrize("is_forgotten", [True, False])
    def test_are_sent_again_under_their_keys_but_for_one_request(
        self, site, crm, monkeypatch, is_forgotten
    ):
        """Defect: somebody who was forgotten or suppressed before a delivery went on
        shifted all requests after. Three of them were taken and not recorded."""
        with Listing() as receiver:
            to = crm(receiver)
            kill(site, to, Fate(monkeypatch), at=8, flushed_at=1_000)
            sent = sorted(receiver.listed)
            if is_forgotten:
                site.rows(
                    f"DELETE FROM ma_audience_members WHERE user_id = '{sent[0]}'"
                )
            else:
                site.suppress(sent[0])
            assert send(site, to, **ALL).is_complete

        twice = [user for (_, user), n in receiver.taken.users.items() if n > 1]
        assert sorted(twice) == sent[1:7]
        assert receiver.taken.changed == []

    @pytest.mark.long
    @pytest.mark.parametrize("seed", range(8))
    def test_are_never_left_on_the_list(self, site, crm, monkeypatch, seed):
        """Dates that are killed at random, and resumed or not; users come and go."""
        generator = random.Random(seed)
        users = [f"u{n:03}" for n in range(200)]
        suppressed: set[str] = set()
        with Listing() as receiver:
            to = crm(receiver, remove=True, at_once=1 + seed % 3)
            fate = Fate(monkeypatch)
            as_of = MONDAY
            for _ in range(2):
                for _ in range(generator.randint(1, 2)):
                    fate.left = generator.randint(1, 60)
                    try:
                        send(site, to, **ALL)
                    except Killed:
                        site.clock.advance(6 * 60)
                    lost = generator.choice(users)
                    site.suppress(lost)
                    suppressed.add(lost)
                fate.left = 0
                as_of += WEEK
                chosen = {user: generator.random() for user in users[:: 1 + seed % 2]}
                site.publish(as_of, chosen)
                site.clock.advance(WEEK.total_seconds())
            fate.left = 0
            kill_and_resume(site, to, fate, at_most=3, seed=seed, **ALL)

        treated = members_of(site, as_of, is_control=False)
        assert receiver.listed == treated - suppressed
        assert objects(site) == []
