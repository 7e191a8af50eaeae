"""
Parsers of field values: money, numbers, times, truths; one function for each kind.

Events and HTTP requests share them. Each refuses an invalid value with a reason, and
names the field at fault.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

import msgspec

from propensity import timeframe

# An event from further ahead is a dead letter: clocks differ by less.
CLOCK_SKEW = timedelta(minutes=10)
MAXIMUM_TEXT_CHARACTERS = 4096
MAXIMUM_AMOUNT = 1_000_000_000
MAXIMUM_AGE = 150
CENT = Decimal("0.01")
_ZERO, _MAXIMUM = Decimal("0.00"), Decimal(MAXIMUM_AMOUNT)

_NUMBER_STARTS = frozenset(bytes([one]) for one in b"-0123456789")

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

# A larger number of time since 1970 is in milliseconds: in seconds it would be the year
# 5138, in milliseconds it is 1973.
MILLISECONDS_FROM = 1e11

# A number in a text, as data files and programs write it; NaN and infinity as well.
NUMERAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)

_TRUTHS = {"0": 0, "1": 1, "false": 0, "true": 1}

# Why an event can never succeed; 04-StreamFeatures/README.md says what each means.
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
)


class Refused(Exception):
    """An event can never succeed, for one of ``REASONS``."""

    def __init__(self, reason: str, detail: str, *, field: str | None = None) -> None:
        """
        Args:
            reason: One of ``REASONS``.
            detail: In words, without values of the event.
            field: The field at fault, where there is one.
        """
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.field = field


def amount_of(digits: bytes, *, field: str) -> Decimal:
    """
    Return an amount of money, exact to the cent.

    Args:
        digits: The field's value as JSON.
        field: Its name, for the error.

    Raises:
        Refused: Not a number, negative, too large, or with more than two decimals.
    """
    if digits[:1] not in _NUMBER_STARTS:
        raise Refused("wrong_type", "an amount is a number", field=field)
    try:
        amount = Decimal(digits.decode())
    except InvalidOperation:  # an absurd exponent
        raise Refused("bad_amount", "the amount is out of range", field=field) from None
    if not _ZERO <= amount <= _MAXIMUM:
        detail = f"the amount is not 0 to {MAXIMUM_AMOUNT}"
        raise Refused("bad_amount", detail, field=field)
    rounded = amount.quantize(CENT)
    if rounded != amount:  # exact, unlike the remainder of a tiny number
        raise Refused("bad_amount", "more than two decimals", field=field)
    # JSON has a negative zero; money does not.
    return rounded or _ZERO


def numeral_of(value: float | str, *, field: str) -> float:
    """
    Return a number, which may be written as a text.

    Raises:
        Refused: The text is not a number, or the number is not finite.
    """
    if isinstance(value, str):
        text = value.strip()
        if NUMERAL.fullmatch(text):
            value = float(text)
        elif _NOT_FINITE.fullmatch(text):
            raise Refused("not_finite", "a number is NaN or infinite", field=field)
        else:
            raise Refused("wrong_type", "the text holds no number", field=field)
    if not isfinite(value):
        raise Refused("not_finite", "the number is out of range", field=field)
    return value


def numerals_of(event: Any) -> dict[str, float]:
    """
    Return the numerals of a decoded event by name, in the order of its type.

    Raises:
        Refused: One is not a finite number.
    """
    return {
        name: value
        if type(value := getattr(event, name)) is float
        else numeral_of(value, field=name)
        for name in event.declared.numerals
    }


def instant_of(value: float | str, *, field: str, latest: datetime) -> datetime:
    """
    Return a moment in UTC, written in ISO 8601 or as time since 1970.

    Args:
        value: A text of either, or a number: seconds, above 1e11 milliseconds.
        field: Its name, for the error.
        latest: A later time is invalid.

    Raises:
        Refused: Not a time, before 1971, or after ``latest``.
    """
    if isinstance(value, str) and not NUMERAL.fullmatch(value.strip()):
        moment = moment_of(value, field=field)
    else:
        since = float(value)
        scale = 1e3 if abs(since) > MILLISECONDS_FROM else 1e6
        try:
            moment = EPOCH + timedelta(microseconds=round(since * scale))
        except (ValueError, OverflowError):
            raise Refused("bad_time", "no time since 1970", field=field) from None
    if moment < EARLIEST:
        raise Refused("bad_time", f"before {EARLIEST:%Y}", field=field)
    if moment > latest:
        raise Refused("bad_time", "in the future", field=field)
    return moment


def sensible_instant(value: object, *, latest: datetime) -> datetime | None:
    """
    Return ``instant_of`` a value, None if it makes no sense.

    It is for times that only latencies need: an event is valid without one.

    Args:
        value: Any value of JSON.
        latest: A later time makes no sense.
    """
    if type(value) not in {float, int, str}:
        return None
    assert isinstance(value, float | int | str)
    try:
        return instant_of(value, field="instant", latest=latest)
    except (Refused, OverflowError):
        return None


_decode_any = msgspec.json.Decoder().decode


def instants_of(event: Any, *, latest: datetime) -> dict[str, datetime | None]:
    """
    Return the instants of a decoded event by name; None for one that makes no sense.

    Args:
        event: Of ``Catalogue.read``.
        latest: A later time makes no sense.
    """
    instants: dict[str, datetime | None] = {}
    for name in event.declared.instants:
        raw = getattr(event, name)
        if raw is msgspec.UNSET:
            continue
        instants[name] = instant_in(raw, latest=latest)
    return instants


def instant_in(raw: bytes, *, latest: datetime) -> datetime | None:
    """Return ``sensible_instant`` of a value as JSON."""
    try:
        value = _decode_any(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None  # a number too large for a float, or a text that is not UTF-8
    return sensible_instant(value, latest=latest)


def truth_of(value: bool | int | str, *, field: str) -> int:
    """
    Return a truth, the outcome of an event, as 0 or 1; it may be written as a text.

    Raises:
        Refused: Another number or text.
    """
    if isinstance(value, str):
        truth = _TRUTHS.get(value.strip().lower())
    else:
        truth = int(value) if value in {0, 1} else None
    if truth is None:
        raise Refused("bad_value", "a truth is 0 or 1", field=field)
    return truth


def moment_of(text: str, *, field: str = "event_time") -> datetime:
    """
    Return a moment in UTC, to the microsecond.

    Args:
        text: As ``timeframe.moment_of`` reads it.
        field: Its name, for the error.

    Raises:
        Refused: Not a time.
    """
    try:
        return timeframe.moment_of(text)
    except ValueError:
        raise Refused("bad_time", "not a moment in ISO 8601", field=field) from None


def microseconds_of(moment: datetime) -> int:
    """Return a moment in microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def age_at(birth: date, moment: datetime, *, field: str) -> int:
    """
    Return whole years from a birth date to a moment.

    A birthday on 29 February counts from 1 March in other years.

    Raises:
        Refused: Below 0 or above 150.
    """
    had_birthday = (moment.month, moment.day) >= (birth.month, birth.day)
    return checked_age(
        moment.year - birth.year - (0 if had_birthday else 1), field=field
    )


def checked_age(age: int, *, field: str) -> int:
    """Return an age in years, or raise Refused below 0 or above 150."""
    if not 0 <= age <= MAXIMUM_AGE:
        raise Refused("bad_value", f"the age is not 0 to {MAXIMUM_AGE}", field=field)
    return age


def label_of(value: int | bool | None | msgspec.UnsetType, *, field: str) -> int | None:
    """
    Return a label as 0 or 1, None while it is unknown.

    Raises:
        Refused: Another number.
    """
    if value is None or value is msgspec.UNSET:
        return None
    if value not in {0, 1}:
        raise Refused("bad_value", "a label is 0 or 1", field=field)
    return int(value)
