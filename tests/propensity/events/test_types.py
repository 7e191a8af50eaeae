"""
Event types, specified: what is an event, what never can be, and why not.

Every clause is said of the stream's whole way from message to row, since an amount and
a time are judged by the batch. ``test_reading.py`` has what is true of batches.
"""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.events.types import types_of
from propensity.events.values import REASONS
from propensity.ids import is_meaningless, problem_of
from tests.events import (
    BASE,
    CATALOGUE,
    EXAMPLES,
    NEVER,
    accept,
    bet,
    message,
    refusal,
    registration,
    row,
    spoilt,
    written,
)

COMMON = ("user_id", "event_type", "event_time")
FIELDS = [
    (name, field, kind)
    for name, event_type in CATALOGUE.types.items()
    for field, kind in [
        *dict.fromkeys(COMMON, "text").items(),
        *event_type.fields.items(),
    ]
]
REQUIRED = [(name, field) for name, field, kind in FIELDS if kind != "label"]

# JSON that a field of a kind is not. Of a label null means that it is not known yet.
ILL_TYPED = {
    "text": (*NEVER, "1", "1.5", "true", "null"),
    "text or null": (*NEVER, "1", "1.5", "true"),
    "personal": (*NEVER, "1", "1.5", "true", "null"),
    "birth date": (*NEVER, "1", "1.5", "true", "null"),
    "amount": (*NEVER, '"1.50"', '""', "true", "false", "null"),
    "label": (*NEVER, '"1"', "1.0", "0.5"),
}
WRONG = [
    (name, field, literal)
    for name, field, kind in FIELDS
    for literal in ILL_TYPED[kind]
]


class TestEveryType:
    @pytest.mark.parametrize(("name", "field"), REQUIRED)
    def test_has_its_fields(self, name, field):
        """Without one of them, an event is refused, and the field is named."""
        event = {key: one for key, one in EXAMPLES[name].items() if key != field}

        assert refusal(event) == ("missing_field", field)

    @pytest.mark.parametrize(("name", "field", "literal"), WRONG)
    def test_has_fields_of_their_types(self, name, field, literal):
        """A field of another JSON type is refused, and named."""
        event = written(EXAMPLES[name], **{field: literal})

        assert refusal(event) == ("wrong_type", field)

    @pytest.mark.parametrize("field", ["event_id", "use_case"])
    @pytest.mark.parametrize("literal", [*NEVER, "1", "true"])
    def test_has_texts_for_its_identity(self, field, literal):
        """An id or a use case that is no string is refused."""
        assert refusal(spoilt(literal, field)) == ("wrong_type", field)

    @pytest.mark.parametrize(
        "name",
        [
            *("new_deposit", "", "NEW_BET", "new_bet ", "\0"),
            "Object missing required field `user_id` - at `$.city`",
        ],
    )
    def test_is_known(self, name):
        """Of an unknown type nothing is known, even if it reads like an error."""
        assert refusal(bet(event_type=name)) == ("unknown_event_type", "event_type")

    def test_may_have_more_fields(self):
        """What nobody declares is passed over."""
        more = bet(device={"os": ["x", 1e300, None]}, age="old", label=[], amount="x")

        assert row(more) == row(bet())

    def test_may_have_its_fields_in_any_order(self):
        """The type may come last."""
        assert row(dict(reversed(registration().items()))) == row(registration())


class TestJson:
    @pytest.mark.parametrize(
        "data",
        [
            *(b"", b" \n", b"{", b"}", b"hello", b"{'user_id': 'u1'}"),
            written(bet())[:-1],
            written(bet())[:-2],
            written(bet())[:-1] + b",}",
            written(bet()) * 2,
            written(bet()) + b"\n{}",
            b"// a bet\n" + written(bet()),
            *map(spoilt, ("01", "1.", ".5", "+1", "1e", "0x1", "1_000", "1,50")),
            spoilt("undefined"),
            spoilt('"\n"', "user_id"),
            spoilt('"\\x"', "note"),
        ],
        ids=str,
    )
    def test_malformed_is_refused(self, data):
        """Whatever JSON does not allow, in fields that are read or not."""
        assert refusal(data) == ("malformed_json", None)

    @pytest.mark.parametrize(
        "data",
        [b"[]", b"5", b"null", b'"a"', b"true", b"[" + written(bet()) + b"]"],
        ids=str,
    )
    def test_that_is_no_object_is_refused(self, data):
        """JSON, but not an event; nor are many of them one."""
        assert refusal(data) == ("malformed_json", None)

    @pytest.mark.parametrize("field", ["user_id", "city", "note"])
    @pytest.mark.parametrize(
        "literal",
        ['"\\ud800"', '"\\udc00"', '"\\ud800 and on"', '"\\ud800\\u0041"'],
    )
    def test_of_half_a_character_is_refused(self, field, literal):
        """A lone surrogate is no text, and could never be stored."""
        event = written(registration(), **{field: literal})

        assert refusal(event) == ("malformed_json", None)

    def test_may_spell_characters_in_escapes(self):
        """A pair of surrogates is one character; a field's name may be escaped."""
        event = spoilt('"\\ud83d\\ude00\\u00e9"', "user_id")

        assert row(event)["user_id"] == "😀é"
        assert row(event.replace(b'"bet_amount"', b'"bet\\u005famount"')) == row(event)

    def test_counts_the_last_of_a_repeated_field(self):
        """As Python and most readers do; a second type is refused instead."""
        twice = written(bet())[:-1] + b', "bet_amount": 7, "user_id": "u2"}'
        types = written(bet())[:-1] + b', "event_type": "new_win", "win_amount": 1}'

        assert row(twice) == row(bet(bet_amount=7, user_id="u2"))
        assert refusal(types) == ("unknown_event_type", "event_type")

    @pytest.mark.parametrize("depth", [2_000, 100_000])
    @pytest.mark.parametrize("opened", [b"[", b'{"a":'], ids=str)
    @pytest.mark.parametrize("field", ["user_id", "bet_amount", "note"])
    def test_nested_deeply_is_refused(self, depth, opened, field):
        """However deep, in whatever field: it is a dead letter and no crash."""
        closed = b"]" if opened == b"[" else b"}"
        # One level is the event's own.
        nest = opened * (depth - 1) + b"1" + closed * (depth - 1)
        event = spoilt("0.123", field).replace(b"0.123", nest)

        reason, _ = refusal(event, maximum_bytes=10**6)

        assert reason in {"malformed_json", "wrong_type"}
        assert reason == "malformed_json" or field == "user_id"

    @pytest.mark.parametrize("depth", [100_000, 1_000_000])
    def test_of_nothing_but_brackets_is_refused(self, depth):
        """Opened and never closed."""
        for data in (b"[" * depth, b'{"a":' * (depth // 5)):
            assert refusal(data, maximum_bytes=10**6) == ("malformed_json", None)

    @given(st.binary(max_size=200))
    def test_is_not_any_bytes(self, data):
        """Bytes that are no event are refused for a reason that is declared."""
        assert refusal(data)[0] in REASONS

    @given(st.sampled_from(BASE), st.data())
    def test_spoilt_anywhere_crashes_nothing(self, name, data):
        """An event with bytes cut out or put in is an event or a dead letter."""
        whole = written(EXAMPLES[name])
        at = data.draw(st.integers(0, len(whole)))
        to = data.draw(st.integers(at, min(len(whole), at + 5)))
        cut = whole[:at] + data.draw(st.binary(max_size=5)) + whole[to:]

        accepted = accept(message(cut))

        assert accepted.rows.num_rows + len(accepted.refused) == 1
        assert {one.reason for one in accepted.refused.values()} <= set(REASONS)


class TestEncoding:
    @pytest.mark.parametrize("field", ["user_id", "city", "label", "note"])
    @pytest.mark.parametrize(
        "broken",
        [
            b"\xe9",
            b"Zo\xc3",
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf5\x80\x80\x80",
            b"\xff",
        ],
        ids=str,
    )
    def test_is_utf_8_in_every_field(self, field, broken):
        """A broken character, such as one of Latin 1, is refused in a field that is
        read and in one that is not: the event is published and stored as it came."""
        event = written(registration(), **{field: '"@"'}).replace(b"@", broken)
        assert refusal(event) == ("wrong_encoding", None)

    def test_is_utf_8_in_the_names_of_fields(self):
        """A name that nobody reads is looked at as well."""
        event = written(bet(**{"@": 1})).replace(b"@", b"\xe9")

        assert refusal(event) == ("wrong_encoding", None)

    @pytest.mark.parametrize(
        "encoding",
        [
            *("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),
            "utf-8-sig",
        ],
    )
    def test_is_not_another_unicode(self, encoding):
        """UTF-16 and UTF-32 are told by their bytes, with a mark or without; UTF-8 has
        no mark, which other readers of the event would stumble over."""
        event = written(bet()).decode().encode(encoding)

        assert refusal(event) == ("wrong_encoding", None)

    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=256))
    def test_takes_every_character(self, city):
        """Whatever Unicode has arrives as it was sent."""
        assert row(registration(city=city))["city"] == city


class TestIds:
    @given(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256),
        st.booleans(),
    )
    def test_are_those_that_a_lookup_takes(self, user_id, is_ascii):
        """Whatever Unicode has but control characters, escaped or as it is."""
        event = json.dumps(
            json.loads(written(bet(user_id=user_id))), ensure_ascii=is_ascii
        )
        if problem_of(user_id) or is_meaningless(user_id):
            assert refusal(event.encode()) == ("bad_value", "user_id")
        else:
            assert row(event.encode())["user_id"] == user_id

    @pytest.mark.parametrize("field", ["user_id", "event_id"])
    @pytest.mark.parametrize("sent", ["null", "Undefined", " (not set)", "0", "-"])
    def test_that_mean_nothing_are_refused(self, field, sent):
        """Thousands of people would be one user, whose day has one event."""
        assert refusal(bet(**{field: sent})) == ("bad_value", field)

    @pytest.mark.parametrize("character", [*map(chr, (0, 9, 10, 31, 127, 128, 159))])
    @pytest.mark.parametrize("field", ["user_id", "event_id"])
    def test_with_a_control_character_are_refused_alone(self, field, character):
        """A dead letter that names the field; the others of the group are stored. Other
        texts may have one."""
        sent = [
            message(bet(**{field: f"a{character}b"}), "1"),
            message(bet(event_id="e2"), "2"),
            message(registration(event_id="e3", city=f"a{character}b"), "3"),
        ]
        accepted = accept(*sent)
        [(place, refused)] = accepted.refused.items()

        assert (place, refused.reason, refused.field) == (0, "bad_value", field)
        assert accepted.rows.column("event_id").to_pylist() == ["e2", "e3"]

    def test_of_messages_have_the_same_rule(self):
        """An id that an attribute gives, or the message, is one of the event."""
        bare = bet(event_id=...)
        accepted = accept(
            message(bare, "m1", event_id="a\tb"),
            message(bare, "m2", event_id="\u00ad is no control character"),
            message(bare, "m\n3"),
        )

        assert accepted.rows.column("message_id").to_pylist() == ["m2"]
        assert {place: why.field for place, why in accepted.refused.items()} == {
            0: "event_id",
            2: "event_id",
        }


class TestSizes:
    @pytest.mark.parametrize("field", ["user_id", "event_id"])
    def test_of_ids_are_bounded(self, field):
        """An id has 1 to 256 characters; bytes do not count."""
        assert row(bet(**{field: "é" * 256}))[field] == "é" * 256
        assert refusal(bet(**{field: "é" * 257})) == ("bad_value", field)
        assert refusal(bet(**{field: ""})) == ("bad_value", field)

    @pytest.mark.parametrize(
        "field", ["name", "street_address", "city", "postcode", "campaign"]
    )
    def test_of_texts_are_bounded(self, field):
        """A text has at most 4,096 characters."""
        assert row(registration(**{field: "é" * 4096}))
        assert refusal(registration(**{field: "é" * 4097})) == ("bad_value", field)

    def test_of_events_are_bounded(self):
        """At the bound an event is taken; a byte more is refused, whatever it says."""
        event = written(bet())

        assert row(event, maximum_bytes=len(event)) == row(event)
        assert refusal(event, maximum_bytes=len(event) - 1) == ("too_large", None)
        assert refusal(b"\xff" * 11, maximum_bytes=10) == ("too_large", None)


class TestRefusals:
    @given(
        secret=st.text("abcXYZ", min_size=8, max_size=12), name=st.sampled_from(BASE)
    )
    def test_repeat_nothing_of_the_event(self, secret, name):
        """The reason is logged and answered; who it is about is not in it."""
        for field in EXAMPLES[name]:
            for value in (secret, [secret], {secret: 1}):
                event = {**EXAMPLES[name], field: value}
                for one in accept(message(event)).refused.values():
                    assert secret not in f"{one.reason}{one.detail}{one.field}"

    def test_are_all_declared(self):
        """``REASONS`` names each once, as one word."""
        assert len(set(REASONS)) == len(REASONS)
        assert all(re.fullmatch(r"[a-z_]+", reason) for reason in REASONS)


class TestDeclarations:
    def test_are_a_table_a_type(self):
        """Fields by name, in order, each of a kind; one may be the amount."""
        types = types_of({"spin": {"stake": "amount", "machine": "text"}, "pause": {}})

        assert dict(types["spin"].fields) == {"stake": "amount", "machine": "text"}
        assert types["spin"].amount == "stake"
        assert types["spin"].of_kind("text") == ("machine",)
        assert types["pause"].amount is None

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('[spin]\nodds = "float"', "odds is 'float'"),
            ("[spin]\nodds = 5", "odds is 5"),
            ('[spin]\na = "amount"\nb = "amount"', "more than one field"),
            ('[spin]\na = "label"\nb = "label"', "more than one field"),
            ('[spin]\na = "birth date"\nb = "birth date"', "more than one field"),
            ('spin = "amount"', "is a table"),
            ('["my spin"]\na = "text"', "is a table"),
            ('[""]\na = "text"', "is a table"),
            ('[spin]\nuser_id = "text"', "no field can be named 'user_id'"),
            ('[spin]\nevent_type = "text"', "no field can be named 'event_type'"),
            ('[spin]\nage = "number"', "no field can be named 'age'"),
            ('[spin]\nattributes = "text"', "no field can be named 'attributes'"),
            ('[spin]\n"my field" = "text"', "no field can be named 'my field'"),
            ('[spin]\n7th = "text"', "no field can be named '7th'"),
            ('[spin]\nid = "identity"', "no field but its identity"),
            ('[spin]\nid = "identity"\nat = "instant"', "no field but its identity"),
            ('[spin]\nend = "truth"', "a truth has an identity"),
            ('[spin]\nid = "identity"\nend = "truth"', "a truth has an identity"),
            ('[spin]\nid = "identity"\nat = "truth time"', "a truth has an identity"),
            ('[spin]\na = "identity"\nb = "identity"', "more than one field"),
            ('[spin]\namount = "text"', "amount is amount everywhere"),
            ('[spin]\nlabel = "text"', "label is label everywhere"),
            ('[spin]\nname = "text"', "name is personal everywhere"),
            ('[spin]\ncity = "number"', "city is text or text or null everywhere"),
        ],
    )
    def test_that_cannot_be_are_refused(self, text, problem):
        """An unknown kind, two fields for one column, a name that is taken."""
        with pytest.raises(ValueError, match=re.escape(problem)):
            types_of(tomllib.loads(text))
