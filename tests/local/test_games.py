"""
The generated gaming operator: its players, their truth, and what is sent.

What is statistical fixes the seed and says why the tolerance is what it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from local.generators.games import FAULTS, PLAY_DAYS, Games
from local.generators.messages import REGISTRATION, Delivery, Event
from local.generators.players import postcodes

DAY = timedelta(days=1)


def small(**parameters: Any) -> Games:
    return Games(**{"users": 200, "maximum_events": 60} | parameters)


def instant(event: Event) -> datetime:
    return datetime.fromisoformat(event["event_time"])


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(small().events())


@pytest.fixture(scope="module")
def sent() -> list[Delivery]:
    return small().deliveries()


@pytest.fixture(scope="module")
def full() -> Games:
    return Games()


@pytest.fixture(scope="module")
def players(full) -> list[list[Event]]:
    """The events of each player of the full stream."""
    users: dict[str, list[Event]] = defaultdict(list)
    for event in full.events():
        users[event["user_id"]].append(event)
    return [*users.values()]


class TestPlayers:
    def test_register_first_and_once_and_an_exact_share_churns(self, full, players):
        labels = full.labels()

        for events in players:
            types = [event["event_type"] for event in events]
            assert types.count(types[0]) == 1
            assert types[0] == REGISTRATION
        assert Counter(labels.values()) == {1: 1400, 0: 600}
        assert [*labels.values()] == [
            events[0]["label"]
            for events in sorted(players, key=lambda events: events[0]["user_id"])
        ]

    def test_who_churn_are_gone_after_two_days_and_others_come_back(
        self, full, players
    ):
        """For up to two weeks, unless the data end before."""
        spans: dict[int, list[timedelta]] = {0: [], 1: []}
        for events in players:
            if instant(events[0]) < full.end - PLAY_DAYS * DAY:
                span = instant(events[-1]) - instant(events[0])
                spans[events[0]["label"]].append(span)

        assert DAY < max(spans[1]) < 2 * DAY <= min(spans[0])
        assert 13 * DAY < max(spans[0]) < PLAY_DAYS * DAY

    def test_live_in_postcodes_of_which_most_are_in_the_table(self, players):
        """With an index from 1 to 7, higher for those who stay."""
        table = postcodes().to_pylist()
        known = {
            row["postcode"].replace(" ", ""): row["socioeconomic_idx"] for row in table
        }
        indices: dict[int, list[float]] = {0: [], 1: []}
        for registration, *_ in players:
            code = registration["postcode"].replace(" ", "").upper()
            indices[registration["label"]].append(known.get(code, 0.0))

        assert len(known) == len(table) > 2_000
        assert set(indices[0]) == set(indices[1]) == set(range(8))
        assert np.mean(indices[0]) - np.mean(indices[1]) > 1


class TestDeliveries:
    def test_are_the_same_for_the_same_seed(self, sent):
        assert small().deliveries() == sent

    def test_have_every_event_once_and_some_again(self, events, sent):
        """One in ten again, later, byte for byte; one in twenty late by days."""
        first: dict[str, Delivery] = {}
        waits = []
        for delivery in sent:
            if delivery.event is None:
                continue
            event_id = delivery.event["event_id"]
            assert delivery.is_duplicate == (event_id in first)
            if delivery.is_duplicate:
                assert delivery.data == first[event_id].data
                waits.append(delivery.sent_time - first[event_id].sent_time)
            first.setdefault(event_id, delivery)
        late = {True: [], False: []}
        for delivery in first.values():
            wait = delivery.sent_time - instant(delivery.event)
            late[delivery.is_late].append(wait)

        assert [d.event for d in sorted(first.values(), key=str)] == [
            d.event for d in sorted(first.values(), key=str) if d.event in events
        ]
        assert len(first) == len(events)
        assert len(waits) == round(0.10 * len(events))
        assert np.median(waits) < timedelta(minutes=5)
        assert max(waits) > 2 * DAY
        assert len(late[True]) == round(0.05 * len(events))
        assert min(late[True]) >= DAY
        assert max(late[False]) < timedelta(minutes=11)

    def test_of_which_one_in_a_hundred_is_broken(self, events, sent):
        """Under an id of its own, with every reason among them."""
        broken = [d for d in sent if d.event is None]
        ids = {d.attributes["event_id"] for d in broken}

        assert len(broken) == round(0.01 * len(events)) == len(ids)
        assert not ids & {event["event_id"] for event in events}
        assert {d.reason for d in broken} == set(FAULTS)
