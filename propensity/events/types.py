"""
The events that the stream takes: their types, and what is wrong with the others.

``events.toml`` declares the types that use cases share, a ``usecase.toml`` those of its
own. A type becomes one msgspec struct, so that an event is decoded and checked in one
pass over its bytes. An amount is kept as the digits that were sent: a float in between
would decide what a cent is.

A type with an identity of its own may come bare, without a type, a user or an id: it is
known by its fields.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cached_property
from importlib import resources
from math import isfinite
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from propensity.errors import UseCaseError
from propensity.usecases import UseCase

MAXIMUM_ID_CHARACTERS = 256
MAXIMUM_TEXT_CHARACTERS = 4096
MAXIMUM_AMOUNT = 1_000_000_000
MAXIMUM_AGE = 150
CENT = Decimal("0.01")

# Deeper JSON is refused: what reads an event further on might not come to its bottom.
MAXIMUM_DEPTH = 256

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
    "identity": _Id | int,
    "numeral": float | str,
    "instant": msgspec.Raw,
    "truth": bool | int | str,
    "truth time": str,
}
_OPTIONAL = frozenset({*PERSONAL, "label", "instant"})

# What msgspec says of an event. An event's own words may be within.
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_PLACE = re.compile(r"at `\$\.?([^`]*)`$")
_UNTYPED = frozenset(
    {"Object missing required field `event_type`", "Expected `str` - at `$.event_type`"}
)
_SAID = {
    "Expected `str` of length": ("bad_value", "too short or too long"),
    "Expected `str | null` of length": ("bad_value", "too short or too long"),
    "Invalid RFC3339": ("bad_value", "not a date as YYYY-MM-DD"),
    "Integer value out of range": ("bad_value", "the number is out of range"),
    "Number out of range": ("not_finite", "the number is out of range"),
}

# A string, or a bracket outside of strings.
_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])', re.DOTALL)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,63}")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")

# What every event has, what is found out about one, and what a struct says of itself.
_RESERVED = frozenset(
    {
        *("user_id", "event_type", "event_time", "event_id", "use_case"),
        *("age", "socioeconomic_idx", "attributes"),
        *("declared", "type_name", "is_plain", "is_bare"),
    }
)

# Fields with a column of their own are of one kind wherever they are declared.
_COLUMN_KINDS: Mapping[str, tuple[str, ...]] = {
    "amount": ("amount",),
    "name": ("personal",),
    "street_address": ("personal",),
    "date_of_birth": ("birth date",),
    "city": ("text", "text or null"),
    "country": ("text", "text or null"),
    "postcode": ("text", "text or null"),
    "affiliate_url": ("text", "text or null"),
    "campaign": ("text", "text or null"),
    "label": ("label",),
}
# Of these kinds a type has one field at most: they have one column.
_SINGLE = ("amount", "birth date", "label", "identity", "truth", "truth time")


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

    @cached_property
    def identity(self) -> str | None:
        """The field of kind "identity": the event's id, and whom it is about."""
        return next(iter(self.of_kind("identity")), None)

    @cached_property
    def truth(self) -> tuple[str, ...]:
        """The fields of what came of an event and of when; none if it tells nothing."""
        return (*self.of_kind("truth"), *self.of_kind("truth time"))

    @cached_property
    def numerals(self) -> tuple[str, ...]:
        """The fields of kind "numeral"."""
        return self.of_kind("numeral")

    @cached_property
    def details(self) -> tuple[tuple[str, str], ...]:
        """The fields of kinds that are read one by one, and their kinds."""
        others = {"amount", "identity", "numeral", "instant"}
        return tuple((f, kind) for f, kind in self.fields.items() if kind not in others)

    @cached_property
    def instants(self) -> tuple[str, ...]:
        """The fields of kind "instant"."""
        return self.of_kind("instant")

    def of_kind(self, *kinds: str) -> tuple[str, ...]:
        """Return the fields of these kinds."""
        return tuple(name for name, kind in self.fields.items() if kind in kinds)

    def struct(self, *, is_bare: bool = False) -> type[msgspec.Struct]:
        """
        Return the type as a struct; an amount is ``amount``, as its digits.

        Args:
            is_bare: For events that do not say their type.
        """
        made: list[Any] = []
        late: list[Any] = [
            ("event_id", _Id | None, None),
            ("use_case", str | None, None),
        ]
        if self.identity is None:
            made.append(("user_id", _Id))
        else:
            late.append(("user_id", _Id | None, None))
        if not self.truth:
            made.append(("event_time", str))
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
            tag_field=None if is_bare else "event_type",
            tag=None if is_bare else self.name,
            gc=False,
            namespace={
                "declared": self,
                "type_name": self.name,
                "is_bare": is_bare,
                "is_plain": set(self.fields.values()) == {"amount"},
                **({} if self.amount else {"amount": None}),
            },
        )


def declared(text: str) -> dict[str, EventType]:
    """
    Return the event types that a TOML document declares, one table each.

    Raises:
        ValueError: As ``types_of``.
    """
    return types_of(tomllib.loads(text))


def types_of(tables: Mapping[str, Mapping[str, str]]) -> dict[str, EventType]:
    """
    Return the event types of parsed tables; see ``declared``.

    Raises:
        ValueError: A name or a kind cannot be, or two fields would be one column.
    """
    types = {}
    for name, fields in tables.items():
        if not _IDENTIFIER.fullmatch(name) or not isinstance(fields, Mapping):
            raise ValueError(f"{name!r}: an event type is a table named like new_bet")
        for field, kind in fields.items():
            if kind not in _TYPES:
                raise ValueError(
                    f"{name}: fields are one of {sorted(_TYPES)}: {field} is {kind!r}"
                )
            if field in _RESERVED or not _FIELD.fullmatch(field):
                raise ValueError(f"{name}: no field can be named {field!r}")
            if kind not in _COLUMN_KINDS.get(field, _TYPES):
                raise ValueError(
                    f"{name}: {field} is {' or '.join(_COLUMN_KINDS[field])} "
                    f"everywhere, not {kind}"
                )
        for kind in _SINGLE:
            if list(fields.values()).count(kind) > 1:
                raise ValueError(f"{name}: more than one field is of kind {kind}")
        one = types[name] = EventType(name=name, fields=dict(fields))
        if one.identity and not _required(one):
            raise ValueError(f"{name}: no field but its identity tells what it is")
        if one.truth and not (one.identity and len(one.truth) == 2):
            raise ValueError(f"{name}: a truth has an identity, a truth and its time")
    return types


def _required(event_type: EventType) -> tuple[str, ...]:
    """Return the fields that events of a type have, but for its identity."""
    return tuple(
        name
        for name, kind in event_type.fields.items()
        if kind not in _OPTIONAL and kind != "identity"
    )


class _Bare:
    """A type whose events need not say it: how they are known, and decoded."""

    def __init__(self, event_type: EventType) -> None:
        assert event_type.identity is not None
        self.fields = (event_type.identity, *_required(event_type))
        self.values_of = attrgetter(*self.fields)
        self.decode = msgspec.json.Decoder(event_type.struct(is_bare=True)).decode


class Catalogue:
    """
    The event types of all use cases of a deploy, ready to read events.

    ``decode`` reads an event that says its type, ``read`` any. ``identities`` has the
    identifying field of the types that may come bare, ``truths`` the types that say
    what came of an earlier event.
    """

    def __init__(self, use_cases: Iterable[UseCase]) -> None:
        """
        Raises:
            UseCaseError: A use case takes a type that nobody declares, declares one
                that is declared elsewhere, or one that cannot be; or none takes any.
        """
        text = (resources.files("propensity") / "events.toml").read_text("utf-8")
        known = declared(text)
        takers: dict[str, list[str]] = {}
        streamed = [one for one in use_cases if one.events]
        for use_case in streamed:
            try:
                own = types_of(use_case.event_types)
            except ValueError as error:
                raise UseCaseError(
                    f"usecases/{use_case.name} declares an event type wrongly: {error}"
                ) from error
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
            _check_roles(use_case, known)
            for name in use_case.events:
                takers.setdefault(name, []).append(use_case.name)
        if not takers:
            raise UseCaseError("no use case takes events: name some under [stream]")
        self.types = {name: known[name] for name in takers}
        self.use_cases = frozenset(one.name for one in streamed)
        self.taken = frozenset(
            (taker, name) for name, found in takers.items() for taker in found
        )
        # Of an event that does not say its use case, where only one can be meant.
        self.default = {
            name: found[0] for name, found in takers.items() if len(found) == 1
        }
        # A type without a name comes first: only of several must an event say its type.
        union: Any = EventType(name="", fields={}).struct()
        for event_type in self.types.values():
            union = union | event_type.struct()
        self.decode = msgspec.json.Decoder(union).decode
        self.identities = {
            name: one.identity for name, one in self.types.items() if one.identity
        }
        self.truths = frozenset(name for name, one in self.types.items() if one.truth)
        self._bare = {name: _Bare(self.types[name]) for name in self.identities}
        told = {field for one in self._bare.values() for field in one.fields}
        head = msgspec.defstruct(
            "Head",
            [
                ("event_type", str | None, None),
                # Never read, only there or not; a default is no JSON.
                *((field, msgspec.Raw, None) for field in sorted(told)),
            ],
            gc=False,
        )
        self._head = msgspec.json.Decoder(head).decode

    def read(self, data: bytes, attributes: Mapping[str, str]) -> Any:
        """
        Return an event, whose type may be named by an attribute or by none.

        Raises:
            Refused, MsgspecError, RecursionError: It is none; see ``explain``.
        """
        try:
            return self.decode(data)
        except msgspec.ValidationError as error:
            if not self.may_be_bare(error):
                raise
            bare = self._recognised(data, attributes)
            if bare is None:
                raise
        return bare.decode(data)

    def may_be_bare(self, error: msgspec.ValidationError) -> bool:
        """Say whether ``decode`` may have missed nothing but the type of an event."""
        return bool(self._bare) and str(error) in _UNTYPED

    def _recognised(self, data: bytes, attributes: Mapping[str, str]) -> _Bare | None:
        """
        Return the type of an event that does not say it.

        It is the one whose fields are all there, or else the one of which most are, so
        that what is missing is named.
        """
        if name := attributes.get("event_type"):
            if name not in self.types:
                raise self.not_taken(None, name)
            return self._bare.get(name)
        head = self._head(data)
        shares = [
            (1 - one.values_of(head).count(None) / len(one.fields), one)
            for one in self._bare.values()
        ]
        most = max((share for share, _ in shares), default=0.0)
        likely = [one for share, one in shares if share == most > 0.5]
        if len(likely) > 1:
            several = "its fields are those of several types"
            raise Refused("missing_field", several, field="event_type")
        return likely[0] if likely else None

    def explain(self, data: bytes, error: Exception) -> Refused:
        """Return why ``decode`` refused an event."""
        if isinstance(error, msgspec.ValidationError):
            return self._invalid(str(error))
        if isinstance(error, RecursionError):
            return _too_deep()
        return _malformed(data)

    def _invalid(self, text: str) -> Refused:
        """Return what is wrong with an event by msgspec's words for it."""
        place = _PLACE.search(text)
        field = place[1] if place else None
        if field == "event_type" and text.startswith("Invalid value"):
            return self.not_taken(None, None)
        if missing := _MISSING.match(text):
            return Refused("missing_field", "the field is missing", field=missing[1])
        said = text.partition(" - at")[0]
        for start, (reason, detail) in _SAID.items():
            if said.startswith(start):
                return Refused(reason, detail, field=field)
        return Refused("wrong_type", said, field=field)

    def not_taken(self, use_case: str | None, event_type: str | None) -> Refused:
        """Return why no use case takes an event of this use case and type."""
        if event_type not in self.types:
            known = ", ".join(sorted(self.types))
            return Refused(
                "unknown_event_type",
                f"no use case takes it; known are {known}",
                field="event_type",
            )
        if use_case in self.use_cases:
            return Refused(
                "unknown_event_type",
                "the use case does not take it",
                field="event_type",
            )
        if use_case is None:
            return Refused(
                "missing_field", "several use cases take it", field="use_case"
            )
        return Refused(
            "unknown_use_case",
            f"known are {', '.join(sorted(self.use_cases))}",
            field="use_case",
        )


def _check_roles(use_case: UseCase, known: Mapping[str, EventType]) -> None:
    """
    Check what a use case says of the events that it takes.

    Raises:
        UseCaseError: One that is scored lacks a feature, or truths are not those that
            are declared so.
    """
    where = f"usecases/{use_case.name}"
    for name in use_case.scored:
        if name not in use_case.events or known[name].identity is None:
            raise UseCaseError(
                f"{where} scores {name}, and must take it, with an identity of its own"
            )
        if missing := sorted(set(use_case.features) - set(known[name].numerals)):
            raise UseCaseError(
                f"{where} scores {name}, whose numerals lack {', '.join(missing)}"
            )
    told = {name for name in use_case.events if known[name].truth}
    if wrong := sorted(told ^ set(use_case.truths)):
        raise UseCaseError(
            f"{where}: {', '.join(wrong)} must be among its truths, and be declared "
            "with a truth and its time"
        )


class _Constant(str):
    """A number that Python reads and JSON does not have."""

    __slots__ = ()


def _malformed(data: bytes) -> Refused:
    """Return what is wrong with bytes that are not JSON."""
    # Of JSON the first characters are ASCII: a zero among them is UTF-16 or UTF-32.
    if data.startswith(_BYTE_ORDER_MARK) or b"\0" in data[:4]:
        return Refused("wrong_encoding", "the event is not plain UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Refused("wrong_encoding", "the event is not UTF-8")
    found: list[str] = []

    def constant(name: str) -> _Constant:
        found.append(name)
        return _Constant(name)

    try:
        # Python reads numbers that JSON does not have, which tells what was meant.
        event = json.loads(text, parse_constant=constant)
    except (ValueError, RecursionError):
        return Refused("malformed_json", "the event is not one JSON object")
    if not found:
        return Refused("malformed_json", "the event is not one JSON object")
    fields = event.items() if isinstance(event, dict) else ()
    field = next((name for name, one in fields if isinstance(one, _Constant)), None)
    return Refused("not_finite", "a number is NaN or infinite", field=field)


def _too_deep() -> Refused:
    return Refused("malformed_json", f"nested deeper than {MAXIMUM_DEPTH}")


def check_unread(data: bytes) -> None:
    """
    Check what ``decode`` passes over: fields that nobody has declared.

    Args:
        data: An event that was decoded.

    Raises:
        Refused: It is nested too deeply to be read again further on.
        UnicodeDecodeError: It is not UTF-8.
    """
    data.decode()
    if data.count(b"[") + data.count(b"{") <= MAXIMUM_DEPTH:
        return
    depth = 0
    for found in _NESTING.finditer(data):
        if found[1]:
            depth += 1
            if depth > MAXIMUM_DEPTH:
                raise _too_deep()
        elif found[2]:
            depth -= 1


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
    Return the instants that a decoded event tells, by name; None for a senseless one.

    Args:
        event: Of ``Catalogue.read``.
        latest: The last moment that can be.
    """
    told: dict[str, datetime | None] = {}
    for name in event.declared.instants:
        written = getattr(event, name)
        if written is msgspec.UNSET:
            continue
        try:
            value = _decode_any(written)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            value = None  # a number that no float holds, or a text that is not UTF-8
        told[name] = sensible_instant(value, latest=latest)
    return told


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


def label_of(value: int | bool | None | _Unset, *, field: str) -> int | None:
    """
    Return a label as 0 or 1, None while it is not known.

    Raises:
        Refused: Another number.
    """
    if value is None or isinstance(value, _Unset):
        return None
    if value not in {0, 1}:
        raise Refused("bad_value", "a label is 0 or 1", field=field)
    return int(value)
