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
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import cache, reduce
from importlib import resources
from operator import or_
from typing import Annotated, Any

import msgspec

from propensity.errors import UseCaseError
from propensity.ids import INEXACT, MAXIMUM_ID_CHARACTERS
from propensity.streaming.events.values import (
    MAXIMUM_AGE,
    MAXIMUM_TEXT_CHARACTERS,
    OUT_OF_RANGE,
    BadEvent,
    letters_of,
    with_fields,
)
from propensity.tables.stream import STREAM_EVENTS
from propensity.usecases import UseCase

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_ID_CHARACTERS)]
_WholeId = Annotated[int, msgspec.Meta(gt=-INEXACT, lt=INEXACT)]
_Text = Annotated[str, msgspec.Meta(max_length=MAXIMUM_TEXT_CHARACTERS)]
_Age = Annotated[int, msgspec.Meta(ge=0, le=MAXIMUM_AGE)]
_Unset = msgspec.UnsetType

# Types for msgspec of the kinds of fields; ``events.toml`` says what each means.
KINDS: Mapping[str, object] = {
    "text": _Text,
    "text or null": _Text | None,
    "personal": _Text | _Unset,
    "birth date": date | _Unset,
    "amount": float,
    "number": float,
    "label": int | bool | _Unset | None,
    "identity": _Id | _WholeId,
    "numeral": float | _Text,
    "instant": msgspec.Raw,
    "truth": bool | int | _Text,
    "truth time": str,
}
PERSONAL = ("personal", "birth date")
# The fields that an event of any type may have.
_COMMON = ("event_id", "event_type", "event_time", "use_case", "user_id", "age")
_OPTIONAL = PERSONAL + ("label", "instant")
# Kinds with a column of their own: a type has at most one such field.
_SINGLE = ("birth date", "amount", "label", "identity", "truth", "truth time")

# Errors of msgspec, which may quote the event.
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_AT = re.compile(r"at `\$\.?([^`]*)`$")
_UNTYPED = frozenset(
    {"Object missing required field `event_type`", "Expected `str` - at `$.event_type`"}
)
_LENGTH = ("bad_value", "the text is too short or too long")
_REASONS = {
    "Expected `str` of length": _LENGTH,
    "Expected `str | null` of length": _LENGTH,
    "Invalid RFC3339": ("bad_value", "the date must be written as 2026-03-01"),
    "Expected `int` >= 0": ("bad_value", f"the age must be from 0 to {MAXIMUM_AGE}"),
    f"Expected `int` <= {MAXIMUM_AGE}": ("bad_value", f"the age is over {MAXIMUM_AGE}"),
    "Integer value out of range": ("bad_value", OUT_OF_RANGE),
    "Number out of range": ("not_finite", OUT_OF_RANGE),
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class EventType:
    """
    A type of events.

    Attributes:
        fields: Its fields, but for the common ones, and their kinds.
        amount, identity, truth: The field of this kind; empty without one.
        time: The field that says when it happened, or when a truth was found out.
        personal: The fields that are not stored, and their kinds.
        stored: The fields that are stored beside amount and identity, and their kinds.
    """

    def __init__(self, name: str, fields: Mapping[str, str]) -> None:
        self.name = name
        self.fields = fields
        name_of = {kind: field for field, kind in fields.items()}
        self.amount = name_of.get("amount", "")
        self.identity = name_of.get("identity", "")
        self.truth = name_of.get("truth", "")
        self.time = name_of.get("truth time", "event_time")
        self.personal = self.of_kinds(*PERSONAL)
        self.stored = self.of_kinds(
            "text", "text or null", "number", "label", "numeral", "instant", "truth"
        )

    def of_kinds(self, *kinds: str) -> dict[str, str]:
        """Return the fields of some kinds, and their kinds."""
        return {name: kind for name, kind in self.fields.items() if kind in kinds}

    def struct(self) -> type[msgspec.Struct]:
        """Return the type as a struct, with ``declared``, the type."""
        fields: list[Any] = [
            ("event_id", _Id | None, None),
            ("use_case", str | None, None),
            ("user_id", _Id | None, None) if self.identity else ("user_id", _Id),
        ]
        if not self.truth:
            fields.append(("event_time", str))
        for name, kind in self.fields.items():
            if kind in _OPTIONAL:
                fields.append((name, KINDS[kind], msgspec.UNSET))
            else:
                fields.append((name, KINDS[kind]))
        if self.of_kinds("birth date"):
            fields.append(("age", _Age | _Unset, msgspec.UNSET))
        return msgspec.defstruct(
            self.name,
            fields,
            tag_field="event_type",
            tag=self.name,
            gc=False,
            kw_only=True,
            namespace={"declared": self},
        )


@cache
def shared_types() -> Mapping[str, EventType]:
    text = (resources.files(__package__) / "events.toml").read_text("utf-8")
    return {
        name: EventType(name, fields) for name, fields in tomllib.loads(text).items()
    }


def with_right_types(
    use_cases: Iterable[UseCase],
) -> tuple[list[UseCase], list[UseCaseError]]:
    """
    Return the use cases that take events, and errors of those that do so wrongly.

    A use case is wrong if it takes an undeclared type, declares one a second time, or
    declares an invalid one.
    """
    wrong = []
    types = dict(shared_types())
    streamed = [use_case for use_case in use_cases if use_case.stream.events]
    for problems in (_problems_declared, _problems_taken):
        right = []
        for use_case in streamed:
            problem = next(problems(use_case, types), "")
            if problem:
                wrong.append(UseCaseError(f"usecases/{use_case.name} {problem}"))
                continue
            for name, fields in use_case.event_types.items():
                types[name] = EventType(name, fields)
            right.append(use_case)
        streamed = right
    return streamed, wrong


class Catalogue:
    """
    The event types of a deployment, and the use cases that take them.

    Attributes:
        types: By name.
        use_cases: Names of the use cases that take events.
        use_cases_by_type: Names of the use cases that take a type, by its name.
        kinds: Kinds of the fields of all types, taken or not, by the letters of their
            names; of two types the personal one. Common fields are of kind "common".
    """

    def __init__(self, use_cases: Iterable[UseCase]) -> None:
        streamed, wrong = with_right_types(use_cases)
        if wrong:
            raise wrong[0]
        if not streamed:
            raise UseCaseError("no use case takes events: name some under [stream]")
        types = dict(shared_types())
        for use_case in streamed:
            for name, fields in use_case.event_types.items():
                types[name] = EventType(name, fields)
        self.use_cases = frozenset(use_case.name for use_case in streamed)
        self.types = dict[str, EventType]()
        self.use_cases_by_type = dict[str, list[str]]()
        for use_case in streamed:
            for name in use_case.stream.events:
                self.types[name] = types[name]
                self.use_cases_by_type.setdefault(name, []).append(use_case.name)
        self.kinds = {letters_of(name): "common" for name in _COMMON}
        for event_type in types.values():
            for name, kind in event_type.fields.items():
                if self.kinds.get(letters_of(name)) not in PERSONAL:
                    self.kinds[letters_of(name)] = kind
        structs: Any = (event_type.struct() for event_type in self.types.values())
        # msgspec demands the type of an event only in a union. The nameless type makes
        # one of a single type, too.
        union = reduce(or_, structs, EventType("", {}).struct())
        self._decode = msgspec.json.Decoder(union).decode

    def types_in(self, texts: Iterable[str]) -> frozenset[str]:
        """Return the taken types that files name, or whose takers they name."""
        named = set(re.findall(r"""["'](\w+)["']""", " ".join(texts)))
        types = set[str]()
        for name, takers in self.use_cases_by_type.items():
            if name in named or not named.isdisjoint(takers):
                types.add(name)
        return frozenset(types)

    def read(self, data: bytes) -> tuple[Any, bytes]:
        """
        Return an event as a struct of its type, and its JSON with ``event_type``.

        An event that does not say its type has that whose fields it has, of the types
        with an identity.
        """
        try:
            if not data.isascii():
                data.decode()  # msgspec reads no field that is not declared
            try:
                return self._decode(data), data
            except msgspec.ValidationError as error:
                if str(error) not in _UNTYPED:
                    raise
                name = self._inferred(data)
                if not name:
                    raise
            data = with_fields(data, {"event_type": name})
            return self._decode(data), data
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self._refusal(data, error) from None

    def _inferred(self, data: bytes) -> str:
        """
        Return the type that lacks the smallest share of its fields, if that is one and
        less than half: the refusal then names the missing one. Empty without one.
        """
        fields = _decode_fields(data)
        shares = dict[str, float]()
        for name, event_type in self.types.items():
            if event_type.identity:
                required = event_type.fields.keys() - event_type.of_kinds(*_OPTIONAL)
                shares[name] = len(required - fields.keys()) / len(required)
        smallest = min(shares.values(), default=0.5)
        likely = [name for name, share in shares.items() if share == smallest < 0.5]
        return likely[0] if len(likely) == 1 else ""

    def _refusal(self, data: bytes, error: Exception) -> BadEvent:
        if not isinstance(error, msgspec.ValidationError):
            return self._malformed(data)
        text = str(error)
        at = _AT.search(text)
        field = at[1] if at else None
        if field == "event_type" and text.startswith("Invalid value"):
            return self.unknown_type(None, None)
        missing = _MISSING.match(text)
        if missing:
            return BadEvent("missing_field", "the field is missing", field=missing[1])
        if text.startswith("Expected `object`") and field is None:
            return BadEvent("malformed_json", "the event is not a JSON object")
        problem = text.partition(" - at")[0]
        for start, (reason, detail) in _REASONS.items():
            if problem.startswith(start):
                amounts = {event_type.amount for event_type in self.types.values()}
                is_amount = reason == "not_finite" and field in amounts
                return BadEvent(
                    "bad_amount" if is_amount else reason, detail, field=field
                )
        return BadEvent("wrong_type", problem, field=field)

    def _malformed(self, data: bytes) -> BadEvent:
        # JSON starts with ASCII: a zero byte there means UTF-16 or UTF-32.
        if data.startswith(_BYTE_ORDER_MARK) or b"\0" in data[:4]:
            return BadEvent("wrong_encoding", "the event is not plain UTF-8")
        try:
            # A number that JSON does not have, such as NaN, is a type.
            event = json.loads(data.decode(), parse_constant=lambda _: float)
        except UnicodeDecodeError:
            return BadEvent("wrong_encoding", "the event is not UTF-8")
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict):
            for event_type in self.types.values():
                for name in event_type.fields:
                    if event.get(name) is float:
                        why = "a number is NaN or infinite"
                        return BadEvent("not_finite", why, field=name)
        return BadEvent("malformed_json", "the event is not a JSON object")

    def unknown_type(self, use_case: str | None, event_type: str | None) -> BadEvent:
        """Return the refusal of an event that no use case takes."""
        reason = "unknown_event_type"
        field = "event_type"
        if event_type not in self.types:
            detail = (
                f"no use case accepts it. Use one of {', '.join(sorted(self.types))}"
            )
        elif use_case in self.use_cases:
            detail = "the use case does not accept events of this type"
        else:
            reason = "unknown_use_case"
            field = "use_case"
            detail = (
                f"there is none of this name. Use {', '.join(sorted(self.use_cases))}"
            )
        return BadEvent(reason, detail, field=field)


def _problems_declared(
    use_case: UseCase, types: Mapping[str, EventType]
) -> Iterator[str]:
    shared = dict[str, str]()
    for event_type in shared_types().values():
        shared |= event_type.fields
    columns = STREAM_EVENTS.types.keys()
    for name, fields in use_case.event_types.items():
        kinds = list(fields.values())
        where = f"events.{name}: "
        if name in types:
            yield f"{where}another use case has the name; rename it"
        for field, kind in fields.items():
            is_taken = field == "declared" or field in columns
            if is_taken and field not in shared:
                yield f"{where}a field cannot be named {field!r}; rename it"
            other = shared.get(field, kind).removesuffix(" or null")
            if kind.removesuffix(" or null") != other:
                yield f"{where}{field} is {kind} here, but {other} elsewhere"
            if kind in _SINGLE and kinds.count(kind) > 1:
                yield f"{where}more than one field is of kind {kind}; keep one"
        parts = {"truth", "truth time", "identity"}.intersection(kinds)
        if parts - {"identity"} and len(parts) < 3:
            yield f"{where}an outcome needs identity, truth and truth time"


def _problems_taken(use_case: UseCase, types: Mapping[str, EventType]) -> Iterator[str]:
    undeclared = sorted(set(use_case.stream.events) - set(types))
    if undeclared:
        yield (
            f"stream.events names {', '.join(undeclared)}, which no usecase.toml "
            "declares"
        )
    for name in use_case.stream.scored:
        if name not in use_case.stream.events or not types[name].identity:
            yield (
                f"stream.scored names {name}, which must be among stream.events and "
                "have a field of kind identity"
            )
        missing = use_case.features.keys() - types[name].of_kinds("numeral")
        if missing:
            yield (
                f"stream.scored names {name}, which lacks the numerals "
                f"{', '.join(sorted(missing))}"
            )
