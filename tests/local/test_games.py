"""
The generated gaming operator: its players, their truth, and what is sent.

What is statistical fixes the seed and says why the tolerance is what it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta

import numpy as np
import pytest

from local.generators.games import FAULTS, PLAY_DAYS, Games
from local.generators.messages import REGISTRATION, Delivery, Event
from local.generators.players import postcodes

DAY = timedelta(days=1)
SMALL = {"users": 200, "maximum_events": 60}


def instant(event: Event) -> datetime:
    return datetime.fromisoformat(event["event_time"])


@pytest.fixture(scope="module")
def players() -> list[list[Event]]:
    """The events of each player of the full stream."""
    users: dict[str, list[Event]] = defaultdict(list)
    for event in Games().events():
        users[event["user_id"]].append(event)
    return [*users.values()]


class TestPlayers:
    def test_register_first_and_once_and_an_exact_share_churns(self, players):
        labels = Games().labels()

        for events in players:
            types = [event["event_type"] for event in events]
            assert types.index(REGISTRATION) == 0
            assert types.count(REGISTRATION) == 1
        assert Counter(labels.values()) == {1: 1400, 0: 600}
        assert labels == {row["user_id"]: row["label"] for row, *_ in players}

    def test_who_churn_are_gone_after_two_days_and_others_come_back(self, players):
        """For up to two weeks, unless the data end before."""
        spans: dict[int, list[timedelta]] = {0: [], 1: []}
        for events in players:
            if instant(events[0]) < Games().end - PLAY_DAYS * DAY:
                span = instant(events[-1]) - instant(events[0])
                spans[events[0]["label"]].append(span)

        assert DAY < max(spans[1]) < 2 * DAY <= min(spans[0])
        assert 13 * DAY < max(spans[0]) < PLAY_DAYS * DAY

    def test_live_in_postcodes_of_which_most_are_in_the_table(self, players):
        """With an index from 1 to 7, higher for those who stay."""
        codes, index = (column.to_pylist() for column in postcodes().columns)
        known = dict(zip((code.replace(" ", "") for code in codes), index, strict=True))
        found: dict[int, list[float]] = {0: [], 1: []}
        for registration, *_ in players:
            code = registration["postcode"].replace(" ", "").upper()
            found[registration["label"]].append(known.get(code, 0.0))

        assert len(known) == len(codes) > 2_000
        assert set(found[0]) == set(found[1]) == set(range(8))
        assert np.mean(found[0]) - np.mean(found[1]) > 1


def test_deliveries_are_repeated_late_and_broken():
    """One in ten again, byte for byte; one in twenty late by days; one in a hundred
    broken, under an id of its own, with every reason among them. By a seed."""
    events = [*Games(**SMALL).events()]
    sent = Games(**SMALL).deliveries()
    once: dict[str, Delivery] = {}
    waits = []
    for delivery in sent:
        if delivery.event is None:
            continue
        first = once.setdefault(delivery.event["event_id"], delivery)
        if first is not delivery:
            assert delivery.data == first.data
            waits.append(delivery.sent_time - first.sent_time)
    late = [one.sent_time - instant(one.event) >= DAY for one in once.values()]
    broken = [one for one in sent if one.event is None]
    ids = {one.attributes["event_id"] for one in broken}

    assert sent == Games(**SMALL).deliveries()
    assert sorted(once) == sorted(event["event_id"] for event in events)
    assert len(waits) == round(0.10 * len(events))
    assert np.median(waits) < timedelta(minutes=5) < 2 * DAY < max(waits)
    assert sum(late) == round(0.05 * len(events))
    assert len(broken) == round(0.01 * len(events)) == len(ids - {*once})
    assert {one.reason for one in broken} == {*FAULTS}
