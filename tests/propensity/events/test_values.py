"""The values of fields: money, numbers, times, ages and labels."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.events.values import CLOCK_SKEW, BadEvent, age_at, numeral_of
from tests.support.events import (
    DEPLOYED,
    NEVER,
    NOW,
    bet,
    refusal,
    registration,
    row,
    spoilt,
    transaction,
    truth,
    written,
)

# Amounts, and spellings of each in JSON.
AMOUNTS = {
    "0": ["0", "-0", "-0.00", "0e5", "0e999999", "0e-999999999", "0." + "0" * 500],
    "1": ["1", "1.0", "1e0", "100E-2", "1" + "0" * 500 + "e-500"],
    "100": ["1e2", "1E2", "1e+2"],
    # A stored amount that is sent again has the nine decimals of NUMERIC.
    "12.3": ["12.3", "12.30", "12.300000000", "1.23e1"],
    "0.01": ["1e-2"],
    "0.07": ["0.07"],
    "999999999.99": ["999999999.99", "99999999999e-2"],
    "1000000000": ["1000000000", "1e9", "10000000000000000000e-10"],
}  # fmt: skip
SPELLINGS = [(one, amount) for amount, literals in AMOUNTS.items() for one in literals]
BAD_AMOUNTS = [
    "-0.01",
    "-1e-9",
    "1000000000.01",
    "1e400",
    "1e999999999",
    "0.001",
    "1e-9",
]
BORN = registration(date_of_birth=...)
REFUSED = [
    # Negative, huge or finer than a cent.
    *((bet(), "bet_amount", one, "bad_amount") for one in BAD_AMOUNTS),
    *(
        (transaction(), "V1", one, reason)
        for one, reason in (
            *((one, "wrong_type") for one in (*NEVER, "null", "true", '""', '" "')),
            *((one, "wrong_type") for one in ('"1,5"', '"0x1"', '"1_0"', '"１"')),
            *((one, "not_finite") for one in ("NaN", "-Infinity", "1e400")),
            *((one, "not_finite") for one in ('"NaN"', '"-Infinity"', '"1e400"')),
        )
    ),
    *(
        (registration(), "date_of_birth", f'"{one}"', "bad_value")
        for one in ("2026-03-03", "1875-03-01", "", "4.5.1990", "1990-02-30")
    ),
    *((BORN, "age", one, "bad_value") for one in ("-1", "151", "9" * 5_000)),
    *((BORN, "age", one, "wrong_type") for one in ("41.0", "null", '"41"', "true")),
    *((registration(), "label", one, "bad_value") for one in ("2", "-1", "9" * 5_000)),
    *((truth(), "is_fraud", one, "wrong_type") for one in (*NEVER, "null", "1.0")),
    *((truth(), "is_fraud", one, "bad_value") for one in ("2", "-1", '""', '"yes"')),
    *((truth(), "is_fraud", one, "bad_value") for one in ('"1.0"', "9" * 5_000)),
    *((truth(), "truth_time", one, "wrong_type") for one in (*NEVER, "1772366400")),
    *((truth(), "truth_time", one, "bad_time") for one in ('"soon"', '"1970-01-01"')),
    (truth(), "truth_time", '"2026-03-02T06:10:00.000001Z"', "bad_time"),
]


@pytest.mark.parametrize(("event", "field", "literal", "reason"), REFUSED)
def test_a_value_that_its_field_cannot_have_is_refused(event, field, literal, reason):
    spoilt_event = written(event, **{field: literal})

    assert refusal(spoilt_event, catalogue=DEPLOYED) == (reason, field)


@pytest.mark.parametrize(("literal", "amount"), SPELLINGS)
def test_amounts_are_what_was_written_to_the_cent(literal, amount):
    stored = row(spoilt(literal))["amount"]

    assert stored == Decimal(amount)
    assert not stored.is_signed()


def test_a_numeral_that_is_too_long_is_refused():
    """The number of characters is what a request to ``score`` is told as well."""
    longest = "0." + "1" * 4_094
    longer = "0." + "1" * 4_095
    assert numeral_of(longest, field="V1") == 1 / 9

    event = transaction(V1=longer)
    assert refusal(event, catalogue=DEPLOYED) == ("bad_value", "V1")
    with pytest.raises(BadEvent, match="longer than 4096 characters"):
        numeral_of(longer, field="V1")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numerals_arrive_to_the_last_bit(number):
    plain, quoted = (
        row(written(transaction(), V7=literal), catalogue=DEPLOYED)
        for literal in (repr(number), f'" {number!r} "')
    )

    assert plain == quoted
    assert repr(json.loads(plain["attributes"])["V7"]) == repr(number)


@pytest.mark.parametrize(
    ("literal", "moment"),
    [
        *(
            (literal, "2026-03-01T12:00:00.250000+00:00")
            for literal in (
                '"2026-03-01T12:00:00.25Z"',
                "1772366400.25",
                '" 1772366400250 "',
                "1.77236640025e12",
            )
        ),
        *((literal, None) for literal in (*NEVER, "true", "null", '"soon"', '""')),
        # Seconds and milliseconds that are no moment of a transaction.
        *((literal, None) for literal in ("1", "-5", "1e300", '"1e999"', "9" * 5_000)),
        *((literal, None) for literal in ("99999999999", "4e9", "1772366400250000")),
        *((literal, None) for literal in ('"2999-01-01"', '"1970-01-01"', '"nan"')),
    ],
)
def test_instants_have_three_forms(literal, moment):
    """One that makes no sense is null, and refuses nothing."""
    stored = row(written(transaction(), ingest_ts=literal), catalogue=DEPLOYED)

    assert json.loads(stored["attributes"])["ingest_ts"] == moment
    absent = row(transaction(ingest_ts=...), catalogue=DEPLOYED)
    assert "ingest_ts" not in json.loads(absent["attributes"])


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENTS = {
    NOON: [
        "2026-03-01T12:00:00", "2026-03-01 12:00:00 UTC", "2026-03-01t12:00:00z",
        " 2026-03-01T12:00:00Z\n", "2026-03-01T12:00Z", "2026-03-01T12Z",
        "20260301T120000Z", "2026-03-01T12:00:00-00:00", "2026-03-01T13:00:00+01",
        "2026-03-01T17:30:00+0530", "2026-03-01T06:15:00-05:45",
    ],
    NOON - timedelta(hours=12): ["2026-03-01"],
    NOON + timedelta(seconds=0.5): ["2026-02-28T22:00:00.5-14:00"],
    NOON + timedelta(seconds=0.25): ["2026-03-01T12:00:00,25Z"],
    datetime(2026, 2, 28, 0, 1, tzinfo=UTC): ["2026-03-01T00:00:00+23:59"],
    datetime(1971, 1, 1, tzinfo=UTC): ["1971-01-01T00:00:00Z"],
    datetime(2024, 2, 29, 12, tzinfo=UTC): ["2024-02-29T12:00:00Z"],
}  # fmt: skip
TEXTS = [(text, moment) for moment, texts in MOMENTS.items() for text in texts]
NO_MOMENTS_AT_ALL = [
    "", "yesterday", "1772366400", "2026", "2026-03", "2026-03-01T12.5", "2026-3-1",
    "2026-03-01T12:", "2026-03-01T123", "2026-03-01T1:00:00Z", "2026-W09-7",
    "2026-02-30T12:00:00Z", "2025-02-29T12:00:00Z", "2026-03-01T24:00:00Z",
    "2026-03-01T12:60:00Z", "2026-03-01T23:59:60Z", "2026-03-01T12:00:00+24:00",
    "2026-03-01T12:00:00+01:60", "2026-03-01T12:00:00.Z", "2026-03-01T12:00:00 CET",
    "2026-03-01T12:00:00Z\0", "٢٠٢٦-03-01T12:00:00Z", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z", "-001-01-01T00:00:00Z",
]  # fmt: skip


class TestTimes:
    @pytest.mark.parametrize(("text", "moment"), TEXTS)
    def test_times_are_moments_in_iso_8601(self, text, moment):
        stored = row(bet(event_time=text))

        assert (stored["event_time"], stored["event_date"]) == (moment, moment.date())

    @pytest.mark.parametrize(("digits", "zone"), [(1, ""), (6, "Z"), (9, "+00:00")])
    def test_times_are_kept_to_the_microsecond(self, digits, zone):
        fraction = "987654321"[:digits]
        expected = NOON + timedelta(microseconds=int(fraction.ljust(6, "0")[:6]))

        stored = row(bet(event_time=f"2026-03-01T12:00:00.{fraction}{zone}"))
        assert stored["event_time"] == expected

    @pytest.mark.parametrize("text", NO_MOMENTS_AT_ALL)
    def test_times_are_nothing_else(self, text):
        assert refusal(bet(event_time=text)) == ("bad_time", "event_time")

    def test_times_are_from_1971_to_ten_minutes_ahead(self):
        bound = NOW + CLOCK_SKEW
        beyond = bound + timedelta(microseconds=1)

        assert row(bet(event_time=bound.isoformat()))["event_time"] == bound
        for text in (beyond.isoformat(), "2999-12-31", "1970-12-31T23:59:59.999999Z"):
            assert refusal(bet(event_time=text)) == ("bad_time", "event_time")


@pytest.mark.parametrize(
    ("birth", "day", "age"),
    [
        ("1990-05-04", "2026-05-03", 35),
        ("1990-05-04", "2026-05-04", 36),
        ("2000-02-29", "2026-02-28", 25),
        ("2000-02-29", "2026-03-01", 26),
        ("1876-01-01", "2026-01-01", 150),
    ],
)
def test_ages_are_whole_years(birth, day, age):
    moment = datetime.fromisoformat(f"{day}T00:00:00+00:00")

    assert age_at(date.fromisoformat(birth), moment, field="born") == age


ZERO_OR_ONE = [("0", 0), ("1", 1), ("-0", 0), ("true", 1), ("false", 0)]


@pytest.mark.parametrize(("literal", "label"), [*ZERO_OR_ONE, ("null", None)])
def test_labels_are_zero_or_one_or_null_while_unknown(literal, label):
    stored = row(written(registration(), label=literal))["label"]

    assert stored == label
    assert not isinstance(stored, bool)


@pytest.mark.parametrize(
    ("literal", "label"),
    [*ZERO_OR_ONE, ('"0"', 0), ('"1"', 1), ('"true"', 1), ('"False"', 0)],
)
def test_truths_are_zero_or_one_also_as_a_text(literal, label):
    assert row(written(truth(), is_fraud=literal), catalogue=DEPLOYED)["label"] == label
