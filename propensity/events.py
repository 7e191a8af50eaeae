"""
The events that the stream takes: their types, and what is wrong with the others.

``events.toml`` declares the types that use cases share, a ``usecase.toml`` those of its
own. A type becomes one msgspec struct, so that an event is decoded and checked in one
pass over its bytes. An amount is kept as the digits that were sent: a float in between
would decide what a cent is.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from importlib import resources
from math import isfinite
from typing import Annotated, Any

import msgspec

from propensity.errors import UseCaseError
from propensity.usecases import UseCase

MAXIMUM_ID_CHARACTERS = 256
MAXIMUM_TEXT_CHARACTERS = 4096
MAXIMUM_AMOUNT = 1_000_000_000
MAXIMUM_AGE = 150
CENT = Decimal("0.01")

# Money as most producers write it; any other JSON for such a number takes longer.
AMOUNT = r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,2})?$"
NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)

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

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_ID_CHARACTERS)]
_Text = Annotated[str, msgspec.Meta(max_length=MAXIMUM_TEXT_CHARACTERS)]
_Unset = msgspec.UnsetType

# Kinds of fields; ``events.toml`` says what each means.
PERSONAL = ("personal", "birth date")
_TYPES: Mapping[str, Any] = {
    "text": _Text,
    "text or null": _Text | None,
    "personal": _Text | _Unset,
    "birth date": date | _Unset,
    "amount": msgspec.Raw,
    "number": msgspec.Raw,
    "label": int | bool | _Unset | None,
}
_OPTIONAL = frozenset({*PERSONAL, "label"})

_MISSING = re.compile(r"missing required field `([^`]*)`")
_PLACE = re.compile(r"at `\$\.?([^`]*)`$")
_NOT_FINITE = {"NaN", "Infinity", "-Infinity"}


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


@dataclass(frozen=True, kw_only=True)
class EventType:
    """
    One type of events.

    ``fields`` maps those beside the common ones to their kind. ``amount`` is the field
    that holds the money, if one does.
    """

    name: str
    fields: Mapping[str, str]

    @property
    def amount(self) -> str | None:
        """The field of kind "amount", None where there is none."""
        return next((f for f, kind in self.fields.items() if kind == "amount"), None)

    def of_kind(self, *kinds: str) -> tuple[str, ...]:
        """Return the fields of these kinds."""
        return tuple(name for name, kind in self.fields.items() if kind in kinds)

    def struct(self) -> type[msgspec.Struct]:
        """Return the type as a struct; an amount is ``amount``, as its digits."""
        made: list[Any] = [("user_id", _Id), ("event_time", str)]
        late: list[Any] = [
            ("event_id", _Id | None, None),
            ("use_case", str | None, None),
        ]
        for name, kind in self.fields.items():
            if kind == "amount":
                made.append(("amount", _TYPES[kind], msgspec.field(name=name)))
            elif kind in _OPTIONAL:
                late.append((name, _TYPES[kind], msgspec.UNSET))
            else:
                made.append((name, _TYPES[kind]))
        if self.of_kind("birth date"):
            late.append(("age", int | _Unset, msgspec.UNSET))
        if "postcode" in self.fields:
            late.append(("socioeconomic_idx", float | _Unset | None, msgspec.UNSET))
        return msgspec.defstruct(
            self.name,
            [*made, *late],
            tag_field="event_type",
            tag=self.name,
            gc=False,
            namespace={
                "declared": self,
                "type_name": self.name,
                "is_plain": set(self.fields.values()) == {"amount"},
                **({} if self.amount else {"amount": None}),
            },
        )


def declared(text: str) -> dict[str, EventType]:
    """
    Return the event types that a TOML document declares, one table each.

    Raises:
        ValueError: A field has no known kind, or there are two amounts.
    """
    return types_of(tomllib.loads(text))


def types_of(tables: Mapping[str, Mapping[str, str]]) -> dict[str, EventType]:
    """Return the event types of parsed tables; see ``declared``."""
    types = {}
    for name, fields in tables.items():
        unknown = {key: kind for key, kind in fields.items() if kind not in _TYPES}
        if unknown:
            raise ValueError(f"{name}: fields are one of {sorted(_TYPES)}: {unknown}")
        if list(fields.values()).count("amount") > 1:
            raise ValueError(f"{name}: more than one field is an amount")
        types[name] = EventType(name=name, fields=dict(fields))
    return types


class Catalogue:
    """The event types of all use cases of a deploy, ready to read events."""

    def __init__(self, use_cases: Iterable[UseCase]) -> None:
        """
        Raises:
            UseCaseError: A use case takes a type that nobody declares, or declares one
                that is declared elsewhere.
        """
        text = (resources.files("propensity") / "events.toml").read_text("utf-8")
        known = declared(text)
        takers: dict[str, list[str]] = {}
        streamed = [one for one in use_cases if one.events]
        for use_case in streamed:
            own = types_of(use_case.event_types)
            if twice := sorted(set(own) & set(known)):
                raise UseCaseError(
                    f"usecases/{use_case.name} declares {', '.join(twice)}, which is "
                    "declared already: name it otherwise"
                )
            known.update(own)
        for use_case in streamed:
            if missing := sorted(set(use_case.events) - set(known)):
                raise UseCaseError(
                    f"usecases/{use_case.name} takes {', '.join(missing)}, which no "
                    "file declares"
                )
            for name in use_case.events:
                takers.setdefault(name, []).append(use_case.name)
        self.types = {name: known[name] for name in takers}
        self.use_cases = frozenset(one.name for one in streamed)
        self.taken = frozenset(
            (taker, name) for name, found in takers.items() for taker in found
        )
        # Of an event that does not say its use case, where only one can be meant.
        self.default = {
            name: found[0] for name, found in takers.items() if len(found) == 1
        }
        structs = [event_type.struct() for event_type in self.types.values()]
        union: Any = structs[0]
        for struct in structs[1:]:
            union = union | struct
        self.decode = msgspec.json.Decoder(union).decode

    def explain(self, data: bytes, error: Exception) -> Refused:
        """Return why ``decode`` refused an event."""
        text = str(error)
        if isinstance(error, UnicodeDecodeError):
            return Refused("wrong_encoding", "the event is not UTF-8")
        if not isinstance(error, msgspec.ValidationError):
            return _malformed(data)
        if missing := _MISSING.search(text):
            return Refused("missing_field", "the field is missing", field=missing[1])
        place = _PLACE.search(text)
        field = place[1] if place else None
        if field == "event_type" and text.startswith("Invalid value"):
            return Refused(
                "unknown_event_type",
                f"no use case takes it; known are {', '.join(sorted(self.types))}",
                field=field,
            )
        if "of length" in text:
            return Refused("bad_value", "too short or too long", field=field)
        return Refused("wrong_type", text.partition(" - at")[0], field=field)


def _malformed(data: bytes) -> Refused:
    """Return what is wrong with bytes that are not JSON."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Refused("wrong_encoding", "the event is not UTF-8")
    found: list[str] = []
    try:
        # Python reads numbers that JSON does not have, which tells what was meant.
        json.loads(text, parse_constant=found.append)
    except (ValueError, RecursionError):
        return Refused("malformed_json", "the event is not one JSON object")
    if _NOT_FINITE.intersection(found):
        return Refused("not_finite", "a number is NaN or infinite")
    return Refused("malformed_json", "the event is not one JSON object")


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
    if amount % CENT:
        raise Refused("bad_amount", "more than two decimals", field=field)
    # The sign of a zero, which JSON has and money has not, goes.
    return abs(amount.quantize(CENT))


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


def moment_of(text: str) -> datetime:
    """
    Return an event's time in UTC, to the microsecond; without an offset it is UTC.

    Raises:
        Refused: Not a moment in ISO 8601.
    """
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(
            "bad_time", "not a moment in ISO 8601", field="event_time"
        ) from None
    return moment


def age_at(birth: date, moment: datetime) -> int:
    """
    Return whole years from a birth date to a moment.

    Raises:
        Refused: Below 0 or above 150.
    """
    had_birthday = (moment.month, moment.day) >= (birth.month, birth.day)
    return checked_age(
        moment.year - birth.year - (0 if had_birthday else 1), field="date_of_birth"
    )


def checked_age(age: int, *, field: str) -> int:
    """Return an age in years, or raise Refused below 0 or above 150."""
    if not 0 <= age <= MAXIMUM_AGE:
        raise Refused("bad_value", f"the age is not 0 to {MAXIMUM_AGE}", field=field)
    return age


def label_of(value: int | bool | None | _Unset) -> int | None:
    """
    Return a label as 0 or 1, None while it is not known.

    Raises:
        Refused: Another number.
    """
    if value is None or isinstance(value, _Unset):
        return None
    if value not in {0, 1}:
        raise Refused("bad_value", "a label is 0 or 1", field="label")
    return int(value)
