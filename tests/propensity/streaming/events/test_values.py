"""The values of fields: money, numbers, times, ages and labels."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.streaming.events.values import age_at
from tests.support.events import (
    DEPLOYED,
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

# Spellings of amounts in JSON, and what is stored. An amount that is stored and sent
# again has the nine decimals of NUMERIC.
AMOUNTS = [
    ("-0.00", "0"),
    ("0e999999", "0"),
    ("100E-2", "1"),
    ("12.300000000", "12.3"),
    ("0.07", "0.07"),
    ("999999999.99", "999999999.99"),
    ("1" + "0" * 500 + "e-500", "1"),
]
BORN = registration(date_of_birth=...)
REFUSED = [
    # Negative, huge or finer than a cent.
    (bet(), "bet_amount", "-0.01", "bad_amount"),
    (bet(), "bet_amount", "1000000000.01", "bad_amount"),
    (bet(), "bet_amount", "1e999999999", "bad_amount"),
    (bet(), "bet_amount", "0.001", "bad_amount"),
    (transaction(), "V1", "true", "wrong_type"),
    (transaction(), "V1", '"1,5"', "wrong_type"),
    (transaction(), "V1", '"0x1"', "wrong_type"),
    (transaction(), "V1", "NaN", "not_finite"),
    (transaction(), "V1", '"1e400"', "not_finite"),
    (transaction(), "V1", f'"0.{"1" * 4_095}"', "bad_value"),
    (registration(), "date_of_birth", '"2026-03-03"', "bad_value"),
    (registration(), "date_of_birth", '"4.5.1990"', "bad_value"),
    (BORN, "age", "151", "bad_value"),
    (BORN, "age", '"41"', "wrong_type"),
    (registration(), "label", "2", "bad_value"),
    (truth(), "is_fraud", "null", "wrong_type"),
    (truth(), "is_fraud", '"yes"', "bad_value"),
    (truth(), "truth_time", "1772366400", "wrong_type"),
    (truth(), "truth_time", '"1970-01-01"', "bad_time"),
    (truth(), "truth_time", '"2026-03-02T06:10:00.000001Z"', "bad_time"),
]


@pytest.mark.parametrize(("event", "field", "literal", "reason"), REFUSED)
def test_a_value_that_its_field_cannot_have_is_refused(event, field, literal, reason):
    spoilt_event = written(event, **{field: literal})

    assert refusal(spoilt_event, catalogue=DEPLOYED) == (reason, field)


@pytest.mark.parametrize(("literal", "amount"), AMOUNTS)
def test_amounts_are_what_was_written_to_the_cent(literal, amount):
    stored = row(spoilt(literal))["amount"]

    assert stored == Decimal(amount)
    assert not stored.is_signed()


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
        ('"2026-03-01T12:00:00.25Z"', "2026-03-01T12:00:00.250000+00:00"),
        ("1772366400.25", "2026-03-01T12:00:00.250000+00:00"),
        ('" 1772366400250 "', "2026-03-01T12:00:00.250000+00:00"),
        ("[]", None),
        ("null", None),
        ('"soon"', None),
        # Seconds and milliseconds that are no moment of a transaction.
        ("-5", None),
        ("1e300", None),
        ("9" * 5_000, None),
        ("1772366400250000", None),
        ('"2999-01-01"', None),
    ],
)
def test_instants_have_three_forms(literal, moment):
    """One that makes no sense is null, and refuses nothing."""
    stored = row(written(transaction(), ingest_ts=literal), catalogue=DEPLOYED)

    assert json.loads(stored["attributes"])["ingest_ts"] == moment
    absent = row(transaction(ingest_ts=...), catalogue=DEPLOYED)
    assert "ingest_ts" not in json.loads(absent["attributes"])


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXTS = [
    ("2026-03-01 12:00:00 UTC", NOON),
    (" 2026-03-01t12:00:00z\n", NOON),
    ("20260301T120000Z", NOON),
    ("2026-03-01T06:15:00-05:45", NOON),
    ("2026-03-01", NOON - timedelta(hours=12)),
    ("2026-02-28T22:00:00,5-14:00", NOON + timedelta(seconds=0.5)),
    ("2026-03-01T12:00:00.987654321Z", NOON + timedelta(microseconds=987654)),
]
NO_MOMENTS_AT_ALL = ["", "1772366400", "2026-3-1", "2026-02-30T12:00:00Z"]
NO_MOMENTS_AT_ALL += ["2026-03-01T24:00:00Z", "2026-03-01T12:00:00+01:60"]
NO_MOMENTS_AT_ALL += ["2026-03-01T12:00:00 CET", "0001-01-01T00:00:00+14:00"]


class TestTimes:
    @pytest.mark.parametrize(("text", "moment"), TEXTS)
    def test_times_are_moments_in_iso_8601(self, text, moment):
        """To the microsecond."""
        stored = row(bet(event_time=text))

        assert (stored["event_time"], stored["event_date"]) == (moment, moment.date())

    @pytest.mark.parametrize("text", NO_MOMENTS_AT_ALL)
    def test_times_are_nothing_else(self, text):
        assert refusal(bet(event_time=text)) == ("bad_time", "event_time")

    def test_times_are_from_1971_to_ten_minutes_ahead(self):
        bound = NOW + timedelta(minutes=10)
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
