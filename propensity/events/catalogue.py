"""
The catalogue: the event types of a deploy, and the decoder of their events.

An event is decoded and checked in one pass over its bytes. An event of a type with an
identity may be bare, without type, user and id: its fields tell the type. The reason of
a refusal comes from msgspec's error.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from operator import attrgetter
from typing import Any

import msgspec

from propensity.errors import UseCaseError
from propensity.events.messages import Message
from propensity.events.types import EventType, declared, types_of
from propensity.events.values import Refused
from propensity.usecases import UseCase

# Deeper JSON is refused: later readers of the event may have a lower limit.
MAXIMUM_DEPTH = 256

# Errors of msgspec. They may quote the event.
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


class _Bare:
    """A type whose events may be bare: the fields that tell it, and its decoder."""

    def __init__(self, event_type: EventType) -> None:
        assert event_type.identity is not None
        self.fields = (event_type.identity, *event_type.required)
        self.values_of = attrgetter(*self.fields)
        self.name = event_type.name
        self.own = frozenset(event_type.fields) | {"event_time"}
        self.decode = msgspec.json.Decoder(event_type.struct(is_bare=True)).decode
        exact = event_type.struct(is_bare=True, is_exact=True)
        self.decode_exact = msgspec.json.Decoder(exact).decode


class Catalogue:
    """
    The event types of all use cases of a deploy, and the decoder of their events.

    ``decode`` decodes an event with a type, ``read`` also a bare one. ``taken`` has
    every use case with each of its types, ``identities`` the identifying field of types
    that may be bare, ``truths`` the types that tell the outcome of an earlier event.
    """

    def __init__(self, use_cases: Iterable[UseCase]) -> None:
        """
        Raises:
            UseCaseError: A use case takes an undeclared type, declares one a second
                time, or an invalid one; or no use case takes events.
        """
        streamed = [use_case for use_case in use_cases if use_case.events]
        types = _declared(streamed)
        takers: dict[str, list[str]] = {}
        for use_case in streamed:
            _check_taken(use_case, types)
            for name in use_case.events:
                takers.setdefault(name, []).append(use_case.name)
        if not takers:
            raise UseCaseError("no use case takes events: name some under [stream]")
        self.types = {name: types[name] for name in takers}
        self.use_cases = frozenset(use_case.name for use_case in streamed)
        self.taken = frozenset(
            (taker, name) for name, names in takers.items() for taker in names
        )
        # The use case of an event that names none, for types of one use case.
        self.default = {
            name: names[0] for name, names in takers.items() if len(names) == 1
        }
        # msgspec demands the type of an event only in a union. The nameless type makes
        # one of a single type, too.
        union: Any = EventType(name="", fields={}).struct()
        for event_type in self.types.values():
            union = union | event_type.struct()
        self.decode = msgspec.json.Decoder(union).decode
        self.identities = {
            name: event_type.identity
            for name, event_type in self.types.items()
            if event_type.identity
        }
        self.truths = frozenset(
            name for name, event_type in self.types.items() if event_type.truth
        )
        self._bare = {name: _Bare(self.types[name]) for name in self.identities}
        # Types that an event of their very fields cannot share with another.
        self._telling = [
            bare
            for bare in self._bare.values()
            if not any(
                bare.own.issuperset(other.fields)
                for other in self._bare.values()
                if other is not bare
            )
        ]
        self._head = _decoder_of_heads(self._bare.values())
        # What the last event of the batch before was: the next batch may be all that.
        self._likely: _Bare | None = None

    def read_all(
        self, messages: Sequence[Message], payloads: Sequence[bytes]
    ) -> list[Any]:
        """
        Return the events of messages, each as ``read``.

        An event is tried as what the one before it was: to recognise it by its fields
        takes ten times as long.

        Args:
            messages: With valid payloads.
            payloads: Theirs.

        Raises:
            Refused, MsgspecError, ValueError, RecursionError: One of them is invalid.
        """
        likely, self._likely = self._likely, None
        if likely is not None:
            name = likely.name
            types = {one.attributes.get("event_type", name) for one in messages}
            with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
                if types <= {name}:
                    events = [*map(likely.decode_exact, payloads)]
                    self._likely = likely
                    return events
        try:
            return [*map(self.decode, payloads)]
        except msgspec.ValidationError as error:
            if not self.may_be_bare(error):
                raise
        return self._read_each(messages)

    def _read_each(self, messages: Sequence[Message]) -> list[Any]:
        events = []
        likely: _Bare | None = None
        for message in messages:
            try:
                if likely is None:
                    event = self.decode(message.data)
                else:
                    event = likely.decode_exact(message.data)
                    attributes = message.attributes
                    if attributes.get("event_type", likely.name) != likely.name:
                        event = self.read(message.data, attributes)
            except msgspec.MsgspecError:
                likely, event = self._read_otherwise(message)
            events.append(event)
        self._likely = likely
        return events

    def _read_otherwise(self, message: Message) -> tuple[_Bare | None, Any]:
        """Return an event of another type than the one before it, and that type."""
        event = self.read(message.data, message.attributes)
        if event.is_bare:
            for bare in self._telling:
                if bare.name == event.type_name:
                    return bare, event
        return None, event

    def read(self, data: bytes, attributes: Mapping[str, str]) -> Any:
        """
        Return an event, which may be bare; an attribute may tell its type.

        Raises:
            Refused, MsgspecError, RecursionError: It is invalid; see ``explain``.
        """
        try:
            return self.decode(data)
        except msgspec.ValidationError as error:
            if not self.may_be_bare(error):
                raise
            bare = self._recognise(data, attributes)
            if bare is None:
                raise
        return bare.decode(data)

    def may_be_bare(self, error: msgspec.ValidationError) -> bool:
        """Say whether an event may lack nothing but its type, by ``decode``'s error."""
        return bool(self._bare) and str(error) in _UNTYPED

    def _recognise(self, data: bytes, attributes: Mapping[str, str]) -> _Bare | None:
        """
        Return the type of a bare event.

        It is the type with the largest share of its fields in the event, if it is more
        than half: an error then names the missing field.
        """
        if name := attributes.get("event_type"):
            if name not in self.types:
                raise self.no_taker(None, name)
            return self._bare.get(name)
        head = self._head(data)
        shares = [
            (1 - bare.values_of(head).count(None) / len(bare.fields), bare)
            for bare in self._bare.values()
        ]
        most = max((share for share, _ in shares), default=0.0)
        likely = [bare for share, bare in shares if share == most > 0.5]
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
        """Return the reason for an error of msgspec."""
        place = _PLACE.search(text)
        field = place[1] if place else None
        if field == "event_type" and text.startswith("Invalid value"):
            return self.no_taker(None, None)
        if missing := _MISSING.match(text):
            return Refused("missing_field", "the field is missing", field=missing[1])
        if place is None and text.startswith("Expected `object`"):
            return Refused("malformed_json", "the event is not one JSON object")
        problem = text.partition(" - at")[0]
        for start, (reason, detail) in _SAID.items():
            if problem.startswith(start):
                return Refused(reason, detail, field=field)
        return Refused("wrong_type", problem, field=field)

    def no_taker(self, use_case: str | None, event_type: str | None) -> Refused:
        """Return the refusal of an event that no use case takes."""
        if event_type not in self.types:
            names = ", ".join(sorted(self.types))
            return Refused(
                "unknown_event_type",
                f"no use case takes it; known are {names}",
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


def _decoder_of_heads(bare: Iterable[_Bare]) -> Callable[[bytes], Any]:
    """Return what reads an event's type, and which fields that tell one it has."""
    fields = {field for one in bare for field in one.fields}
    head = msgspec.defstruct(
        "Head",
        [
            ("event_type", str | None, None),
            # Only present or not: the values are never parsed.
            *((field, msgspec.Raw, None) for field in sorted(fields)),
        ],
        gc=False,
    )
    return msgspec.json.Decoder(head).decode


def _declared(use_cases: Sequence[UseCase]) -> dict[str, EventType]:
    """
    Return the package's event types and those that use cases declare.

    Raises:
        UseCaseError: One is invalid, or declared a second time.
    """
    text = (resources.files("propensity") / "events.toml").read_text("utf-8")
    types: dict[str, EventType] = declared(text)
    for use_case in use_cases:
        try:
            own = types_of(use_case.event_types)
        except ValueError as error:
            raise UseCaseError(
                f"usecases/{use_case.name} declares an event type wrongly: {error}"
            ) from error
        if twice := sorted(set(own) & set(types)):
            raise UseCaseError(
                f"usecases/{use_case.name} declares {', '.join(twice)}, which is "
                "declared already: name it otherwise"
            )
        types.update(own)
    return types


def _check_taken(use_case: UseCase, types: Mapping[str, EventType]) -> None:
    """
    Check a use case's lists of events, of scored events and of truths.

    Raises:
        UseCaseError: A type is not declared, a scored type lacks a feature, or the
            truths are not the types that are declared with a truth.
    """
    where = f"usecases/{use_case.name}"
    if missing := sorted(set(use_case.events) - set(types)):
        raise UseCaseError(
            f"{where} takes {', '.join(missing)}, which no file declares"
        )
    for name in use_case.scored:
        if name not in use_case.events or types[name].identity is None:
            raise UseCaseError(
                f"{where} scores {name}, and must take it, with an identity of its own"
            )
        if missing := sorted(set(use_case.features) - set(types[name].numerals)):
            raise UseCaseError(
                f"{where} scores {name}, whose numerals lack {', '.join(missing)}"
            )
    truths = {name for name in use_case.events if types[name].truth}
    if wrong := sorted(truths ^ set(use_case.truths)):
        raise UseCaseError(
            f"{where}: {', '.join(wrong)} must be among its truths, and be declared "
            "with a truth and its time"
        )


class _Constant(str):
    """A number that Python parses and JSON does not have, such as NaN."""

    __slots__ = ()


def _malformed(data: bytes) -> Refused:
    """Return the reason for bytes that are not JSON."""
    # JSON starts with ASCII: a zero byte there means UTF-16 or UTF-32.
    if data.startswith(_BYTE_ORDER_MARK) or b"\0" in data[:4]:
        return Refused("wrong_encoding", "the event is not plain UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Refused("wrong_encoding", "the event is not UTF-8")
    constants: list[str] = []

    def constant(name: str) -> _Constant:
        constants.append(name)
        return _Constant(name)

    try:
        # Python also parses NaN and infinity, so the reason can say so.
        event = json.loads(text, parse_constant=constant)
    except (ValueError, RecursionError):
        return Refused("malformed_json", "the event is not one JSON object")
    if not constants:
        return Refused("malformed_json", "the event is not one JSON object")
    fields = event.items() if isinstance(event, dict) else ()
    field = next((name for name, value in fields if isinstance(value, _Constant)), None)
    return Refused("not_finite", "a number is NaN or infinite", field=field)


def _too_deep() -> Refused:
    return Refused("malformed_json", f"nested deeper than {MAXIMUM_DEPTH}")


def check_unread(data: bytes) -> None:
    """
    Check the parts of an event that ``decode`` skips: undeclared fields.

    Args:
        data: An event, after ``decode``.

    Raises:
        Refused: It is nested too deeply for later readers.
        UnicodeDecodeError: It is not UTF-8.
    """
    if not data.isascii():
        data.decode()
    # To count brackets takes ten times as long as to find that none is nested.
    if b"[" not in data and data.find(b"{", 1) < 0:
        return
    if data.count(b"[") + data.count(b"{") <= MAXIMUM_DEPTH:
        return
    depth = 0
    for bracket in _NESTING.finditer(data):
        if bracket[1]:
            depth += 1
            if depth > MAXIMUM_DEPTH:
                raise _too_deep()
        elif bracket[2]:
            depth -= 1
