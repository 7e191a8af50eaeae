"""Enriched events, specified: what was sent, and what its row says besides."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.events.catalogue import Catalogue
from propensity.events.enrichment import with_fields
from tests.events import (
    accept,
    bet,
    message,
    places,
    published,
    registration,
    use_case,
    written,
)
from tests.propensity.events.messages import BATCHES, BOTH, POSTCODES, TEXT, fates


def pairs(data: bytes) -> list[tuple[str, Any]]:
    """Return an object's fields in order, numbers as they are written."""
    return json.loads(
        data, object_pairs_hook=list, parse_float=str, parse_int=lambda one: f"{one}"
    )


class TestEnriched:
    @pytest.mark.parametrize("spaces", ["%s", " %s\n", "%s \t\r\n"])
    def test_is_the_event_itself_where_nothing_is_new(self, spaces):
        """A bet with its identity is published byte for byte."""
        data = (spaces % written(bet(note="\u00e9")).decode()).encode()

        assert published(accept(message(data))) == [data]

    @pytest.mark.parametrize("absent", [..., None])
    def test_has_the_identity(self, absent):
        """Whoever reads it need not know how it was delivered."""
        sent = message(bet(event_id=absent, use_case=absent), "m1", other="x")
        [enriched] = published(accept(sent))

        assert json.loads(enriched) == bet(event_id="m1")
        assert fates([message(enriched)])[0][1] == enriched

    def test_has_what_was_found_out(self):
        """All fields that were sent, in order and unchanged, then the index, and the
        age that stands for the birth date where that is not kept."""
        sent = written(registration(note=[1]), note="[1.10, 1e400, 1E2, -0.0]")
        [enriched] = published(accept(message(sent), postcodes=POSTCODES))

        assert enriched.startswith(sent[:-1])
        assert pairs(enriched) == [
            *pairs(sent),
            ("socioeconomic_idx", "3.25"),
            ("age", "35"),
        ]

    def test_has_what_is_of_its_type(self):
        """No index without a postcode, no age without a birth date."""
        types = {
            "visit": {"postcode": "text or null"},
            "birthday": {"date_of_birth": "birth date"},
        }
        catalogue = Catalogue([use_case("x", list(types), types)])
        visit = bet(use_case="x", event_type="visit", postcode="M1 1AA")
        birthday = bet(use_case="x", event_type="birthday", date_of_birth="1990-05-04")
        accepted = accept(
            message(visit),
            message(birthday),
            catalogue=catalogue,
            postcodes=POSTCODES,
        )

        assert [json.loads(one) for one in published(accepted)] == [
            {**visit, "socioeconomic_idx": 7.0},
            {**birthday, "age": 35},
        ]

    @given(BATCHES)
    def test_says_what_the_row_says(self, messages):
        """Taken in again, as a replay may, it gives the same row and is
        published unchanged."""
        first = accept(*messages, catalogue=BOTH, postcodes=POSTCODES)
        again = accept(
            *(
                msgspec.structs.replace(messages[place], data=data, attributes={})
                for place, data in zip(
                    places(first.events), published(first), strict=True
                )
            ),
            catalogue=BOTH,
        )

        assert again.rows.to_pylist() == first.rows.to_pylist()
        assert [*map(json.loads, published(again))] == [
            *map(json.loads, published(first))
        ]


_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _FLOATS | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXT | st.just("age"), inner, max_size=3)
    ),
    max_leaves=6,
)
OBJECTS = st.dictionaries(
    TEXT | st.sampled_from(["age", "event_id", "socioeconomic_idx"]),
    VALUES,
    min_size=1,
    max_size=4,
)


class TestWithFields:
    @given(
        OBJECTS,
        st.fixed_dictionaries(
            {"age": st.none() | st.integers(0, 150)},
            optional={"event_id": TEXT, "socioeconomic_idx": st.none() | st.just(2.5)},
        ),
        st.sampled_from([None, 1]),
        st.booleans(),
    )
    def test_adds_or_replaces_fields_of_the_object(self, whole, added, indent, ascii_):
        """The object is the same but for the fields that come; fields of those names
        deeper within are none of them, however JSON spells it."""
        data = json.dumps(whole, indent=indent, ensure_ascii=ascii_).encode() + b" \n"

        assert json.loads(with_fields(data, added)) == {**whole, **added}

    @pytest.mark.parametrize(
        "data",
        [
            '{"x":1.10,"y":1E2,"big":123456789012345678901234567890,"z":[1e400,-0.0]}',
            '{"age":1.10,"x":1.10,"y":1E2,"z":{"age":-0.0,"w":1e400}}',
            '{"\\u0061ge":5,"x":1.10}',
            '{"age":5,"age":6,"x":1.10}',
        ],
    )
    def test_leaves_numbers_as_they_are_written(self, data):
        """No digit of a number that stays is touched, be it one that no float is; of a
        name there is one field in the end, however often and however it was spelled."""
        before = [one for one in pairs(data.encode()) if one[0] != "age"]
        after = pairs(with_fields(data.encode(), {"age": 41}))

        assert sorted(after, key=str) == sorted([*before, ("age", "41")], key=str)
