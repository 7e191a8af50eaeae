"""
Messages that were refused, without what they say of a person that nothing needs.

A dead letter is kept as it came, so that it can be sent again once what was wrong is
mended. A name, a street address or a birth date need not be kept for that: the age is
what comes of them, and it is put in the birth date's place.
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

REMOVED = "(removed)"

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_date = msgspec.json.Decoder(date).decode


def redacted(data: bytes, personal: Mapping[str, str]) -> bytes:
    """
    Return a message without the values of its personal fields.

    One without such fields is returned as it is, to the byte. One that is no JSON is
    searched for what looks like such a field.

    Args:
        data: As it came.
        personal: Kind, of ``PERSONAL``, by the name of the field.
    """
    if not personal:
        return data
    try:
        fields: dict[str, Any] = _decode_fields(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        fields = {}
    if found := fields.keys() & personal.keys():
        age = _age(fields, personal)
        for name in found:
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
    """Return the age that a registration would be stored with, None where unknown."""
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
    """Return what finds a field's value, be it a text, its beginning or none."""
    every = "|".join(map(re.escape, names))
    # Whatever is quoted once more has backslashes before its quotes; how many is
    # bounded, so that each byte is looked at a few times only.
    quote = r"""(?<!\\)\\{0,8}["']"""
    text = rf"({quote}(?:{every})\\{{0,8}}[\"']\s*+[:=]\s*+)"
    value = (
        rf'(?!\\{{0,8}}"{re.escape(REMOVED)})'
        r'(?:"(?:[^"\\]|\\.)*+"?|\\{1,8}"(?:(?!\\{1,8}").)*+(?:\\{1,8}")?'
        r"|'[^']*+'?|[^,}\]\s]++)"
    )
    return re.compile((text + value).encode(), re.DOTALL)


def personal_fields(types: Mapping[str, Any]) -> dict[str, str]:
    """Return the personal fields of event types, and their kinds."""
    return {
        name: kind
        for one in types.values()
        for name, kind in one.fields.items()
        if kind in PERSONAL
    }
