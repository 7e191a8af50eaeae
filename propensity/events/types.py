"""
Event types: what kinds of fields an event has, and the struct that it is decoded by.

``events.toml`` declares the types that use cases share, a ``usecase.toml`` those of its
own. A type becomes one msgspec struct. An amount is kept as the digits that were sent:
a float in between would decide what a cent is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Annotated, Any

import msgspec

from propensity.events.values import MAXIMUM_TEXT_CHARACTERS
from propensity.ids import MAXIMUM_ID_CHARACTERS, NAME

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_ID_CHARACTERS)]
_Text = Annotated[str, msgspec.Meta(max_length=MAXIMUM_TEXT_CHARACTERS)]
_Unset = msgspec.UnsetType


@dataclass(frozen=True)
class Kind:
    """
    A kind of fields; ``events.toml`` says what each means.

    Attributes:
        type: As msgspec decodes it.
        is_optional: An event may come without it.
        is_single: A type has one such field at most: it has a column of its own.
        is_personal: It is not stored unless the deployment keeps personal fields.
    """

    type: Any
    is_optional: bool = False
    is_single: bool = False
    is_personal: bool = False


KINDS: Mapping[str, Kind] = {
    "text": Kind(_Text),
    "text or null": Kind(_Text | None),
    "personal": Kind(_Text | _Unset, is_optional=True, is_personal=True),
    "birth date": Kind(
        date | _Unset, is_optional=True, is_single=True, is_personal=True
    ),
    "amount": Kind(msgspec.Raw, is_single=True),
    "number": Kind(msgspec.Raw),
    "label": Kind(int | bool | _Unset | None, is_optional=True, is_single=True),
    "identity": Kind(_Id | int, is_single=True),
    "numeral": Kind(float | str),
    "instant": Kind(msgspec.Raw, is_optional=True),
    "truth": Kind(bool | int | str, is_single=True),
    "truth time": Kind(str, is_single=True),
}
PERSONAL = tuple(name for name, kind in KINDS.items() if kind.is_personal)

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
        """The field of kind "identity": the event's id, and its user's."""
        return next(iter(self.of_kind("identity")), None)

    @cached_property
    def truth(self) -> tuple[str, ...]:
        """The fields of a truth and of its time; none if the type has no truth."""
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

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The fields that every event of the type has, but for its identity."""
        return tuple(
            name
            for name, kind in self.fields.items()
            if kind != "identity" and not KINDS[kind].is_optional
        )

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
                made.append(("amount", KINDS[kind].type, msgspec.field(name=name)))
            elif KINDS[kind].is_optional:
                late.append((name, KINDS[kind].type, msgspec.UNSET))
            else:
                made.append((name, KINDS[kind].type))
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
        made = types[name] = EventType(name=name, fields=dict(fields))
        if made.identity and not made.required:
            raise ValueError(f"{name}: no field but its identity is required of it")
        if made.truth and not (made.identity and len(made.truth) == 2):
            raise ValueError(f"{name}: a truth has an identity, a truth and its time")
    return types
