"""
Values of fields: money, numbers, times, ages, labels. And why a message is refused.

Events and HTTP requests share these rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from math import isfinite

import msgspec

from propensity import timeframe

# An event from further ahead is a dead letter: clocks differ by less.
CLOCK_SKEW = timedelta(minutes=10)
MAXIMUM_TEXT_CHARACTERS = 4096
MAXIMUM_AMOUNT = 1_000_000_000
MAXIMUM_AGE = 150

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

# A larger number of time since 1970 is in milliseconds: in seconds it would be the year
# 5138, in milliseconds it is 1973.
MILLISECONDS_FROM = 1e11

# A number in a text, as data files and programs write it; NaN and infinity as well.
NUMERAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)

# Raw values: a number that is parsed and written again may change.
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

OUT_OF_RANGE = "the number is outside the range of a float"
_LABELS = {"0": 0, "1": 1, "false": 0, "true": 1}

# Why an event can never succeed; 04-StreamFeatures/README.md explains some of them.
REASONS = (
    "malformed_json",
    "wrong_encoding",
    "too_large",
    "unknown_use_case",
    "unknown_event_type",
    "missing_field",
    "wrong_type",
    "bad_amount",
    "not_finite",
    "bad_time",
    "bad_value",
    "refused_by_table",
    "refused_by_model",
)


class BadEvent(Exception):
    """An event can never succeed, for one of ``REASONS``."""

    def __init__(self, reason: str, detail: str, *, field: str | None = None) -> None:
        """
        Args:
            reason: One of ``REASONS``.
            detail: In words, without values of the event.
            field: The declared field at fault, where there is one.
        """
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.field = field


def letters_of(name: str) -> str:
    """Return a field's name as producers may spell it: dateOfBirth is date_of_birth."""
    return "".join(filter(str.isalnum, name)).lower()


def amount_of(value: float, *, field: str) -> float:
    """
    Return an amount of money, which has two decimals at most.

    Up to 1e9 every amount of whole cents is a float of its own, so no cent is lost.
    """
    if not 0 <= value <= MAXIMUM_AMOUNT:
        detail = f"the amount must be from 0 to {MAXIMUM_AMOUNT}"
        raise BadEvent("bad_amount", detail, field=field)
    if round(value * 100) / 100 != value:
        raise BadEvent(
            "bad_amount", "the amount has more than two decimals", field=field
        )
    return value


def numeral_of(value: float | str, *, field: str) -> float:
    """Return a number, which may be written as a text."""
    if isinstance(value, str):
        if len(value) > MAXIMUM_TEXT_CHARACTERS:
            detail = f"the number is longer than {MAXIMUM_TEXT_CHARACTERS} characters"
            raise BadEvent("bad_value", detail, field=field)
        text = value.strip()
        if NUMERAL.fullmatch(text):
            value = float(text)
        elif _NOT_FINITE.fullmatch(text):
            raise BadEvent("not_finite", "the number is NaN or infinite", field=field)
        else:
            raise BadEvent("wrong_type", "the text is not a number", field=field)
    if not isfinite(value):
        raise BadEvent("not_finite", OUT_OF_RANGE, field=field)
    return value


def label_in(value: object, *, field: str) -> int | None:
    """
    Return a label as 0 or 1, None while it is unknown; it may be written as a text.
    """
    if value is None:
        return None
    label = _LABELS.get(str(value).strip().lower()) if value not in {0, 1} else value
    if label is None:
        detail = "the label must be 0 or 1, or true or false"
        raise BadEvent("bad_value", detail, field=field)
    return int(label)


def sensible_instant(value: object, *, latest: datetime) -> datetime | None:
    """
    Return a moment in UTC; None for a value that is none.

    It is for times that only latencies need: an event is valid without one.

    Args:
        value: A text in ISO 8601, or the time since 1970 as a number or in a text:
            seconds, or above 1e11 milliseconds. Any other value of JSON is no moment.
        latest: A later time makes no sense.
    """
    try:
        if isinstance(value, str) and len(value) > MAXIMUM_TEXT_CHARACTERS:
            return None
        if isinstance(value, str) and not NUMERAL.fullmatch(value.strip()):
            moment = timeframe.moment_of(value)
        elif isinstance(value, (float, int, str)) and not isinstance(value, bool):
            since = float(value)
            scale = 1e3 if abs(since) > MILLISECONDS_FROM else 1e6
            moment = EPOCH + timedelta(microseconds=round(since * scale))
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return moment if EARLIEST <= moment <= latest else None


def instant_in(value: bytes, *, latest: datetime) -> datetime | None:
    """Return ``sensible_instant`` of a value as JSON."""
    try:
        return sensible_instant(msgspec.json.decode(value), latest=latest)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None  # a number too large for a float, or a text that is not UTF-8


def microseconds_of(moment: datetime) -> int:
    """Return a moment in microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def age_at(birth: date, moment: datetime, *, field: str) -> int:
    """
    Return whole years from a birth date to a moment.

    A birthday on 29 February counts from 1 March in other years.
    """
    had_birthday = (moment.month, moment.day) >= (birth.month, birth.day)
    age = moment.year - birth.year - (not had_birthday)
    if not 0 <= age <= MAXIMUM_AGE:
        detail = f"the age must be from 0 to {MAXIMUM_AGE}"
        raise BadEvent("bad_value", detail, field=field)
    return age


def with_fields(data: bytes, added: Mapping[str, object]) -> bytes:
    """
    Return a JSON object with further fields, which replace those of the same name.

    The values of all others stay the same bytes.
    """
    return msgspec.json.encode({**_decode_fields(data), **added})
