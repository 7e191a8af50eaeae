"""The events of generated players, specified: each agrees with the others."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter, defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa

from local.generators.games.messages import (
    AMOUNT_FIELDS,
    REGISTRATION,
    attributes_of,
    encode,
)
from local.generators.games.towns import COUNTRIES, postcodes
from tests.local.generators.games.players import (
    REGISTRATION_FIELDS,
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

    def test_have_an_id_of_their_own(self, events):
        """A random UUID."""
        ids = {event["event_id"] for event in events}

        assert len(ids) == len(events)
        assert {uuid.UUID(event_id).version for event_id in ids} == {4}

    def test_are_as_many_as_announced(self, games, events):
        """Known before the first is made."""
        assert games.n_events == len(events)

    def test_are_of_the_use_case_and_its_users(self, games, events):
        """Use case and user id are in each."""
        assert {event["use_case"] for event in events} == {"first_day_churn"}
        assert {event["user_id"] for event in events} == set(games.user_ids)
        assert games.user_ids[122] == "player-000123"

    def test_have_the_fields_of_their_type(self, events):
        """All of them and no other."""
        common = {"event_id", "use_case", "user_id", "event_type", "event_time"}
        for event in events:
            money = AMOUNT_FIELDS.get(event["event_type"])
            assert set(event) == (common | {money} if money else REGISTRATION_FIELDS)

    def test_amounts_have_two_decimals_and_are_not_negative(self, stream):
        """Some bets are free; nobody pays more than a million."""
        amounts = [
            event[AMOUNT_FIELDS[event["event_type"]]]
            for event in stream
            if event["event_type"] != REGISTRATION
        ]

        assert {amount.as_tuple().exponent for amount in amounts} == {-2}
        assert min(amounts) == 0
        assert 100 < max(amounts) <= 1_000_000

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

    def test_money_is_written_to_the_cent(self, events):
        """As 5.00 and not as 5.0."""
        bets = [encode(event) for event in events if event["event_type"] == "new_bet"]

        assert all(re.search(rb',"bet_amount":\d+\.\d\d}$', data) for data in bets)
        assert any(data.endswith(b".00}") for data in bets)

    def test_are_new_every_time(self, games):
        """Who changes an event changes no other."""
        next(games.events()).clear()

        assert next(games.events())


class TestRegistrations:
    def test_users_are_grown_up(self, registrations):
        """18 to 79 on the day, and younger among those who churn."""
        ages: dict[int, list[int]] = {0: [], 1: []}
        for event in registrations:
            ages[event["label"]].append(age(event))

        assert min(ages[0] + ages[1]) == 18
        assert max(ages[0] + ages[1]) <= 79
        assert np.mean(ages[1]) < np.mean(ages[0])

    def test_they_are_on_a_leap_day_too(self):
        """Who registers on a 29th of February was born in a year that may lack it."""
        leap = small(days=2, end=datetime(2028, 3, 2, tzinfo=UTC))
        found = [e for e in leap.events() if e["event_type"] == REGISTRATION]

        assert {instant(event).date() for event in found} == {date(2028, 2, 29)}
        assert 18 <= min(map(age, found)) < max(map(age, found)) <= 79

    def test_campaigns_and_affiliates_may_be_missing(self, registrations):
        """Either, both or none; the bonus brings more of those who churn."""
        kinds = {
            (event["campaign"] is None, event["affiliate_url"] is None)
            for event in registrations
        }
        bonus = {
            label: np.mean(
                [
                    e["campaign"] == "welcome_bonus"
                    for e in registrations
                    if e["label"] == label
                ]
            )
            for label in (0, 1)
        }

        assert kinds == {(a, b) for a in (True, False) for b in (True, False)}
        assert bonus[1] > bonus[0]

    def test_all_countries_are_there(self, registrations):
        """England most, each with cities of its own."""
        countries = Counter(event["country"] for event in registrations)
        of_city = {(e["city"], e["country"]) for e in registrations}

        assert set(countries) == set(COUNTRIES)
        assert countries.most_common(1)[0][0] == "England"
        assert len(of_city) == len({city for city, _ in of_city})

    def test_postcodes_are_typed_as_people_do(self, registrations):
        """Small letters, no space, two spaces and spaces around them, one in five."""
        table = set(postcodes()["postcode"].to_pylist())
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

    def test_some_postcodes_are_unknown(self, registrations):
        """Of them some have an outward code that is known, and others none."""
        known = index_of()
        outwards = {code[:-3] for code in known}
        codes = [normalised(e["postcode"]) for e in registrations]
        unknown = [code for code in codes if code not in known]

        assert any(code[:-3] in outwards for code in unknown)
        assert any(code[:-3] not in outwards for code in unknown)
        abroad = [
            normalised(e["postcode"])
            for e in registrations
            if e["country"] == "Ireland"
        ]
        assert not {code[:-3] for code in abroad} & outwards


class TestPostcodes:
    def test_are_a_table_of_postcode_and_index(self):
        """No postcode twice, every index from 1 to 7."""
        table = postcodes()

        assert table.schema == pa.schema(
            [("postcode", pa.string()), ("socioeconomic_idx", pa.float64())]
        )
        assert len(set(table["postcode"].to_pylist())) == table.num_rows > 2000
        assert set(table["socioeconomic_idx"].to_pylist()) == set(range(1, 8))

    def test_look_like_the_united_kingdoms(self):
        """In its format, in areas that begin with letters that it does not use."""
        wanted = re.compile(r"[QVX][A-Z]?[0-9][0-9A-Z]? [0-9][ABD-HJLNP-UW-Z]{2}")

        assert all(
            wanted.fullmatch(code) for code in postcodes()["postcode"].to_pylist()
        )

    def test_an_outward_code_says_nearly_what_the_postcode_does(self):
        """Many units each, whose index is at most one off the district's."""
        of_outward = defaultdict(list)
        for code, index in index_of().items():
            of_outward[code[:-3]].append(index)

        assert {len(found) for found in of_outward.values()} == {30}
        assert all(max(found) - min(found) <= 2 for found in of_outward.values())
        assert len({np.median(found) for found in of_outward.values()}) == 7
