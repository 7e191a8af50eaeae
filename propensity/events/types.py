"""
Event types: their fields by kind, and the structs that decode their events.

``events.toml`` declares the types that use cases share, a ``usecase.toml`` those of its
own. A type becomes one msgspec struct.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Annotated, Any

import msgspec

from propensity.events.values import MAXIMUM_TEXT_CHARACTERS
from propensity.ids import INEXACT, MAXIMUM_ID_CHARACTERS, NAME

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_ID_CHARACTERS)]
_WholeId = Annotated[int, msgspec.Meta(gt=-INEXACT, lt=INEXACT)]
_Text = Annotated[str, msgspec.Meta(max_length=MAXIMUM_TEXT_CHARACTERS)]
_Unset = msgspec.UnsetType


@dataclass(frozen=True)
class Kind:
    """
    A kind of fields; ``events.toml`` says what each means.

    Attributes:
        type: For msgspec.
        is_optional: An event may lack it.
        is_single: A type has at most one such field, since it has a column of its own.
        is_personal: It is not stored.
    """

    type: Any
    is_optional: bool = False
    is_single: bool = False
    is_personal: bool = False


# Amounts keep their digits: a float would round their cents.
KINDS: Mapping[str, Kind] = {
    "text": Kind(_Text),
    "text or null": Kind(_Text | None),
    "personal": Kind(_Text | _Unset, is_optional=True, is_personal=True),
    "birth date": Kind(
        date | _Unset, is_optional=True, is_single=True, is_personal=True
    ),
    "amount": Kind(msgspec.Raw, is_single=True),
    "number": Kind(float),
    "label": Kind(int | bool | _Unset | None, is_optional=True, is_single=True),
    "identity": Kind(_Id | _WholeId, is_single=True),
    "numeral": Kind(float | str),
    "instant": Kind(msgspec.Raw, is_optional=True),
    "truth": Kind(bool | int | str, is_single=True),
    "truth time": Kind(str, is_single=True),
}
PERSONAL = tuple(name for name, kind in KINDS.items() if kind.is_personal)

_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")

# Fields of every event, fields of its enrichment, and attributes of the structs.
_RESERVED = frozenset(
    {
        *("user_id", "event_type", "event_time", "event_id", "use_case"),
        *("age", "socioeconomic_idx", "attributes", "declared", "is_tagged"),
    }
)

# Allowed kinds of the fields with a column of their own, and of those that dead letters
# lose by their name.
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


@dataclass(frozen=True, kw_only=True)
class EventType:
    """
    A type of events; ``fields`` maps its fields, but for the common ones, to kinds.
    """

    name: str
    fields: Mapping[str, str]

    @cached_property
    def amount(self) -> str | None:
        """The field of kind "amount", None without one."""
        return next(iter(self.of_kind("amount")), None)

    @cached_property
    def identity(self) -> str | None:
        """The field of kind "identity": the event's id, and its user's."""
        return next(iter(self.of_kind("identity")), None)

    @cached_property
    def truth(self) -> tuple[str, ...]:
        """The fields of a truth and of its time; empty if the type has no truth."""
        return (*self.of_kind("truth"), *self.of_kind("truth time"))

    @cached_property
    def time(self) -> str:
        """The field that says when it happened, or that its truth was found out."""
        return self.truth[1] if self.truth else "event_time"

    @cached_property
    def numerals(self) -> tuple[str, ...]:
        """The fields of kind "numeral"."""
        return self.of_kind("numeral")

    @cached_property
    def instants(self) -> tuple[str, ...]:
        """The fields of kind "instant"."""
        return self.of_kind("instant")

    @cached_property
    def details(self) -> tuple[tuple[str, str], ...]:
        """The other fields that are stored, and their kinds."""
        others = {"amount", "identity", "numeral", "instant", "truth", "truth time"}
        return tuple((f, kind) for f, kind in self.fields.items() if kind not in others)

    @cached_property
    def has_only_amount(self) -> bool:
        """Whether nothing but an amount is stored of its own fields."""
        return not (self.details or self.numerals or self.instants)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The fields that an event of the type must have."""
        return tuple(
            name for name, kind in self.fields.items() if not KINDS[kind].is_optional
        )

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Return the fields of a kind."""
        return tuple(name for name, one in self.fields.items() if one == kind)

    def struct(self, *, is_tagged: bool = True) -> type[msgspec.Struct]:
        """
        Return the type as a struct, with ``declared``, the type, and ``is_tagged``.

        Args:
            is_tagged: Whether its events say their type, in ``event_type``.
        """
        required: list[Any] = []
        optional: list[Any] = [
            ("event_id", _Id | None, None),
            ("use_case", str | None, None),
        ]
        if self.identity is None:
            required.append(("user_id", _Id))
        else:
            optional.append(("user_id", _Id | None, None))
        for name, kind in self.fields.items():
            if KINDS[kind].is_optional:
                optional.append((name, KINDS[kind].type, msgspec.UNSET))
            else:
                required.append((name, KINDS[kind].type))
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
            namespace={"declared": self, "is_tagged": is_tagged},
        )


def types_of(tables: Mapping[str, Mapping[str, str]]) -> dict[str, EventType]:
    """
    Return the event types of a TOML document's tables, by name.

    Raises:
        ValueError: A name or a kind is invalid, or two fields would share a column.
    """
    types = {}
    for name, fields in tables.items():
        if not NAME.fullmatch(name) or not isinstance(fields, Mapping):
            raise ValueError(f"{name!r}: an event type is a table named like new_bet")
        for field, kind in fields.items():
            if kind not in KINDS:
                raise ValueError(
                    f"{name}: fields are one of {sorted(KINDS)}: {field} is {kind!r}"
                )
            if field in _RESERVED or not _FIELD.fullmatch(field):
                raise ValueError(f"{name}: no field can be named {field!r}")
            if kind not in _COLUMN_KINDS.get(field, KINDS):
                raise ValueError(
                    f"{name}: {field} is {' or '.join(_COLUMN_KINDS[field])} "
                    f"everywhere, not {kind}"
                )
        for kind, about in KINDS.items():
            if about.is_single and list(fields.values()).count(kind) > 1:
                raise ValueError(f"{name}: more than one field is of kind {kind}")
        event_type = types[name] = EventType(name=name, fields=dict(fields))
        if event_type.identity and event_type.required == (event_type.identity,):
            raise ValueError(f"{name}: no field but its identity is required of it")
        if event_type.truth and not (
            event_type.identity and len(event_type.truth) == 2
        ):
            raise ValueError(f"{name}: a truth has an identity, a truth and its time")
    return types
