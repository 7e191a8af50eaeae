"""The events of generated players, specified: each agrees with the others."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa

from local.generators.games.messages import REGISTRATION, attributes_of
from local.generators.games.towns import postcodes
from tests.local.generators.games.players import (
    age,
    index_of,
    instant,
    normalised,
    small,
)


class TestEvents:
    def test_come_in_order_of_time(self, events):
        """By event time, which is text that sorts as it does."""
        times = [event["event_time"] for event in events]

        assert times == sorted(times)
        assert {re.sub(r"\d", "0", time) for time in times} == {
            "0000-00-00T00:00:00.000Z"
        }

    def test_round_trip_exactly_through_json(self, games, events):
        """Decimals and accents come back as they were, and UTF-8 is not escaped."""
        payloads = list(games.payloads())
        read = [json.loads(data, parse_float=Decimal) for data, _ in payloads]

        assert read == events
        assert any("ë".encode() in data for data, _ in payloads)
        assert all(
            attributes == attributes_of(e)
            for (_, attributes), e in zip(payloads, events, strict=True)
        )


class TestRegistrations:
    def test_they_are_on_a_leap_day_too(self):
        """Who registers on a 29th of February was born in a year that may lack it."""
        leap = small(days=2, end=datetime(2028, 3, 2, tzinfo=UTC))
        registrations = [e for e in leap.events() if e["event_type"] == REGISTRATION]

        assert {instant(event).date() for event in registrations} == {date(2028, 2, 29)}
        assert 18 <= min(map(age, registrations)) < max(map(age, registrations)) <= 79

    def test_postcodes_are_typed_as_people_do(self):
        """Small letters, no space, two spaces and spaces around them, one in five."""
        table = set(postcodes()["postcode"].to_pylist())
        many = small(users=2_000, maximum_events=3).events()
        registrations = [e for e in many if e["event_type"] == REGISTRATION]
        home = [e["postcode"] for e in registrations if e["country"] != "Ireland"]
        index = index_of()
        known = [code for code in home if normalised(code) in index]
        odd = [code for code in known if code not in table]

        assert 0.95 < len(known) / len(home) < 0.99
        assert 0.15 < len(odd) / len(known) < 0.25
        for is_so in (
            str.islower,
            lambda c: " " not in c,
            lambda c: "  " in c,
            lambda c: c != c.strip(),
        ):
            assert any(is_so(code) for code in odd)


class TestPostcodes:
    def test_are_a_table_of_postcode_and_index(self):
        """No postcode twice, every index from 1 to 7."""
        table = postcodes()

        assert table.schema == pa.schema(
            [("postcode", pa.string()), ("socioeconomic_idx", pa.float64())]
        )
        assert len(set(table["postcode"].to_pylist())) == table.num_rows > 2000
        assert set(table["socioeconomic_idx"].to_pylist()) == set(range(1, 8))
