"""
Redaction: dead letters without personal values.

A dead letter is stored as it came, so that it can be sent again once the cause is
mended. That needs no name, street address or birth date: the row of an event has only
the age, which takes the place of the birth date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any

import msgspec

from propensity.events.types import PERSONAL
from propensity.events.values import Refused, age_at, moment_of
from propensity.privacy.wrapped import MAXIMUM_LAYERS, unwrapped

REMOVED = "(removed)"

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_date = msgspec.json.Decoder(date).decode


def redacted(
    data: bytes, personal: Mapping[str, str], *, layers: int = MAXIMUM_LAYERS
) -> bytes:
    """
    Return a message without the values of its personal fields.

    A message without such fields stays the same bytes. In a message that is not JSON,
    text that looks like such a field is redacted, also within what is packed. What is
    packed and cannot be read, or stands behind it, is left out: no search for a user
    would find it either.

    Args:
        data: The message.
        personal: Kinds of the personal fields, by name.
        layers: How often it may be packed.
    """
    if layers and (wrapped := unwrapped(data)) is not None:
        left = redacted(wrapped.inner, personal, layers=layers - 1)
        is_same = left == wrapped.inner and wrapped.is_whole
        return data if is_same else wrapped.wrap(left)
    if not personal:
        return data
    try:
        fields: dict[str, Any] = _decode_fields(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        fields = {}
    if names := fields.keys() & personal.keys():
        age = _age(fields, personal)
        for name in names:
            if personal[name] == "birth date" and age is not None:
                del fields[name]
                fields["age"] = age
            else:
                fields[name] = REMOVED
        data = msgspec.json.encode(fields)
    pattern = _pattern(tuple(sorted(personal)))
    text = data
    if b"\0" in data and pattern.search(data.replace(b"\0", b"")):
        # UTF-16 and UTF-32 have their ASCII between zero bytes.
        text = data.replace(b"\0", b"")
    return pattern.sub(rb'\1"' + REMOVED.encode() + b'"', text)


def _age(fields: Mapping[str, Any], personal: Mapping[str, str]) -> int | None:
    """Return the age in the row of a registration, None if unknown."""
    for name, kind in personal.items():
        if kind == "birth date" and name in fields:
            try:
                moment = moment_of(_decode_text(fields["event_time"]))
                return age_at(_decode_date(fields[name]), moment, field=name)
            except (KeyError, Refused, msgspec.MsgspecError, ValueError):
                return None
    return None


@cache
def _pattern(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return a pattern for the values of fields: texts, complete or cut, and others."""
    # A field that is missing may be there as "Name" or "dateOfBirth".
    every = "|".join(re.escape(name).replace("_", "[_ -]?") for name in names)
    # JSON within a string has backslashes before its quotes; their number is bounded,
    # so that each byte is read a few times only.
    quote = r"""(?<!\\)\\{0,8}["']"""
    text = rf"({quote}(?:{every})\\{{0,8}}[\"']\s*+[:=]\s*+)"
    value = (
        rf'(?!\\{{0,8}}"{re.escape(REMOVED)})'
        r'(?:"(?:[^"\\]|\\.)*+"?|\\{1,8}"(?:(?!\\{1,8}").)*+(?:\\{1,8}")?'
        r"|'[^']*+'?|[^,}\]\s]++)"
    )
    return re.compile((text + value).encode(), re.DOTALL | re.IGNORECASE)


def personal_fields(types: Mapping[str, Any]) -> dict[str, str]:
    """Return the personal fields of event types, and their kinds."""
    return {
        name: kind
        for event_type in types.values()
        for name, kind in event_type.fields.items()
        if kind in PERSONAL
    }
