"""The events of generated players, specified: each agrees with the others."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pyarrow as pa

from local.generators.games.messages import attributes_of
from local.generators.games.towns import postcodes


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


class TestPostcodes:
    def test_are_a_table_of_postcode_and_index(self):
        """No postcode twice, every index from 1 to 7."""
        table = postcodes()

        assert table.schema == pa.schema(
            [("postcode", pa.string()), ("socioeconomic_idx", pa.float64())]
        )
        assert len(set(table["postcode"].to_pylist())) == table.num_rows > 2000
        assert set(table["socioeconomic_idx"].to_pylist()) == set(range(1, 8))
