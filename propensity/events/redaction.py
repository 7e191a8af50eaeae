"""
Redaction: dead letters without personal values.

A dead letter is kept for seven days, so that it can be sent again once the cause is
mended. That needs no name, street address or birth date: the row of an event has only
the age, which takes the place of the birth date.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from propensity.events.types import PERSONAL
from propensity.events.values import Refused, age_at, moment_of

REMOVED = "(removed)"

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_date = msgspec.json.Decoder(date).decode


def redacted(data: bytes, personal: Mapping[str, str]) -> bytes:
    """
    Return a message without the values of its personal fields.

    A message without such fields, or that is no JSON object, stays the same bytes.

    Args:
        data: The message.
        personal: Kinds of the personal fields, by name.
    """
    try:
        fields: dict[str, Any] = _decode_fields(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return data
    names = fields.keys() & personal.keys()
    if not names:
        return data
    age = _age(fields, personal)
    for name in names:
        if personal[name] == "birth date" and age is not None:
            del fields[name]
            fields["age"] = age
        else:
            fields[name] = REMOVED
    return msgspec.json.encode(fields)


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


def personal_fields(types: Mapping[str, Any]) -> dict[str, str]:
    """Return the personal fields of event types, and their kinds."""
    return {
        name: kind
        for event_type in types.values()
        for name, kind in event_type.fields.items()
        if kind in PERSONAL
    }
