"""The values of fields, specified: money, numbers, times, ages and labels."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.events.values import (
    MAXIMUM_AGE,
    MAXIMUM_AMOUNT,
    Refused,
    age_at,
    amount_of,
    checked_age,
    label_of,
    moment_of,
)
from tests.events import (
    BASE,
    CATALOGUE,
    EXAMPLES,
    NOW,
    RULES,
    refusal,
    registration,
    row,
    spoilt,
    timed,
    written,
)

# Amounts, and spellings of each in JSON.
AMOUNTS = {
    "0": [
        "0", "-0", "-0.00", "0.0", "0e5", "0e-5", "0e999999", "0e-999999999",
        "0." + "0" * 500,
    ],
    "1": ["1", "1.0", "1e0", "100E-2", "1." + "0" * 500, "1" + "0" * 500 + "e-500"],
    "1.1": ["1.1", "1.10"],
    "1.5": ["1.5000000"],
    "100": ["1e2", "1E2", "1e+2"],
    # With the nine decimals of NUMERIC, as a stored amount is sent again.
    "12.3": ["12.300000000"],
    "12.5": ["1.25e1"],
    "123.45": ["1234.5e-1"],
    "0.01": ["0.01", "1e-2"],
    "0.07": ["0.07"],
    "0.29": ["0.29"],
    "4.35": ["4.35"],
    "999999999.99": ["999999999.99", "99999999999e-2"],
    "1000000000": [
        "1000000000", "1000000000.00", "1e9", "0.1e10", "10000000000000000000e-10",
    ],
}  # fmt: skip
SPELLINGS = [(one, amount) for amount, literals in AMOUNTS.items() for one in literals]
BAD_AMOUNTS = [
    "-1", "-0.01", "-1e-9", "-1e400", "-1000000000.01",
    "1000000000.01", "1000000001", "1e10", "1e400", "9" * 400, "1e999999999",
    "1e99999999999999999999", "1e-99999999999999999999",
    "0.001", "12.345", "1e-3", "0.30000000000000004", "1.000000000000000000000001",
    "999999999.991", "999999999." + "0" * 60 + "1", "1e-999999999", "1000000000e-12",
]  # fmt: skip


class TestAmounts:
    @pytest.mark.parametrize(("literal", "amount"), SPELLINGS)
    def test_are_what_was_written(self, literal, amount):
        """Every spelling that JSON has of an amount is that amount, to the cent."""
        stored = row(spoilt(literal))["amount"]

        assert stored == Decimal(amount)
        assert not stored.is_signed()

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
        assert refusal(spoilt("[1, NaN]", "note")) == ("malformed_json", None)
        assert refusal(b"NaN") == ("malformed_json", None)
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
        parsed = amount_of(f"{digits}{letter}{exponent}".encode(), field="amount")

        assert parsed == Decimal(cents).scaleb(-2)

    @given(st.decimals(allow_nan=False, allow_infinity=False))
    def test_are_exact_or_refused(self, number):
        """Of any number: it is taken as it is, or it breaks a bound."""
        cents = Fraction(number) * 100
        is_within = 0 <= number <= MAXIMUM_AMOUNT and cents.denominator == 1
        try:
            parsed = amount_of(str(number).encode(), field="amount")
        except Refused as refused:
            parsed = refused.reason

        assert parsed == (number if is_within else "bad_amount")


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENTS = {
    NOON: [
        "2026-03-01T12:00:00Z", "2026-03-01T12:00:00", "2026-03-01 12:00:00",
        "2026-03-01 12:00:00 UTC", "2026-03-01T12:00:00z", "2026-03-01t12:00:00Z",
        " 2026-03-01T12:00:00Z\n", "2026-03-01T12:00Z", "2026-03-01T12:00",
        "2026-03-01T12Z", "20260301T120000Z", "2026-03-01T12:00:00+00:00",
        "2026-03-01T12:00:00-00:00", "2026-03-01T13:00:00+01:00",
        "2026-03-01T13:00:00+0100", "2026-03-01T13:00:00+01",
        "2026-03-01T17:30:00+05:30", "2026-03-01T06:15:00-05:45",
    ],
    NOON - timedelta(hours=12): ["2026-03-01"],
    NOON + timedelta(seconds=0.5): ["2026-02-28T22:00:00.5-14:00"],
    NOON + timedelta(seconds=0.25): ["2026-03-01T12:00:00,25Z"],
    datetime(2026, 2, 28, 0, 1, tzinfo=UTC): ["2026-03-01T00:00:00+23:59"],
    datetime(1971, 1, 1, tzinfo=UTC): ["1971-01-01T00:00:00Z"],
    datetime(2024, 2, 29, 12, tzinfo=UTC): ["2024-02-29T12:00:00Z"],
}  # fmt: skip
TEXTS = [(text, moment) for moment, texts in MOMENTS.items() for text in texts]
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
    @pytest.mark.parametrize(("text", "moment"), TEXTS)
    def test_are_moments_in_utc(self, text, moment):
        """ISO 8601, with an offset or without; without one it is UTC, and a date alone
        is its midnight."""
        stored = row(timed(text))

        assert stored["event_time"] == moment
        assert stored["event_date"] == moment.date()

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
        refused = refusal(registration(date_of_birth=birth))

        assert refused == ("bad_value", "date_of_birth")

    @pytest.mark.parametrize(
        "text",
        ["", "4.5.1990", "1990-5-4", "1990-02-30", "1990-05-04T00:00:00Z", "19900504"],
    )
    def test_are_of_a_birth_date(self, text):
        """A date is YYYY-MM-DD, and one that there was."""
        refused = refusal(registration(date_of_birth=text))

        assert refused == ("bad_value", "date_of_birth")

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
        stored = row(written(registration(), label=literal))["label"]

        assert stored == label
        assert not isinstance(stored, bool)

    def test_may_be_left_out(self):
        """A label that is not there is not known."""
        assert row(registration(label=...))["label"] is None
        assert label_of(msgspec.UNSET, field="label") is None

    @pytest.mark.parametrize("literal", ["2", "-1", "9" * 30, "9" * 5_000])
    def test_are_no_other_number(self, literal):
        """However large."""
        event = written(registration(), label=literal)

        assert refusal(event) == ("bad_value", "label")
