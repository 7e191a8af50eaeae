"""
Event types, and the decoder of their events.

``events.toml`` declares the types that use cases share, a ``usecase.toml`` those of its
own: a kind for each field. A type becomes one msgspec struct, so that an event is
decoded and checked in one pass over its bytes. The reason of a refusal comes from
msgspec's error.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from importlib import resources
from typing import Annotated, Any

import msgspec

from propensity.errors import UseCaseError
from propensity.events.values import MAXIMUM_TEXT_CHARACTERS, Refused
from propensity.ids import INEXACT, MAXIMUM_ID_CHARACTERS, NAME
from propensity.usecases import UseCase

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_ID_CHARACTERS)]
_WholeId = Annotated[int, msgspec.Meta(gt=-INEXACT, lt=INEXACT)]
_Text = Annotated[str, msgspec.Meta(max_length=MAXIMUM_TEXT_CHARACTERS)]
_Unset = msgspec.UnsetType

# Types for msgspec of the kinds of fields; ``events.toml`` says what each means.
KINDS: Mapping[str, Any] = {
    "text": _Text,
    "text or null": _Text | None,
    "personal": _Text | _Unset,
    "birth date": date | _Unset,
    "amount": float,
    "number": float,
    "label": int | bool | _Unset | None,
    "identity": _Id | _WholeId,
    "numeral": float | str,
    "instant": msgspec.Raw,
    "truth": bool | int | str,
    "truth time": str,
}
PERSONAL = ("personal", "birth date")
_OPTIONAL = (*PERSONAL, "label", "instant")
# Kinds with a column of their own: a type has at most one such field.
_SINGLE = ("birth date", "amount", "label", "identity", "truth", "truth time")

_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")

# Fields of every event, fields of its enrichment, and attributes of the structs.
_RESERVED = frozenset(
    {
        *("user_id", "event_type", "event_time", "event_id", "use_case"),
        *("age", "socioeconomic_idx", "attributes", "declared"),
    }
)

# Allowed kinds of the fields with a column of their own, and of those that dead letters
# lose by their name.
_COLUMN_KINDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("name", "street_address"), ("personal",)),
    **dict.fromkeys(
        ("city", "country", "postcode", "affiliate_url", "campaign"),
        ("text", "text or null"),
    ),
    "date_of_birth": ("birth date",),
    "amount": ("amount",),
    "label": ("label",),
}

# Errors of msgspec, which may quote the event.
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_PLACE = re.compile(r"at `\$\.?([^`]*)`$")
_UNTYPED = frozenset(
    {"Object missing required field `event_type`", "Expected `str` - at `$.event_type`"}
)
_REASONS = {
    "Expected `str` of length": ("bad_value", "too short or too long"),
    "Expected `str | null` of length": ("bad_value", "too short or too long"),
    "Invalid RFC3339": ("bad_value", "not a date as YYYY-MM-DD"),
    "Integer value out of range": ("bad_value", "the number is out of range"),
    "Number out of range": ("not_finite", "the number is out of range"),
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, kw_only=True)
class EventType:
    """
    A type of events; ``fields`` maps its fields, but for the common ones, to kinds.
    """

    name: str
    fields: Mapping[str, str]

    def of_kind(self, *kinds: str) -> tuple[str, ...]:
        """Return the fields of some kinds."""
        return tuple(name for name, kind in self.fields.items() if kind in kinds)

    @cached_property
    def amount(self) -> str:
        """The field of kind "amount", empty without one."""
        return next(iter(self.of_kind("amount")), "")

    @cached_property
    def identity(self) -> str:
        """The field with the event's id, which is its user's; empty without one."""
        return next(iter(self.of_kind("identity")), "")

    @cached_property
    def truth(self) -> str:
        """The field that says what came of an event; empty without one."""
        return next(iter(self.of_kind("truth")), "")

    @cached_property
    def time(self) -> str:
        """The field that says when it happened, or when a truth was found out."""
        return next(iter(self.of_kind("truth time")), "event_time")

    @cached_property
    def personal(self) -> Mapping[str, str]:
        """The personal fields, which are not stored, and their kinds."""
        return {name: self.fields[name] for name in self.of_kind(*PERSONAL)}

    @cached_property
    def further(self) -> Mapping[str, str]:
        """The fields that are stored beside amount and identity, and their kinds."""
        own = {"amount", "identity", "truth", "truth time"}
        return {name: kind for name, kind in self.fields.items() if kind not in own}

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The fields that an event of the type must have."""
        return self.of_kind(*(kind for kind in KINDS if kind not in _OPTIONAL))

    def struct(self, *, is_tagged: bool = True) -> type[msgspec.Struct]:
        """
        Return the type as a struct, with ``declared``, the type.

        Args:
            is_tagged: Whether its events say their type, in ``event_type``.
        """
        required: list[Any] = [
            (name, KINDS[self.fields[name]]) for name in self.required
        ]
        optional: list[Any] = [
            ("event_id", _Id | None, None),
            ("use_case", str | None, None),
            *(
                (n, KINDS[self.fields[n]], msgspec.UNSET)
                for n in self.of_kind(*_OPTIONAL)
            ),
        ]
        if self.identity:
            optional.append(("user_id", _Id | None, None))
        else:
            required.append(("user_id", _Id))
        if not self.truth:
            required.append(("event_time", str))
        if self.of_kind("birth date"):
            optional.append(("age", int | _Unset, msgspec.UNSET))
        if "postcode" in self.fields:
            optional.append(("socioeconomic_idx", float | _Unset | None, msgspec.UNSET))
        return msgspec.defstruct(
            self.name,
            [*required, *optional],
            tag_field="event_type" if is_tagged else None,
            tag=self.name if is_tagged else None,
            gc=False,
            namespace={"declared": self},
        )


def types_of(tables: Mapping[str, Mapping[str, str]]) -> dict[str, EventType]:
    """
    Return the event types of a TOML document's tables, by name.

    Raises:
        ValueError: A name or a kind is invalid, or two fields would share a column.
    """
    return {name: _checked(name, fields) for name, fields in tables.items()}


def _checked(name: str, fields: Mapping[str, str]) -> EventType:
    if not NAME.fullmatch(name) or not isinstance(fields, Mapping):
        raise ValueError(f"{name!r}: an event type is a table named like new_bet")
    for field, kind in fields.items():
        if kind not in KINDS:
            known = sorted(KINDS)
            raise ValueError(f"{name}: fields are one of {known}: {field} is {kind!r}")
        if field in _RESERVED or not _FIELD.fullmatch(field):
            raise ValueError(f"{name}: no field can be named {field!r}")
        if kind not in _COLUMN_KINDS.get(field, KINDS):
            allowed = " or ".join(_COLUMN_KINDS[field])
            raise ValueError(f"{name}: {field} is {allowed} everywhere, not {kind}")
    for kind in _SINGLE:
        if list(fields.values()).count(kind) > 1:
            raise ValueError(f"{name}: more than one field is of kind {kind}")
    event_type = EventType(name=name, fields=dict(fields))
    if event_type.identity and event_type.required == (event_type.identity,):
        raise ValueError(f"{name}: no field but its identity is required of it")
    parts = event_type.of_kind("truth", "truth time")
    if parts and not (event_type.identity and len(parts) == 2):
        raise ValueError(f"{name}: a truth has an identity, a truth and its time")
    return event_type


class Catalogue:
    """
    The event types of all use cases of a deploy, and the decoder of their events.

    Attributes:
        types: By name.
        use_cases: Names of the use cases that take events.
        taken: Each use case with each type that it takes.
        default: The use case of an event that names none, for types of one use case.
    """

    def __init__(self, use_cases: Iterable[UseCase]) -> None:
        """
        Raises:
            UseCaseError: A use case takes an undeclared type, declares one a second
                time, or an invalid one; or no use case takes events.
        """
        streamed = [use_case for use_case in use_cases if use_case.events]
        if not streamed:
            raise UseCaseError("no use case takes events: name some under [stream]")
        types = _declared(streamed)
        for use_case in streamed:
            _check_taken(use_case, types)
        self.use_cases = frozenset(use_case.name for use_case in streamed)
        pairs = [
            (one.name, event_type) for one in streamed for event_type in one.events
        ]
        self.taken = frozenset(pairs)
        self.types = {name: types[name] for _, name in pairs}
        names = [name for _, name in self.taken]
        self.default = {name: one for one, name in pairs if names.count(name) == 1}
        self._amounts = {event_type.amount for event_type in self.types.values()}
        # msgspec demands the type of an event only in a union. The nameless type makes
        # one of a single type, too.
        union: Any = EventType(name="", fields={}).struct()
        for event_type in self.types.values():
            union = union | event_type.struct()
        self._decode = msgspec.json.Decoder(union).decode
        self._decode_untyped = {
            name: msgspec.json.Decoder(event_type.struct(is_tagged=False)).decode
            for name, event_type in self.types.items()
            if event_type.identity
        }

    def read(self, data: bytes, attributes: Mapping[str, str]) -> Any:
        """
        Return an event as a struct of its type.

        Args:
            data: The event as JSON.
            attributes: Of its message; they may name the type of an event that has an
                identity.

        Raises:
            Refused: It is no valid event of a type that a use case takes.
        """
        try:
            if not data.isascii():
                data.decode()  # msgspec reads no field that is not declared
            try:
                return self._decode(data)
            except msgspec.ValidationError as error:
                if str(error) not in _UNTYPED:
                    raise
                name = self._inferred(data, attributes)
                if name not in self._decode_untyped:
                    raise
            return self._decode_untyped[name](data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self.explain(data, error) from None

    def _inferred(self, data: bytes, attributes: Mapping[str, str]) -> str:
        """
        Return the type of an event that does not say it, empty if it has to.

        It is the type with an identity of whose fields the event has the largest share,
        if that is more than half: an error then names the missing field.
        """
        if name := attributes.get("event_type"):
            if name not in self.types:
                raise self.no_taker(None, name)
            return name
        fields = _decode_fields(data)
        shares = {
            name: sum(field in fields for field in required) / len(required)
            for name in self._decode_untyped
            for required in [self.types[name].required]
        }
        likely = sorted(shares, key=shares.__getitem__)[-2:]
        if not likely or shares[likely[-1]] <= 0.5:
            return ""
        if len(likely) == 2 and shares[likely[0]] == shares[likely[1]]:
            several = "its fields are those of several types"
            raise Refused("missing_field", several, field="event_type")
        return likely[-1]

    def explain(self, data: bytes, error: Exception) -> Refused:
        """Return the reason for an error of msgspec or Python that an event raised."""
        if not isinstance(error, msgspec.ValidationError):
            return _malformed(data)
        text = str(error)
        place = _PLACE.search(text)
        field = place[1] if place else None
        if field == "event_type" and text.startswith("Invalid value"):
            return self.no_taker(None, None)
        if missing := _MISSING.match(text):
            return Refused("missing_field", "the field is missing", field=missing[1])
        if text.startswith("Expected `object`") and field is None:
            return Refused("malformed_json", "the event is not one JSON object")
        problem = text.partition(" - at")[0]
        for start, (reason, detail) in _REASONS.items():
            if problem.startswith(start):
                is_amount = reason == "not_finite" and field in self._amounts
                return Refused(
                    "bad_amount" if is_amount else reason, detail, field=field
                )
        return Refused("wrong_type", problem, field=field)

    def no_taker(self, use_case: str | None, event_type: str | None) -> Refused:
        """Return the refusal of an event that no use case takes."""
        reason, field = "unknown_event_type", "event_type"
        if event_type not in self.types:
            detail = f"no use case takes it; known are {', '.join(sorted(self.types))}"
        elif use_case in self.use_cases:
            detail = "the use case does not take it"
        elif use_case is None:
            reason, field = "missing_field", "use_case"
            detail = "several use cases take it"
        else:
            reason, field = "unknown_use_case", "use_case"
            detail = f"known are {', '.join(sorted(self.use_cases))}"
        return Refused(reason, detail, field=field)


def _declared(use_cases: Sequence[UseCase]) -> dict[str, EventType]:
    """Return the package's event types and those that use cases declare."""
    text = (resources.files("propensity") / "events.toml").read_text("utf-8")
    types = types_of(tomllib.loads(text))
    for use_case in use_cases:
        where = f"usecases/{use_case.name} declares"
        try:
            own = types_of(use_case.event_types)
        except ValueError as error:
            raise UseCaseError(f"{where} an event type wrongly: {error}") from error
        if twice := ", ".join(sorted(set(own) & set(types))):
            raise UseCaseError(
                f"{where} {twice}, which is declared already: name it otherwise"
            )
        types.update(own)
    return types


def _check_taken(use_case: UseCase, types: Mapping[str, EventType]) -> None:
    """Check a use case's lists of events, of scored events and of truths."""
    where = f"usecases/{use_case.name}"
    if missing := ", ".join(sorted(set(use_case.events) - set(types))):
        raise UseCaseError(f"{where} takes {missing}, which no file declares")
    for name in use_case.scored:
        if name not in use_case.events or not types[name].identity:
            raise UseCaseError(
                f"{where} scores {name}, and must take it, with an identity of its own"
            )
        lacking = set(use_case.features) - set(types[name].of_kind("numeral"))
        if missing := ", ".join(sorted(lacking)):
            raise UseCaseError(f"{where} scores {name}, whose numerals lack {missing}")
    truths = {name for name in use_case.events if types[name].truth}
    if wrong := ", ".join(sorted(truths ^ set(use_case.truths))):
        raise UseCaseError(
            f"{where}: {wrong} must be among its truths, and be declared with a truth "
            "and its time"
        )


def _malformed(data: bytes) -> Refused:
    """Return the reason for bytes that are not JSON."""
    # JSON starts with ASCII: a zero byte there means UTF-16 or UTF-32.
    if data.startswith(_BYTE_ORDER_MARK) or b"\0" in data[:4]:
        return Refused("wrong_encoding", "the event is not plain UTF-8")
    try:
        # A number that Python parses and JSON does not have, such as NaN, is a type.
        event = json.loads(data.decode(), parse_constant=lambda _: float)
    except UnicodeDecodeError:
        return Refused("wrong_encoding", "the event is not UTF-8")
    except (ValueError, RecursionError):
        event = None
    for name, value in event.items() if isinstance(event, dict) else ():
        if value is float:
            return Refused("not_finite", "a number is NaN or infinite", field=name)
    return Refused("malformed_json", "the event is not one JSON object")
