"""What the generated operator sends, specified: late, repeated and spoilt messages."""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from pyarrow import csv

from local.generators.delivery import Delivery
from local.generators.games.__main__ import main
from local.generators.games.games import Games
from local.generators.games.messages import AMOUNT_FIELDS, FAULTS, PLAYS, REGISTRATION
from local.generators.games.towns import postcodes
from tests.local.generators.games.players import (
    DAY,
    REGISTRATION_FIELDS,
    instant,
    small,
)


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

    def test_ids_are_in_fields_or_attributes_or_both(self, sent):
        """Most in both; from the two, id and use case are those of the event."""
        styles: Counter[tuple[bool, bool]] = Counter()
        for delivery in sent:
            if delivery.event is None:
                continue
            fields = json.loads(delivery.data, parse_float=Decimal)
            styles["event_id" in fields, "event_id" in delivery.attributes] += 1
            named = dict(delivery.attributes) | fields
            assert named == delivery.event

        assert set(styles) == {(True, True), (True, False), (False, True)}
        assert styles[True, True] > 0.9 * styles.total()

    def test_one_in_a_hundred_is_broken(self, events, sent):
        """Under an id of its own, with every fault among them."""
        broken = [d for d in sent if d.event is None]
        ids = {d.attributes["event_id"] for d in broken}

        assert len(broken) == round(0.01 * len(events)) == len(ids)
        assert not ids & {event["event_id"] for event in events}
        assert {d.fault for d in broken} == set(FAULTS)
        assert all(d.reason == FAULTS[d.fault].reason for d in broken)

    def test_huge_messages_are_few(self, full):
        """However many are broken."""
        broken = [d for d in small().deliveries(broken=0.5) if d.reason]

        assert Counter(d.reason for d in broken)["too_large"] == 3

    @pytest.mark.parametrize("share", ["duplicates", "late", "broken"])
    def test_any_share_may_be_nothing(self, games, events, share):
        """Then there is nothing of it."""
        sent = games.deliveries(**{share: 0.0})
        found = {
            "duplicates": any(d.is_duplicate for d in sent),
            "late": any(d.is_late for d in sent),
            "broken": any(d.reason for d in sent),
        }

        assert found == {name: name != share for name in found}

    def test_another_seed_is_another_delivery_of_the_same(self, games, events):
        """The events stay; what happens to them on the way differs."""
        other = games.deliveries(seed=1)
        firsts = [d.event for d in other if d.event and not d.is_duplicate]

        assert [d.data for d in other] != [d.data for d in games.deliveries()]
        assert sorted(firsts, key=str) == sorted(events, key=str)

    @pytest.mark.parametrize(
        "wrong", [{"duplicates": -0.1}, {"late": 1.1}, {"broken": -1}]
    )
    def test_impossible_shares_are_refused(self, games, wrong):
        """Below nothing, or later than all."""
        with pytest.raises(ValueError, match="wanted shares"):
            games.deliveries(**wrong)

    def test_one_silent_user_can_be_delivered_too(self):
        """Where nobody plays, registrations alone are spoilt."""
        silent = next(
            found
            for seed in range(2000)
            if (found := Games(users=1, churn_rate=1, seed=seed)).n_events == 1
        )
        broken = [d for d in silent.deliveries(broken=30) if d.reason]

        assert len(broken) == 30
        assert {FAULTS[d.fault].of_registration for d in broken} == {True}


class TestFaults:
    def test_what_is_malformed_is_not_json(self, sent):
        """But it is UTF-8."""
        for data in spoilt(sent, "malformed_json"):
            with pytest.raises(ValueError, match="Expecting|Unterminated|Illegal"):
                json.loads(data.decode())

    def test_what_is_wrongly_encoded_is_not_utf8(self, sent):
        """But it is JSON, were it read in an encoding that takes every byte."""
        for data in spoilt(sent, "wrong_encoding"):
            with pytest.raises(UnicodeDecodeError):
                data.decode()
            assert json.loads(data.decode("latin-1"))["name"].startswith("Zo")

    def test_what_is_too_large_is_otherwise_right(self, sent):
        """Over 256 KiB, with an address to blame."""
        for data in spoilt(sent, "too_large"):
            assert len(data) > 256 * 1024
            assert set(json.loads(data)) == REGISTRATION_FIELDS

    def test_what_is_not_finite_is_what_python_would_write(self, sent):
        """NaN and Infinity, which JSON does not have."""
        found = {
            value
            for data in spoilt(sent, "not_finite")
            for value in json.loads(data).values()
            if isinstance(value, float)
        }

        assert {str(value) for value in found} == {"nan", "inf"}

    def test_amounts_are_bad_in_three_ways(self, sent):
        """Negative, over a thousand millions, with more than two decimals."""
        found = {
            value
            for data in spoilt(sent, "bad_amount")
            for value in json.loads(data, parse_float=Decimal).values()
            if isinstance(value, Decimal)
        }

        assert found == {Decimal("-0.01"), Decimal("1000000000.01"), Decimal("12.345")}

    def test_times_are_bad_in_three_ways(self, sent):
        """Far in the future, no time at all, and a day that never was."""
        times = {json.loads(data)["event_time"] for data in spoilt(sent, "bad_time")}

        assert {time[:10] for time in times} == {
            "2999-12-31",
            "yesterday",
            "2026-02-30",
        }

    def test_fields_are_missing_one_at_a_time(self, sent):
        """An amount, a user, a time or a postcode; never type, id or use case."""
        for data in spoilt(sent, "missing_field"):
            fields = json.loads(data)
            money = AMOUNT_FIELDS.get(fields["event_type"])
            wanted = {"user_id", "event_time", money or "postcode"}
            assert len(wanted - set(fields)) == 1
            assert {"event_id", "use_case"} <= set(fields)

    @pytest.mark.parametrize(
        ("reason", "field"),
        [("unknown_use_case", "use_case"), ("unknown_event_type", "event_type")],
    )
    def test_what_is_unknown_is_so_in_fields_and_attributes(self, sent, reason, field):
        """The attributes agree with the fields."""
        for delivery in sent:
            if delivery.reason == reason:
                fields = json.loads(delivery.data)
                assert fields[field] == delivery.attributes[field]
                assert fields[field] not in {"first_day_churn", REGISTRATION, *PLAYS}


def spoilt(sent: list[Delivery], reason: str) -> list[bytes]:
    found = [d.data for d in sent if d.reason == reason]
    assert found
    return found


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
