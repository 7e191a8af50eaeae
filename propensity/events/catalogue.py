"""
The catalogue: the event types that a deploy takes, and how their events are decoded.

An event is decoded and checked in one pass over its bytes. A type with an identity of
its own may come bare, without a type, a user or an id: it is known by its fields. Why
an event was refused is found out afterwards, from what msgspec says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from operator import attrgetter
from typing import Any

import msgspec

from propensity.errors import UseCaseError
from propensity.events.types import EventType, declared, types_of
from propensity.events.values import Refused
from propensity.usecases import UseCase

# Deeper JSON is refused: what reads an event further on might not come to its bottom.
MAXIMUM_DEPTH = 256

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


class _Bare:
    """A type whose events need not say it: how they are known, and decoded."""

    def __init__(self, event_type: EventType) -> None:
        assert event_type.identity is not None
        self.fields = (event_type.identity, *event_type.required)
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
        fields = {field for one in self._bare.values() for field in one.fields}
        head = msgspec.defstruct(
            "Head",
            [
                ("event_type", str | None, None),
                # Never read, only there or not; a default is no JSON.
                *((field, msgspec.Raw, None) for field in sorted(fields)),
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
    truths = {name for name in use_case.events if known[name].truth}
    if wrong := sorted(truths ^ set(use_case.truths)):
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
        # Python reads numbers that JSON does not have, which shows what was meant.
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
