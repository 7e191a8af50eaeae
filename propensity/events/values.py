"""
Values: what the fields of an event hold, each kind read by one function.

The one home of the readers of money, numbers, moments and truths; HTTP requests are
read by them, too. Each refuses what cannot be, and names the field at fault.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

import msgspec

MAXIMUM_TEXT_CHARACTERS = 4096
MAXIMUM_AMOUNT = 1_000_000_000
MAXIMUM_AGE = 150
CENT = Decimal("0.01")

# Money as most producers write it. Any other JSON for such a number takes longer.
AMOUNT = r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,2})?$"
NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

# A time as most producers write it. Any other takes longer as well.
MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})"
)

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A number of seconds since 1970 beyond this is one of milliseconds: in seconds it would
# be the year 5138, in milliseconds it is 1973.
MILLISECONDS_FROM = 1e11

# A number in a text, as data files and languages write it; NaN and infinity as well.
NUMERAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)

_TRUTHS = {"0": 0, "1": 1, "false": 0, "true": 1}

# A calendar date of ISO 8601, alone or with a time of day, and that alone or with an
# offset. What else Python takes for one differs by its version.
_MOMENT = re.compile(
    r"""
    ( [0-9]{4} -? [0-9]{2} -? [0-9]{2} )
    (?:
      ( [T ] (?: [01][0-9] | 2[0-3] )
        (?: :? [0-5][0-9] (?: :? [0-5][0-9] (?: [.,] [0-9]+ )? )? )? )
      (?: \ ? (?P<utc> Z | UTC ) | ( [+-] [0-9]{2} (?: :? [0-5][0-9] )? ) )?
    )?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)

# Why an event can never succeed; docs/errors.md says what each means.
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
            detail: In words; names no value of the event.
            field: The field at fault, where there is one.
        """
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.field = field


def amount_of(digits: bytes, *, field: str) -> Decimal:
    """
    Return money as sent, to the cent.

    Args:
        digits: The field's value as JSON.
        field: Its name, for the error.

    Raises:
        Refused: Not a number, negative, too large, or with more than two decimals.
    """
    if not NUMBER.fullmatch(digits):
        raise Refused("wrong_type", "an amount is a number", field=field)
    try:
        amount = Decimal(digits.decode())
    except InvalidOperation:  # an exponent beyond any number that could be meant
        raise Refused("bad_amount", "the amount is out of range", field=field) from None
    if amount < 0:
        raise Refused("bad_amount", "the amount is negative", field=field)
    if amount > MAXIMUM_AMOUNT:
        raise Refused("bad_amount", f"the amount is over {MAXIMUM_AMOUNT}", field=field)
    rounded = amount.quantize(CENT)
    if rounded != amount:  # exact, which a remainder of something tiny is not
        raise Refused("bad_amount", "more than two decimals", field=field)
    # The sign of a zero, which JSON has and money has not, goes.
    return abs(rounded)


def number_of(digits: bytes, *, field: str) -> float:
    """
    Return a number as sent.

    Raises:
        Refused: Not a number, or beyond what a FLOAT64 holds.
    """
    if not NUMBER.fullmatch(digits):
        raise Refused("wrong_type", "a number is expected", field=field)
    number = float(digits)
    if not isfinite(number):
        raise Refused("not_finite", "the number is out of range", field=field)
    return number


def numeral_of(value: float | str, *, field: str) -> float:
    """
    Return a number that was sent as one, or as a text that holds one.

    Raises:
        Refused: The text holds none, or the number is not finite.
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
        Refused: One holds no finite number.
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
        latest: The last moment that can be.

    Raises:
        Refused: No moment, before 1971, or after ``latest``.
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
    Return the moment that ``instant_of`` reads, None where there is none in a value.

    For what only a latency is counted from: an event is as good without it.

    Args:
        value: Anything that JSON holds.
        latest: The last moment that can be.
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
        latest: The last moment that can be.
    """
    instants: dict[str, datetime | None] = {}
    for name in event.declared.instants:
        written = getattr(event, name)
        if written is msgspec.UNSET:
            continue
        try:
            value = _decode_any(written)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            value = None  # a number that no float holds, or a text that is not UTF-8
        instants[name] = sensible_instant(value, latest=latest)
    return instants


def truth_of(value: bool | int | str, *, field: str) -> int:
    """
    Return what came of an event as 0 or 1; as a text it may come too.

    Raises:
        Refused: Another number or text.
    """
    if isinstance(value, str):
        found = _TRUTHS.get(value.strip().lower())
    else:
        found = int(value) if value in {0, 1} else None
    if found is None:
        raise Refused("bad_value", "a truth is 0 or 1", field=field)
    return found


def moment_of(text: str, *, field: str = "event_time") -> datetime:
    """
    Return an event's time in UTC, to the microsecond; without an offset it is UTC.

    Args:
        text: The time.
        field: Its name, for the error.

    Raises:
        Refused: Not a moment in ISO 8601.
    """
    wrong = Refused("bad_time", "not a moment in ISO 8601", field=field)
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        raise wrong
    day, time, _, offset = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}{time or ''}{offset or ''}")
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong from None


def age_at(birth: date, moment: datetime, *, field: str) -> int:
    """
    Return whole years from a birth date to a moment.

    Who was born on 29 February is a year older on 1 March of other years.

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
    Return a label as 0 or 1, None while it is not known.

    Raises:
        Refused: Another number.
    """
    if value is None or value is msgspec.UNSET:
        return None
    if value not in {0, 1}:
        raise Refused("bad_value", "a label is 0 or 1", field=field)
    return int(value)
