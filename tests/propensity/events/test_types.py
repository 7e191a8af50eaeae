"""
Events, specified: what is one, what never can be, and why not.

Every clause is said of the stream's whole way from message to row, since an amount and
a time are judged by the batch. ``test_stream.py`` has what is true of batches.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity.errors import UseCaseError
from propensity.events.catalogue import MAXIMUM_DEPTH, Catalogue
from propensity.events.types import declared
from propensity.events.values import (
    EARLIEST,
    EPOCH,
    MAXIMUM_AGE,
    MAXIMUM_AMOUNT,
    REASONS,
    Refused,
    age_at,
    amount_of,
    checked_age,
    instant_of,
    label_of,
    moment_of,
    number_of,
    numeral_of,
)
from propensity.usecases import UseCase
from tests.events import (
    BASE,
    CATALOGUE,
    DEPLOYED,
    FEATURES,
    NOW,
    RULES,
    accept,
    bet,
    message,
    refusal,
    registration,
    row,
    told,
    transaction,
    truth,
    use_case,
    written,
)

# No limit on the time of an example: the machine may be busy.
QUICK = settings(deadline=None)

COMMON = ("user_id", "event_type", "event_time")
EXAMPLES = {
    "new_registration": registration(),
    "new_purchases": bet(event_type="new_purchases", bet_amount=..., amount=12.3),
    "new_bet": bet(),
    "new_win": bet(event_type="new_win", bet_amount=..., win_amount=12.3),
}
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
NEVER = ("[]", "{}", '["a"]', '{"a": 1}')
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


def spoilt(literal: str, field: str = "bet_amount") -> bytes:
    """Return a bet with a field that is written like this."""
    return written(bet(), **{field: literal})


def timed(text: str) -> dict[str, object]:
    return bet(event_time=text)


class TestEveryType:
    @pytest.mark.parametrize("name", BASE)
    def test_is_taken_as_declared(self, name):
        """The issue's four types, each with all of its fields, are events."""
        assert row(EXAMPLES[name])["event_type"] == name

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

    @pytest.mark.parametrize("name", ["new_deposit", "", "NEW_BET", "new_bet ", "\0"])
    def test_is_known(self, name):
        """Of an unknown type, whatever it is called, is nothing known."""
        assert refusal(bet(event_type=name)) == ("unknown_event_type", "event_type")

    def test_cannot_name_the_reason_of_its_refusal(self):
        """A type that reads like an error message is an unknown type, no more."""
        name = "Object missing required field `user_id` - at `$.city`"

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
            b"",
            b" \n",
            b"{",
            b"}",
            b"hello",
            b"{'user_id': 'u1'}",
            written(bet())[:-1],
            written(bet())[:-2],
            written(bet())[:-1] + b",}",
            written(bet()) * 2,
            written(bet()) + b"\n{}",
            b"// a bet\n" + written(bet()),
            spoilt("01"),
            spoilt("1."),
            spoilt(".5"),
            spoilt("+1"),
            spoilt("1e"),
            spoilt("0x1"),
            spoilt("1_000"),
            spoilt("1,50"),
            spoilt("undefined"),
            spoilt('"\n"', "user_id"),
            spoilt('"\\x"', "note"),
        ],
        ids=str,
    )
    def test_malformed_is_refused(self, data):
        """Whatever JSON does not allow, in fields that are read or not."""
        assert refusal(data) == ("malformed_json", None)

    @pytest.mark.parametrize("data", [b"[]", b"5", b"null", b'"a"', b"true"], ids=str)
    def test_that_is_no_object_is_refused(self, data):
        """JSON, but not an event."""
        assert refusal(data) == ("wrong_type", None)

    def test_of_many_events_is_refused(self):
        """A message is one event, and an array of them is none."""
        assert refusal(b"[" + written(bet()) + b"]") == ("wrong_type", None)

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

    @pytest.mark.parametrize("depth", [MAXIMUM_DEPTH + 1, 900, 2_000, 100_000])
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
        assert refusal(b"[" * depth, maximum_bytes=10**6) == ("wrong_type", None)
        reason, _ = refusal(b'{"a":' * (depth // 5), maximum_bytes=10**6)
        assert reason == "malformed_json"

    def test_nested_as_deep_as_may_be_is_taken(self):
        """The bound is exact, and brackets in texts and beside each other are none."""
        nest = "[" * (MAXIMUM_DEPTH - 1) + "]" * (MAXIMUM_DEPTH - 1)
        flat = f'["[[[\\"[[[{"{" * 999}"{", {}" * 999}]'

        assert row(spoilt(nest, "note")) == row(bet())
        assert row(spoilt(flat, "note")) == row(bet())

    @QUICK
    @given(st.binary(max_size=200))
    def test_is_not_any_bytes(self, data):
        """Bytes that are no event are refused for a reason that is declared."""
        assert refusal(data)[0] in REASONS

    @QUICK
    @given(st.sampled_from(BASE), st.data())
    def test_spoilt_anywhere_crashes_nothing(self, name, data):
        """An event with bytes cut out or put in is an event or a dead letter."""
        whole = written(EXAMPLES[name])
        at = data.draw(st.integers(0, len(whole)))
        to = data.draw(st.integers(at, min(len(whole), at + 5)))
        cut = whole[:at] + data.draw(st.binary(max_size=5)) + whole[to:]

        accepted = accept(message(cut))

        assert accepted.rows.num_rows + len(accepted.refused) == 1
        assert set(accepted.reasons) <= set(REASONS)


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
        """A broken character is refused in a field that is read and in one that is
        not, since the event is published and stored as it came."""
        event = written(registration(), **{field: '"@"'}).replace(b"@", broken)
        if field == "label":  # its type is wrong as well, which is found first
            assert refusal(event) == ("wrong_type", "label")
        else:
            assert refusal(event) == ("wrong_encoding", None)

    def test_is_utf_8_in_the_names_of_fields(self):
        """A name that nobody reads is looked at as well."""
        event = written(bet(**{"@": 1})).replace(b"@", b"\xe9")

        assert refusal(event) == ("wrong_encoding", None)

    @pytest.mark.parametrize(
        "encoding",
        ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"],
    )
    def test_is_not_another_unicode(self, encoding):
        """UTF-16 and UTF-32 are told by their bytes, with a mark or without."""
        event = written(bet()).decode().encode(encoding)

        assert refusal(event) == ("wrong_encoding", None)

    def test_has_no_byte_order_mark(self):
        """JSON has none, and other readers of the event would stumble over it."""
        assert refusal(b"\xef\xbb\xbf" + written(bet())) == ("wrong_encoding", None)

    def test_of_latin_1_is_refused(self):
        """The most common mistake."""
        event = written(registration(name="Zoë")).decode().encode("latin-1")

        assert refusal(event) == ("wrong_encoding", None)

    @QUICK
    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256))
    def test_takes_every_character(self, user_id):
        """Whatever Unicode has arrives as it was sent."""
        assert row(bet(user_id=user_id))["user_id"] == user_id


AMOUNTS = {
    "0": "0",
    "-0": "0",
    "-0.00": "0",
    "0.0": "0",
    "0e5": "0",
    "0e-5": "0",
    "0e999999": "0",
    "0e-999999999": "0",
    "1": "1",
    "1.1": "1.1",
    "1.10": "1.1",
    "1.0": "1",
    "1.5000000": "1.5",
    "1e2": "100",
    "1E2": "100",
    "1e+2": "100",
    "1e0": "1",
    "100E-2": "1",
    "1.25e1": "12.5",
    "1234.5e-1": "123.45",
    "0.01": "0.01",
    "1e-2": "0.01",
    "0.07": "0.07",
    "0.29": "0.29",
    "4.35": "4.35",
    "999999999.99": "999999999.99",
    "99999999999e-2": "999999999.99",
    "1000000000": "1000000000",
    "1000000000.00": "1000000000",
    "1e9": "1000000000",
    "0.1e10": "1000000000",
    "10000000000000000000e-10": "1000000000",
    "0." + "0" * 500: "0",
    "1." + "0" * 500: "1",
    "1" + "0" * 500 + "e-500": "1",
}
BAD_AMOUNTS = [
    "-1", "-0.01", "-1e-9", "-1e400", "-1000000000.01",
    "1000000000.01", "1000000001", "1e10", "1e400", "9" * 400, "1e999999999",
    "1e99999999999999999999", "1e-99999999999999999999",
    "0.001", "12.345", "1e-3", "0.30000000000000004", "1.000000000000000000000001",
    "999999999.991", "999999999." + "0" * 60 + "1", "1e-999999999", "1000000000e-12",
]  # fmt: skip


class TestAmounts:
    @pytest.mark.parametrize(("literal", "amount"), AMOUNTS.items())
    def test_are_what_was_written(self, literal, amount):
        """Every spelling that JSON has of an amount is that amount, to the cent."""
        found = row(spoilt(literal))["amount"]

        assert found == Decimal(amount)
        assert not found.is_signed()

    @pytest.mark.parametrize("literal", BAD_AMOUNTS)
    def test_have_bounds(self, literal):
        """Negative, over a thousand million, or finer than a cent: refused."""
        assert refusal(spoilt(literal)) == ("bad_amount", "bet_amount")

    @pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
    @pytest.mark.parametrize("name", BASE[1:])
    def test_are_finite(self, name, literal):
        """What Python writes for a number that JSON does not have is told apart."""
        field = CATALOGUE.types[name].amount
        event = written(EXAMPLES[name], **{field: literal})

        assert refusal(event) == ("not_finite", field)

    def test_that_are_nowhere_finite_have_no_field(self):
        """Within a field nothing is named; in JSON that is broken too, nor is that."""
        assert refusal(spoilt("[1, NaN]", "note")) == ("not_finite", None)
        assert refusal(b"NaN") == ("not_finite", None)
        assert refusal(spoilt("NaN")[:-1]) == ("malformed_json", None)
        assert refusal(spoilt('"NaN"', "note")[:-1]) == ("malformed_json", None)

    @pytest.mark.parametrize("name", BASE[1:])
    def test_are_the_field_of_the_type(self, name):
        """A purchase, a bet and a win name it differently; it is one column."""
        field = CATALOGUE.types[name].amount

        assert row(written(EXAMPLES[name], **{field: "7.25"}))["amount"] == Decimal(
            "7.25"
        )
        assert refusal(written(EXAMPLES[name], **{field: "-1"})) == (
            "bad_amount",
            field,
        )

    @QUICK
    @given(
        cents=st.integers(0, 100 * MAXIMUM_AMOUNT),
        exponent=st.integers(-30, 30),
        zeros=st.integers(0, 30),
        sign=st.sampled_from(["e", "E", "e+", "E+"]),
    )
    def test_are_one_however_they_are_spelled(self, cents, exponent, zeros, sign):
        """The exponent and the zeros behind a number do not count."""
        digits = f"{Decimal(cents).scaleb(-2 - exponent):f}"
        digits += "0" * zeros if "." in digits else ""
        letter = sign if exponent >= 0 else sign[0]
        found = amount_of(f"{digits}{letter}{exponent}".encode(), field="amount")

        assert found == Decimal(cents).scaleb(-2)

    @QUICK
    @given(st.decimals(allow_nan=False, allow_infinity=False))
    def test_are_exact_or_refused(self, number):
        """Of any number: it is taken as it is, or it breaks a bound."""
        cents = Fraction(number) * 100
        is_within = 0 <= number <= MAXIMUM_AMOUNT and cents.denominator == 1
        try:
            found = amount_of(str(number).encode(), field="amount")
        except Refused as refused:
            found = refused.reason

        assert found == (number if is_within else "bad_amount")


class TestNumbers:
    @pytest.mark.parametrize(
        ("literal", "number"),
        [(b"1.5", 1.5), (b"-0", 0.0), (b"1e-400", 0.0), (b"1e308", 1e308)],
    )
    def test_are_floats(self, literal, number):
        """A number that is no money may be negative, and is the nearest FLOAT64."""
        assert number_of(literal, field="odds") == number

    @pytest.mark.parametrize(
        ("literal", "reason"),
        [(b"1e309", "not_finite"), (b'"1"', "wrong_type"), (b"null", "wrong_type")],
    )
    def test_are_finite_numbers(self, literal, reason):
        """Beyond the largest FLOAT64, or no number: refused, with the field."""
        with pytest.raises(Refused) as caught:
            number_of(literal, field="odds")

        assert (caught.value.reason, caught.value.field) == (reason, "odds")


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENTS = {
    "2026-03-01T12:00:00Z": NOON,
    "2026-03-01T12:00:00": NOON,
    "2026-03-01 12:00:00": NOON,
    "2026-03-01 12:00:00 UTC": NOON,
    "2026-03-01T12:00:00z": NOON,
    "2026-03-01t12:00:00Z": NOON,
    " 2026-03-01T12:00:00Z\n": NOON,
    "2026-03-01T12:00Z": NOON,
    "2026-03-01T12:00": NOON,
    "2026-03-01T12Z": NOON,
    "20260301T120000Z": NOON,
    "2026-03-01": NOON - timedelta(hours=12),
    "2026-03-01T12:00:00+00:00": NOON,
    "2026-03-01T12:00:00-00:00": NOON,
    "2026-03-01T13:00:00+01:00": NOON,
    "2026-03-01T13:00:00+0100": NOON,
    "2026-03-01T13:00:00+01": NOON,
    "2026-03-01T17:30:00+05:30": NOON,
    "2026-03-01T06:15:00-05:45": NOON,
    "2026-02-28T22:00:00.5-14:00": NOON + timedelta(seconds=0.5),
    "2026-03-01T00:00:00+23:59": datetime(2026, 2, 28, 0, 1, tzinfo=UTC),
    "2026-03-01T12:00:00,25Z": NOON + timedelta(seconds=0.25),
    "1971-01-01T00:00:00Z": datetime(1971, 1, 1, tzinfo=UTC),
    "2024-02-29T12:00:00Z": datetime(2024, 2, 29, 12, tzinfo=UTC),
}
NO_MOMENTS = [
    "", " ", "yesterday", "now", "1772366400", "1772366400000", "2026", "2026-03",
    "2026-03-01T", "2026-3-1", "2026-03-01T1:00:00Z", "01.03.2026", "03/01/2026",
    "2026-02-30T12:00:00Z", "2025-02-29T12:00:00Z", "2026-13-01T12:00:00Z",
    "2026-00-01T12:00:00Z", "2026-03-00T12:00:00Z", "2026-03-01T24:00:00Z",
    "2026-03-01T25:00:00Z", "2026-03-01T12:60:00Z", "2026-03-01T23:59:60Z",
    "2026-03-01T12:00:00+24:00", "2026-03-01T12:00:00+99:99",
    "2026-03-01T12:00:00+01:60", "2026-03-01T12:00:00+1", "2026-03-01T12:00:00.Z",
    "2026-03-01T12:00:00ZZ", "2026-03-01T12:00:00Z UTC", "2026-03-01T12:00:00 CET",
    "2026-03-01T12:00:00[Europe/London]", "2026-03-01x12:00:00Z",
    "2026-03-01T12:00:00Z\0", "٢٠٢٦-03-01T12:00:00Z", "2026-W09-7", "2026-060",
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    "10000-01-01T00:00:00Z", "-001-01-01T00:00:00Z",
]  # fmt: skip


class TestTimes:
    @pytest.mark.parametrize(("text", "moment"), MOMENTS.items())
    def test_are_moments_in_utc(self, text, moment):
        """ISO 8601, with an offset or without; without one it is UTC, and a date alone
        is its midnight."""
        found = row(timed(text))

        assert found["event_time"] == moment
        assert found["event_date"] == moment.date()

    @pytest.mark.parametrize("digits", range(1, 10))
    def test_are_kept_to_the_microsecond(self, digits):
        """Of up to nine digits of a second six are kept; the others are cut off."""
        fraction = "987654321"[:digits]
        expected = NOON + timedelta(microseconds=int(fraction.ljust(6, "0")[:6]))

        for zone in ("Z", "", "+00:00"):
            text = f"2026-03-01T12:00:00.{fraction}{zone}"
            assert row(timed(text))["event_time"] == expected

    @pytest.mark.parametrize("text", NO_MOMENTS)
    def test_are_nothing_else(self, text):
        """No such moment, no such notation, or several readings of it: refused."""
        assert refusal(timed(text)) == ("bad_time", "event_time")

    def test_may_be_a_little_ahead(self):
        """Clocks differ: at the bound an event is taken, a microsecond on refused."""
        bound = NOW + RULES.clock_skew
        beyond = bound + timedelta(microseconds=1)

        assert row(timed(bound.isoformat()))["event_time"] == bound
        assert refusal(timed(beyond.isoformat())) == ("bad_time", "event_time")
        assert refusal(timed("2999-12-31T00:00:00Z")) == ("bad_time", "event_time")

    def test_are_not_from_before_there_were_events(self):
        """1970 is a clock that was never set."""
        for text in ("1970-01-01T00:00:00Z", "1970-12-31T23:59:59.999999Z"):
            assert refusal(timed(text)) == ("bad_time", "event_time")

    @QUICK
    @given(
        st.datetimes(timezones=st.just(UTC)).filter(lambda one: 1 < one.year < 9999),
        st.integers(-23 * 60, 23 * 60),
    )
    def test_are_the_same_in_every_zone(self, moment, minutes):
        """An offset changes the text and not the moment."""
        zone = timezone(timedelta(minutes=minutes))

        assert moment_of(moment.astimezone(zone).isoformat()) == moment
        assert moment_of(moment.replace(tzinfo=None).isoformat(sep=" ")) == moment


class TestAges:
    @pytest.mark.parametrize(
        ("birth", "day", "age"),
        [
            ("1990-05-04", "2026-05-03", 35),
            ("1990-05-04", "2026-05-04", 36),
            ("1990-12-31", "2026-01-01", 35),
            ("2026-03-01", "2026-03-01", 0),
            ("2025-03-02", "2026-03-01", 0),
            ("2000-02-29", "2026-02-28", 25),
            ("2000-02-29", "2026-03-01", 26),
            ("2000-02-29", "2024-02-28", 23),
            ("2000-02-29", "2024-02-29", 24),
            ("1876-01-01", "2026-01-01", 150),
        ],
    )
    def test_are_whole_years(self, birth, day, age):
        """A year more on the birthday; of 29 February on 1 March of other years."""
        moment = datetime.fromisoformat(f"{day}T00:00:00+00:00")

        assert age_at(date.fromisoformat(birth), moment, field="born") == age

    @pytest.mark.parametrize("birth", ["2026-03-03", "1875-03-01", "0001-01-01"])
    def test_are_those_of_people(self, birth):
        """Born after the event, or more than 150 years before it: refused."""
        found = refusal(registration(date_of_birth=birth))

        assert found == ("bad_value", "date_of_birth")

    @pytest.mark.parametrize(
        "text",
        ["", "4.5.1990", "1990-5-4", "1990-02-30", "1990-05-04T00:00:00Z", "19900504"],
    )
    def test_are_of_a_birth_date(self, text):
        """A date is YYYY-MM-DD, and one that there was."""
        found = refusal(registration(date_of_birth=text))

        assert found == ("bad_value", "date_of_birth")

    @pytest.mark.parametrize(
        ("literal", "reason"),
        [
            ("-1", "bad_value"),
            (str(MAXIMUM_AGE + 1), "bad_value"),
            ("9" * 30, "bad_value"),
            ("9" * 5_000, "bad_value"),
            ("41.0", "wrong_type"),
            ("null", "wrong_type"),
            ('"41"', "wrong_type"),
            ("true", "wrong_type"),
        ],
    )
    def test_that_are_given_are_checked(self, literal, reason):
        """An age may come in the place of the birth date, and is judged as one."""
        event = written(registration(date_of_birth=...), age=literal)

        assert refusal(event) == (reason, "age")

    def test_have_bounds(self):
        """0 and 150 are ages."""
        assert checked_age(0, field="age") == 0
        assert checked_age(MAXIMUM_AGE, field="age") == MAXIMUM_AGE


class TestLabels:
    @pytest.mark.parametrize(
        ("literal", "label"),
        [("0", 0), ("1", 1), ("-0", 0), ("true", 1), ("false", 0), ("null", None)],
    )
    def test_are_zero_or_one(self, literal, label):
        """Or true and false; null while it is not known."""
        found = row(written(registration(), label=literal))["label"]

        assert found == label
        assert not isinstance(found, bool)

    def test_may_be_left_out(self):
        """A label that is not there is not known."""
        assert row(registration(label=...))["label"] is None
        assert label_of(msgspec.UNSET, field="label") is None

    @pytest.mark.parametrize("literal", ["2", "-1", "9" * 30, "9" * 5_000])
    def test_are_no_other_number(self, literal):
        """However large."""
        event = written(registration(), label=literal)

        assert refusal(event) == ("bad_value", "label")


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
    @QUICK
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


SPIN = {"spin": {"stake": "amount", "machine": "text", "odds": "number"}}
SLOTS = Catalogue([use_case("slots", ["spin"], SPIN)])


def spin(**fields: object) -> dict[str, object]:
    """Return an event of a use case's own type."""
    own = {"use_case": "slots", "event_type": "spin", "bet_amount": ...}
    return bet(**own, **{"stake": 2.5, "machine": "m7", "odds": -1.25, **fields})


class TestDeclarations:
    def test_are_a_table_a_type(self):
        """Fields by name, in order, each of a kind; one may be the amount."""
        types = declared('[spin]\nstake = "amount"\nmachine = "text"\n[pause]\n')

        assert dict(types["spin"].fields) == {"stake": "amount", "machine": "text"}
        assert types["spin"].amount == "stake"
        assert types["spin"].of_kind("text", "number") == ("machine",)
        assert types["pause"].amount is None

    @pytest.mark.parametrize(
        ("text", "told"),
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
    def test_that_cannot_be_are_refused(self, text, told):
        """An unknown kind, two fields for one column, a name that is taken."""
        with pytest.raises(ValueError, match=re.escape(told)):
            declared(text)


class TestCatalogue:
    def test_has_the_types_that_are_taken(self):
        """Of the shared types those that a use case names, with its own."""
        one = Catalogue([use_case("slots", ["new_win", "spin"], SPIN)])

        assert sorted(one.types) == ["new_win", "spin"]
        assert one.use_cases == {"slots"}
        assert one.default == {"new_win": "slots", "spin": "slots"}

    def test_reads_the_types_of_a_use_case(self):
        """An event of a use case's own type is taken as one of the shared types is."""
        found = row(spin(), catalogue=SLOTS)

        assert (found["use_case"], found["event_type"]) == ("slots", "spin")
        assert found["amount"] == Decimal("2.5")
        assert json.loads(found["attributes"]) == {"machine": "m7", "odds": -1.25}

    @pytest.mark.parametrize(
        ("field", "literal", "reason"),
        [
            ("machine", "5", "wrong_type"),
            ("machine", "null", "wrong_type"),
            ("odds", '"5"', "wrong_type"),
            ("odds", "1e999", "not_finite"),
            ("odds", "-Infinity", "not_finite"),
            ("stake", "-1", "bad_amount"),
            ("stake", "0.001", "bad_amount"),
            ("stake", "NaN", "not_finite"),
        ],
    )
    def test_checks_the_types_of_a_use_case(self, field, literal, reason):
        """Fields of a use case's own are judged as all others."""
        wrong = written(spin(), **{field: literal})

        assert refusal(wrong, catalogue=SLOTS) == (reason, field)
        assert refusal(spin(**{field: ...}), catalogue=SLOTS) == (
            "missing_field",
            field,
        )

    def test_asks_for_the_type_even_where_there_is_one(self):
        """A deploy of a single type takes no event that does not say so."""
        slots = Catalogue([use_case("slots", ["new_bet"])])

        assert row(bet(use_case="slots"), catalogue=slots)["use_case"] == "slots"
        for name, reason in ((..., "missing_field"), ("", "unknown_event_type")):
            event = bet(use_case="slots", event_type=name)
            assert refusal(event, catalogue=slots) == (reason, "event_type")

    def test_leaves_out_use_cases_without_events(self):
        """A use case that is not streamed is none that an event can be of."""
        both = Catalogue([use_case(), use_case("ga4_purchase", [])])

        assert both.use_cases == {"first_day_churn"}

    @pytest.mark.parametrize(
        ("use_cases", "told"),
        [
            ([use_case("slots", ["spin"])], "takes spin, which no file declares"),
            (
                [use_case("slots", ["new_bet"], {"new_bet": {"a": "text"}})],
                "declares new_bet, which is declared already",
            ),
            (
                [use_case("a", ["spin"], SPIN), use_case("b", ["spin"], SPIN)],
                "usecases/b declares spin, which is declared already",
            ),
            (
                [use_case("slots", ["spin"], {"spin": {"a": "float"}})],
                "usecases/slots declares an event type wrongly",
            ),
            ([], "no use case takes events"),
            ([use_case("ga4_purchase", [])], "no use case takes events"),
        ],
    )
    def test_refuses_what_contradicts_itself(self, use_cases, told):
        """A type that nobody or everybody declares is a mistake of the deploy."""
        with pytest.raises(UseCaseError, match=re.escape(told)):
            Catalogue(use_cases)

    def test_shares_the_types_that_one_declares(self):
        """A use case may take a type that another has declared, in whatever order."""
        both = Catalogue([use_case("a", ["spin"]), use_case("b", ["spin"], SPIN)])

        assert both.taken == {("a", "spin"), ("b", "spin")}

    def test_knows_the_use_case_only_where_one_can_be_meant(self):
        """Without a use case an event is of the one that takes it; of several, none is
        guessed."""
        both = Catalogue(
            [use_case("a", ["new_bet", "new_win"]), use_case("b", ["new_win"])]
        )
        win = EXAMPLES["new_win"]

        assert row(bet(use_case=...), catalogue=both)["use_case"] == "a"
        assert row({**win, "use_case": "b"}, catalogue=both)["use_case"] == "b"
        assert refusal({**win, "use_case": None}, catalogue=both) == (
            "missing_field",
            "use_case",
        )
        assert refusal(bet(use_case="b"), catalogue=both) == (
            "unknown_event_type",
            "event_type",
        )

    @pytest.mark.parametrize("name", ["", "no_such_case", "FIRST_DAY_CHURN", "é"])
    def test_refuses_an_unknown_use_case(self, name):
        """A use case that an event names is never put right."""
        assert refusal(bet(use_case=name)) == ("unknown_use_case", "use_case")


class TestIdentity:
    def test_is_the_field(self):
        """Field before attribute before the id of the message."""
        sent = message(bet(), "m1", event_id="a1", use_case="no_such_case")

        assert accept(sent).rows["event_id"].to_pylist() == ["e1"]
        assert accept(sent).rows["use_case"].to_pylist() == ["first_day_churn"]

    @pytest.mark.parametrize("absent", [..., None])
    def test_may_be_an_attribute(self, absent):
        """Where the event has no such field, or null there."""
        event = bet(event_id=absent, use_case=absent)
        sent = message(event, "m1", event_id="a1", use_case="first_day_churn")

        assert accept(sent).rows["event_id"].to_pylist() == ["a1"]

    @pytest.mark.parametrize("attributes", [{}, {"event_id": ""}])
    def test_is_that_of_the_message_otherwise(self, attributes):
        """Without either, a redelivery is the same event, and a twin is another."""
        twins = [
            message(bet(event_id=...), name, **attributes)
            for name in ("m1", "m2", "m1")
        ]

        assert accept(*twins).rows["event_id"].to_pylist() == ["m1", "m2", "m1"]

    @pytest.mark.parametrize(
        ("attributes", "refused"),
        [
            ({"use_case": "no_such_case"}, ("unknown_use_case", "use_case")),
            ({"event_id": "x" * 257}, ("bad_value", "event_id")),
        ],
    )
    def test_in_an_attribute_is_checked_too(self, attributes, refused):
        """An attribute is held to what a field is."""
        sent = message(bet(event_id=..., use_case=...), **attributes)
        found = accept(sent).refused[0]

        assert (found.reason, found.field) == refused


EARLIEST_MS, NOW_MS = (
    (one - EPOCH) // timedelta(milliseconds=1) for one in (EARLIEST, NOW)
)


def card(event: dict[str, object] | bytes) -> dict[str, object]:
    """Return the row of a transaction that must be accepted."""
    return row(event, catalogue=DEPLOYED)


def card_refusal(event: dict[str, object] | bytes) -> tuple[str, str | None]:
    return refusal(event, catalogue=DEPLOYED)


class TestTransactions:
    def test_come_bare(self):
        """Without type, use case, user and id: all of them follow from its fields."""
        found = card(transaction())

        assert (found["use_case"], found["event_type"]) == (
            "card_fraud",
            "card_transaction",
        )
        assert (found["event_id"], found["user_id"]) == ("t1", "t1")
        assert found["event_time"] == datetime(2026, 3, 1, 12, tzinfo=UTC)
        assert json.loads(found["attributes"]) == {
            **{name: n / 8 for n, name in enumerate(FEATURES)},
            "ingest_ts": "2026-03-01T12:00:00.500000+00:00",
        }
        assert found["amount"] is None

    @pytest.mark.parametrize("absent", [..., None])
    @pytest.mark.parametrize(
        "field", ["event_type", "use_case", "user_id", "event_id", "ingest_ts"]
    )
    def test_need_none_of_what_others_have(self, field, absent):
        """A field of those may be missing or null."""
        found = card(transaction(**{field: absent}))

        assert (found["event_id"], found["user_id"]) == ("t1", "t1")

    @pytest.mark.parametrize("as_attributes", [False, True])
    def test_may_say_what_they_are(self, as_attributes):
        """As fields or as attributes of the message; the identity stays its own."""
        said = {
            "event_type": "card_transaction",
            "use_case": "card_fraud",
            "user_id": "a holder",
            "event_id": "another",
        }
        sent = (
            message(transaction(), **said)
            if as_attributes
            else message(transaction(**said))
        )
        accepted = accept(sent, catalogue=DEPLOYED)

        assert accepted.rows.to_pylist() == [card(transaction())]
        assert {
            name: json.loads(accepted.enriched[0])[name]
            for name in ("event_type", "use_case", "user_id", "event_id")
        } == {**said, "user_id": "t1", "event_id": "t1"}

    def test_are_published_with_what_follows(self):
        """Every field as it was written, then who and what it is."""
        data = written(transaction(), V1="1.10", V2='"1e2"')
        [enriched] = accept(message(data), catalogue=DEPLOYED).enriched

        assert enriched.startswith(data[:-1])
        assert json.loads(enriched[len(data) - 1 :].replace(b",", b"{", 1)) == {
            "event_id": "t1",
            "use_case": "card_fraud",
            "user_id": "t1",
            "event_type": "card_transaction",
        }

    @pytest.mark.parametrize("field", ["transaction_id", *FEATURES, "event_time"])
    def test_have_their_fields(self, field):
        """Without one it is a dead letter, and the field is named."""
        assert card_refusal(transaction(**{field: ...})) == ("missing_field", field)

    @pytest.mark.parametrize("field", ["V1", "V28", "Amount"])
    @pytest.mark.parametrize(
        ("literal", "reason"),
        [
            *((one, "wrong_type") for one in (*NEVER, "null", "true", '""', '" "')),
            *(
                (one, "wrong_type")
                for one in ('"1,5"', '"0x1"', '"1_0"', '"x"', '"１"')
            ),
            *((one, "not_finite") for one in ("NaN", "-Infinity", "1e400", "-1e999")),
            *(
                (f'"{one}"', "not_finite")
                for one in ("NaN", "inf", "-Infinity", "1e400")
            ),
        ],
    )
    def test_have_finite_numbers(self, field, literal, reason):
        """As numbers, or in strings that hold one; anything else names the field."""
        event = written(transaction(), **{field: literal})

        assert card_refusal(event) == (reason, field)

    @QUICK
    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_say_the_same_as_numbers_and_as_strings(self, number):
        """Every number arrives exactly, to the last bit and the sign of a zero."""
        plain, quoted = (
            card(written(transaction(), V7=literal))
            for literal in (repr(number), f'" {number!r} "')
        )

        assert plain == quoted
        found = json.loads(plain["attributes"])["V7"]
        assert repr(found) == repr(number)

    @pytest.mark.parametrize(
        ("text", "number"), [("1", 1.0), ("+1.5", 1.5), (".5", 0.5), ("5.", 5.0)]
    )
    def test_may_be_written_as_programs_write_numbers(self, text, number):
        """Where JSON has one spelling, data files have several."""
        assert numeral_of(text, field="V1") == number

    @pytest.mark.parametrize(
        ("literal", "identity"),
        [('"é"', "é"), ("5", "5"), ("-0", "0"), ("9" * 256, "9" * 256)],
    )
    def test_are_identified_by_a_text_or_a_whole_number(self, literal, identity):
        """An id that counts up is the same as its digits in a string."""
        found = card(written(transaction(), transaction_id=literal))

        assert (found["event_id"], found["user_id"]) == (identity, identity)

    @pytest.mark.parametrize(
        ("literal", "reason"),
        [
            *((one, "wrong_type") for one in (*NEVER, "null", "true", "1.5")),
            *((one, "bad_value") for one in ('""', f'"{"x" * 257}"')),
            *((one, "bad_value") for one in ("9" * 257, "9" * 5_000)),
        ],
    )
    def test_are_identified_by_nothing_else(self, literal, reason):
        """An identity has 1 to 256 characters."""
        event = written(transaction(), transaction_id=literal)

        assert card_refusal(event) == (reason, "transaction_id")

    @pytest.mark.parametrize(
        ("literal", "moment"),
        [
            ('"2026-03-01T12:00:00Z"', "2026-03-01T12:00:00+00:00"),
            ('"2026-03-01T13:00:00.25+01:00"', "2026-03-01T12:00:00.250000+00:00"),
            ("1772366400", "2026-03-01T12:00:00+00:00"),
            ("1772366400.25", "2026-03-01T12:00:00.250000+00:00"),
            ('"1772366400.25"', "2026-03-01T12:00:00.250000+00:00"),
            ("1772366400250", "2026-03-01T12:00:00.250000+00:00"),
            ('" 1772366400250 "', "2026-03-01T12:00:00.250000+00:00"),
            ("1.77236640025e12", "2026-03-01T12:00:00.250000+00:00"),
        ],
    )
    def test_say_when_they_were_taken(self, literal, moment):
        """In ISO 8601, or as seconds or milliseconds since 1970, quoted or not."""
        found = card(written(transaction(), ingest_ts=literal))

        assert json.loads(found["attributes"])["ingest_ts"] == moment

    @pytest.mark.parametrize(
        "literal",
        [
            *(*NEVER, "true", "null", '"soon"', '""', '"nan"', "1", "0", "-5", "1e300"),
            *('"1e999"', "1e999", "9" * 5_000, "1772366400250000", "99999999999"),
            *('"2999-01-01"', '"1970-01-01"'),
        ],
    )
    def test_are_taken_whatever_their_moment_is(self, literal):
        """It is for the latency alone: a senseless one is null and refuses nothing."""
        found = card(written(transaction(), ingest_ts=literal))

        assert json.loads(found["attributes"])["ingest_ts"] is None

    def test_may_say_no_moment(self):
        """Then there is none in what is stored."""
        found = card(transaction(ingest_ts=...))

        assert "ingest_ts" not in json.loads(found["attributes"])

    @QUICK
    @given(st.integers(EARLIEST_MS, NOW_MS))
    def test_were_taken_at_one_moment_however_it_is_written(self, milliseconds):
        """ISO 8601, seconds and milliseconds say the same, to the millisecond."""
        moment = EPOCH + timedelta(milliseconds=milliseconds)
        spellings = [moment.isoformat(), milliseconds / 1000, str(milliseconds / 1000)]
        if milliseconds > 1e11:
            spellings += [milliseconds, str(milliseconds)]

        found = {instant_of(one, field="at", latest=NOW) for one in spellings}

        assert found == {moment}


class TestTruths:
    def test_come_bare(self):
        """They are rows of their own table, and of no other."""
        accepted = accept(message(truth(), "m7"), catalogue=DEPLOYED)

        assert accepted.truths.to_pylist() == [
            {
                "use_case": "card_fraud",
                "event_id": "t1",
                "label": 1,
                "truth_time": datetime(2026, 3, 1, 18, tzinfo=UTC),
                "message_id": "m7",
                "published_at": None,
                "received_at": NOW,
                "received_on": NOW.date(),
            }
        ]
        assert (accepted.rows.num_rows, accepted.enriched) == (0, [])

    @pytest.mark.parametrize(
        ("literal", "label"),
        [
            *(("0", 0), ("1", 1), ("-0", 0), ("true", 1), ("false", 0)),
            *(('"0"', 0), ('"1"', 1), ('"true"', 1), ('"False"', 0)),
        ],
    )
    def test_are_zero_or_one(self, literal, label):
        """Or true and false, or a string of one."""
        assert told(written(truth(), is_fraud=literal))["label"] == label

    @pytest.mark.parametrize(
        ("literal", "reason"),
        [
            *((one, "wrong_type") for one in (*NEVER, "null", "1.0", "0.5")),
            *((one, "bad_value") for one in ("2", "-1", '""', '"yes"', '"1.0"')),
            *((one, "bad_value") for one in ("9" * 30, "9" * 5_000)),
        ],
    )
    def test_are_nothing_else(self, literal, reason):
        """What is not known is no truth."""
        event = written(truth(), is_fraud=literal)

        assert card_refusal(event) == (reason, "is_fraud")

    @pytest.mark.parametrize("field", ["transaction_id", "is_fraud", "truth_time"])
    def test_have_their_fields(self, field):
        """Without one it is a dead letter, and the field is named."""
        assert card_refusal(truth(**{field: ...})) == ("missing_field", field)

    @pytest.mark.parametrize(
        ("literal", "reason"),
        [
            *((one, "wrong_type") for one in (*NEVER, "null", "true", "1772366400")),
            *((one, "bad_time") for one in ('"soon"', '""', '"1970-01-01"')),
            ('"2026-03-02T06:10:00.000001Z"', "bad_time"),
        ],
    )
    def test_have_a_time_as_events_have(self, literal, reason):
        """A moment in ISO 8601, no further ahead than clocks are wrong."""
        event = written(truth(), truth_time=literal)

        assert card_refusal(event) == (reason, "truth_time")
        assert told(truth(truth_time="2026-03-02T06:10:00Z"))["label"] == 1

    @QUICK
    @given(
        st.sampled_from([0, 1]),
        st.integers(EARLIEST_MS, NOW_MS),
        st.integers(-14 * 60, 14 * 60),
        st.sets(st.sampled_from(["event_type", "use_case", "event_id", "user_id"])),
        st.booleans(),
    )
    def test_say_the_same_however_they_are_written(
        self, label, milliseconds, minutes, named, as_attributes
    ):
        """Label and moment are those that were meant, and the event is the one that the
        identity names, whatever else stands beside it."""
        moment = EPOCH + timedelta(milliseconds=milliseconds)
        said = {
            "event_type": "card_truth",
            "use_case": "card_fraud",
            "event_id": "another",
            "user_id": "a holder",
        }
        beside = {name: said[name] for name in named}
        zone = timezone(timedelta(minutes=minutes))
        text = moment.astimezone(zone).isoformat()
        for spelled in (label, bool(label), str(label), str(bool(label)).lower()):
            event = truth(
                is_fraud=spelled, truth_time=text, **({} if as_attributes else beside)
            )
            sent = message(event, **(beside if as_attributes else {}))
            [found] = accept(sent, catalogue=DEPLOYED).truths.to_pylist()
            assert (found["event_id"], found["label"]) == ("t1", label)
            assert found["truth_time"] == moment


class TestBareEvents:
    def test_are_told_by_the_fields_that_they_have(self):
        """A transaction may say more, such as what came of it: it stays one."""
        assert card(transaction(is_fraud=1, merchant="m")) == card(transaction())
        assert told(truth(Amount=5, V1=1)) == told(truth())

    def test_are_told_by_what_most_of_them_is(self):
        """What is almost one is a broken one; of what is next to nothing, the type is
        missing, as of any event."""
        assert card_refusal({"transaction_id": "t1", "is_fraud": 1}) == (
            "missing_field",
            "truth_time",
        )
        for nothing in ({}, {"transaction_id": "t1"}, {"V1": 1}, bet(event_type=...)):
            assert card_refusal(nothing) == ("missing_field", "event_type")

    def test_are_not_guessed(self):
        """What could be either says what it is, in a field or in an attribute."""
        both = {**transaction(), **truth()}
        sent = [
            message(both),
            message({**both, "event_type": "card_truth"}),
            message(both, event_type="card_transaction"),
        ]
        accepted = accept(*sent, catalogue=DEPLOYED)

        assert accepted.refused[0].field == "event_type"
        assert (accepted.truth_places, accepted.places) == ([1], [2])

    def test_count_a_field_before_an_attribute(self):
        """As of everything else that both may say."""
        sent = message(truth(event_type="card_truth"), event_type="card_transaction")

        assert accept(sent, catalogue=DEPLOYED).truth_places == [0]

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("no_such_type", ("unknown_event_type", "event_type")),
            ("new_bet", ("missing_field", "event_type")),
            ("card_truth", ("missing_field", "is_fraud")),
        ],
    )
    def test_are_what_an_attribute_says(self, name, found):
        """A type that is named is not looked for in the fields."""
        sent = message(transaction(), event_type=name)
        refused = accept(sent, catalogue=DEPLOYED).refused[0]

        assert (refused.reason, refused.field) == found

    @pytest.mark.parametrize("named", ["first_day_churn", "no_such_case"])
    def test_are_of_the_use_case_that_takes_them(self, named):
        """Another that is named is not put right."""
        assert card_refusal(transaction(use_case=named))[0].startswith("unknown_")

    def test_are_known_where_they_are_deployed(self):
        """A deploy without such types takes none."""
        assert refusal(transaction()) == ("missing_field", "event_type")

    @pytest.mark.parametrize("name", BASE)
    def test_leave_others_as_they_are(self, name):
        """What an event of another type says, and says wrongly, is the same where bare
        events are taken too."""
        event = {**EXAMPLES[name], "transaction_id": "t1"}

        assert row(event, catalogue=DEPLOYED) == row(event)
        for field in event:
            for one in (..., None, 5, "x", [1]):
                spoilt_one = {**event, field: one}
                if one is ...:
                    del spoilt_one[field]
                alone, deployed = (
                    accept(message(spoilt_one), catalogue=known)
                    for known in (CATALOGUE, DEPLOYED)
                )
                assert deployed.rows == alone.rows
                assert [
                    (one.reason, one.field) for one in deployed.refused.values()
                ] == [(one.reason, one.field) for one in alone.refused.values()]

    def test_may_be_written_in_escapes(self):
        """A name is a name, however it is spelled."""
        for event in (transaction(), transaction(event_type="card_transaction")):
            data = written(event)
            escaped = data.replace(b'"transaction_id"', b'"transaction\\u005fid"')
            escaped = escaped.replace(b'"event_type"', b'"event\\u005ftype"')
            assert card(escaped) == card(data)


CARD = {
    "payment": {"payment_id": "identity", "score": "numeral"},
    "outcome": {"payment_id": "identity", "was": "truth", "at": "truth time"},
}


def paid(**changed: object) -> UseCase:
    """Return a use case that scores events of its own."""
    return replace(
        use_case("payments", ["payment", "outcome"], CARD),
        **{
            "features": {"score": "number"},
            "scored": ["payment"],
            "truths": ["outcome"],
            **changed,
        },
    )


class TestRoles:
    def test_are_those_of_the_declared(self):
        """A use case scores events with an identity, and is told truths."""
        one = Catalogue([paid()])

        assert one.identities == dict.fromkeys(CARD, "payment_id")
        assert one.truths == {"outcome"}
        found = row(
            {"payment_id": "p", "score": "2", "event_time": "2026-03-01"}, catalogue=one
        )
        assert json.loads(found["attributes"]) == {"score": 2.0}

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"scored": ["new_bet"]}, "scores new_bet, and must take it"),
            ({"scored": ["nothing"]}, "scores nothing, and must take it"),
            ({"features": {"other": "number"}}, "whose numerals lack other"),
            ({"truths": []}, "outcome must be among its truths"),
            ({"truths": ["outcome", "payment"]}, "payment must be among its truths"),
        ],
    )
    def test_that_cannot_be_are_refused(self, changed, said):
        """Found at the deploy, and not by the first event."""
        with pytest.raises(UseCaseError, match=re.escape(said)):
            Catalogue([paid(**changed)])
