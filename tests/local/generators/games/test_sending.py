"""What the generated operator sends, specified: late, repeated and spoilt messages."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import numpy as np

from local.generators.delivery import Delivery
from local.generators.games.messages import FAULTS
from tests.local.generators.games.players import DAY, instant


class TestDeliveries:
    def test_every_event_is_sent_once_and_some_again(self, events, sent):
        """One in ten again; without the repetitions it is the events, no more."""
        firsts = [d.event for d in sent if d.event and not d.is_duplicate]
        again = [d for d in sent if d.is_duplicate]

        assert sorted(firsts, key=str) == sorted(events, key=str)
        assert len(again) == round(0.10 * len(events))

    def test_a_repetition_is_the_same_message_later(self, sent):
        """Byte for byte, attributes too; some of them days later, some several."""
        first: dict[str, Delivery] = {}
        waits, times = [], Counter()
        for delivery in sent:
            if delivery.event is None:
                continue
            event_id = delivery.event["event_id"]
            assert delivery.is_duplicate == (event_id in first)
            if delivery.is_duplicate:
                assert delivery.data == first[event_id].data
                assert delivery.attributes == first[event_id].attributes
                waits.append(delivery.sent_time - first[event_id].sent_time)
                times[event_id] += 1
            first.setdefault(event_id, delivery)

        assert np.median(waits) < timedelta(minutes=5)
        assert max(waits) > 2 * DAY
        assert max(times.values()) > 1

    def test_one_in_twenty_is_late_by_days(self, events, sent):
        """One to five days after it happened; the others by minutes at most."""
        late = {True: [], False: []}
        for delivery in sent:
            if delivery.event and not delivery.is_duplicate:
                wait = delivery.sent_time - instant(delivery.event)
                late[delivery.is_late].append(wait)

        assert len(late[True]) == round(0.05 * len(events))
        assert DAY <= min(late[True]) < max(late[True]) <= 5 * DAY + timedelta(hours=1)
        assert (
            timedelta(0) < min(late[False]) < max(late[False]) < timedelta(minutes=11)
        )

    def test_come_in_order_of_sending_a_little_out_of_order(self, sent):
        """What is on time is not quite in the order in which it happened."""
        times = [d.sent_time for d in sent]
        prompt = [
            instant(d.event)
            for d in sent
            if d.event and not (d.is_late or d.is_duplicate)
        ]
        swapped = sum(a > b for a, b in zip(prompt, prompt[1:], strict=False))

        assert times == sorted(times)
        assert 0 < swapped < 0.1 * len(prompt)

    def test_one_in_a_hundred_is_broken(self, events, sent):
        """Under an id of its own, with every fault among them."""
        broken = [d for d in sent if d.event is None]
        ids = {d.attributes["event_id"] for d in broken}

        assert len(broken) == round(0.01 * len(events)) == len(ids)
        assert not ids & {event["event_id"] for event in events}
        assert {d.fault for d in broken} == set(FAULTS)
        assert all(d.reason == FAULTS[d.fault].reason for d in broken)
