"""What the generated operator sends, specified: late, repeated and spoilt messages."""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from pyarrow import csv

from local.generators.delivery import Delivery
from local.generators.games.__main__ import main
from local.generators.games.games import Games
from local.generators.games.messages import FAULTS
from local.generators.games.towns import postcodes
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

    @pytest.mark.parametrize("share", ["duplicates", "late", "broken"])
    def test_any_share_may_be_nothing(self, games, events, share):
        """Then there is nothing of it."""
        sent = games.deliveries(**{share: 0.0})
        present = {
            "duplicates": any(d.is_duplicate for d in sent),
            "late": any(d.is_late for d in sent),
            "broken": any(d.reason for d in sent),
        }

        assert present == {name: name != share for name in present}

    def test_one_silent_user_can_be_delivered_too(self):
        """Where nobody plays, registrations alone are spoilt."""
        silent = next(
            games
            for seed in range(2000)
            if (games := Games(users=1, churn_rate=1, seed=seed)).n_events == 1
        )
        broken = [d for d in silent.deliveries(broken=30) if d.reason]

        assert len(broken) == 30
        assert {FAULTS[d.fault].of_registration for d in broken} == {True}


class TestCommandLine:
    def test_writes_an_event_a_line(self, tmp_path):
        """The same bytes as from Python."""
        out = tmp_path / "events.ndjson"
        main(["--users", "20", "--maximum-events", "30", "--seed", "3", str(out)])
        games = Games(users=20, maximum_events=30, seed=3)

        assert out.read_bytes().splitlines() == [data for data, _ in games.payloads()]

    def test_writes_postcodes(self, tmp_path):
        """As CSV, which reads back as the table."""
        out, codes = tmp_path / "events.ndjson", tmp_path / "postcodes.csv"
        main(["--users", "1", "--postcodes", str(codes), str(out)])

        read = csv.read_csv(codes)
        assert read.cast(postcodes().schema) == postcodes()

    def test_writes_messages_with_their_faults(self, tmp_path):
        """Data in base64 and attributes, in the order of sending."""
        out = tmp_path / "messages.ndjson"
        main(["--users", "20", "--maximum-events", "30", "--faults", str(out)])
        messages = [json.loads(line) for line in out.read_bytes().splitlines()]
        sent = Games(users=20, maximum_events=30).deliveries()

        assert [(base64.b64decode(m["data"]), m["attributes"]) for m in messages] == [
            (d.data, d.attributes) for d in sent
        ]

    def test_takes_an_end_and_a_number_of_days(self, tmp_path):
        """A time without a zone is in UTC."""
        out = tmp_path / "events.ndjson"
        main(["--users", "20", "--days", "10", "--end", "2026-01-31T06:00", str(out)])
        times = [
            json.loads(line)["event_time"] for line in out.read_bytes().splitlines()
        ]

        assert "2026-01-21T06:00" <= min(times) < max(times) < "2026-01-31T06:00"

    def test_says_what_is_wrong(self, tmp_path, capsys):
        """On one line, without a traceback."""
        with pytest.raises(SystemExit):
            main(["--users", "0", str(tmp_path / "events.ndjson")])

        assert "at least 1 user" in capsys.readouterr().err
