"""
The catalogue: the event types of a deploy, and the decoder of their events.

An event is decoded and checked in one pass over its bytes, by one decoder for the types
of all use cases. The reason of a refusal comes from msgspec's error.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

import msgspec

from propensity.errors import UseCaseError
from propensity.events.types import EventType, types_of
from propensity.events.values import Refused
from propensity.usecases import UseCase

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
_NO_OBJECT = Refused("malformed_json", "the event is not one JSON object")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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
        self.default = {
            name: names[0] for name, names in takers.items() if len(names) == 1
        }
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
                if name is None:
                    raise
            return self._decode_untyped[name](data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self.explain(data, error) from None

    def _inferred(self, data: bytes, attributes: Mapping[str, str]) -> str | None:
        """
        Return the type of an event that does not say it, None for one that has to.

        Of the types with an identity, such as card transactions and their truths, it is
        the one with the largest share of its fields in the event, if that is more than
        half: an error then names the missing field.
        """
        if name := attributes.get("event_type"):
            if name not in self.types:
                raise self.no_taker(None, name)
            return name if name in self._decode_untyped else None
        fields = _decode_fields(data)
        shares = {
            name: sum(field in fields for field in required) / len(required)
            for name in self._decode_untyped
            for required in [self.types[name].required]
        }
        most = max(shares.values(), default=0.0)
        likely = [name for name, share in shares.items() if share == most > 0.5]
        if len(likely) > 1:
            several = "its fields are those of several types"
            raise Refused("missing_field", several, field="event_type")
        return likely[0] if likely else None

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
            return _NO_OBJECT
        problem = text.partition(" - at")[0]
        for start, (reason, detail) in _SAID.items():
            if problem.startswith(start):
                return Refused(reason, detail, field=field)
        return Refused("wrong_type", problem, field=field)

    def no_taker(self, use_case: str | None, event_type: str | None) -> Refused:
        """Return the refusal of an event that no use case takes."""
        if event_type not in self.types:
            detail = f"no use case takes it; known are {', '.join(sorted(self.types))}"
            return Refused("unknown_event_type", detail, field="event_type")
        if use_case in self.use_cases:
            detail = "the use case does not take it"
            return Refused("unknown_event_type", detail, field="event_type")
        if use_case is None:
            detail = "several use cases take it"
            return Refused("missing_field", detail, field="use_case")
        detail = f"known are {', '.join(sorted(self.use_cases))}"
        return Refused("unknown_use_case", detail, field="use_case")


def _declared(use_cases: Sequence[UseCase]) -> dict[str, EventType]:
    """
    Return the package's event types and those that use cases declare.

    Raises:
        UseCaseError: One is invalid, or declared a second time.
    """
    text = (resources.files("propensity") / "events.toml").read_text("utf-8")
    types = types_of(tomllib.loads(text))
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
        event = json.loads(data.decode(), parse_constant=_Constant)
    except UnicodeDecodeError:
        return Refused("wrong_encoding", "the event is not UTF-8")
    except (ValueError, RecursionError):
        return _NO_OBJECT
    fields = event.items() if isinstance(event, dict) else ()
    for name, value in fields:
        if isinstance(value, _Constant):
            return Refused("not_finite", "a number is NaN or infinite", field=name)
    return _NO_OBJECT
