"""
Dead letters: what is kept of a message that can be no event.

A dead letter is kept for seven days, so that it can be sent again once the cause is
mended. That needs the values of declared fields alone, and of those no name, street
address or birth date: the row of an event has only the age, which takes the place of
the birth date. Any other field, such as a misspelt one or an envelope, could hold a
person's name in any form, so that its value is not kept, and of its own name only what
a producer's code would have: letters, with _ or - between them. A message that is no
JSON object can never become an event: of it only the size is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from propensity import timeframe
from propensity.streaming.events.messages import Message, receipt
from propensity.streaming.events.values import BadEvent, age_at, letters_of
from propensity.tables.stream import DEAD_LETTERS

# Stands for a personal value of a dead letter.
REMOVED = "(removed)"

NAME = re.compile(r"[A-Za-z][A-Za-z_-]{0,63}")


def redacted(data: bytes, kinds: Mapping[str, str]) -> bytes | None:
    """
    Return a message with the values of its declared fields that are not personal.

    A message that has no others stays the same bytes; of any other one numbers do. An
    undeclared name that is an address or a number goes with its value.

    Args:
        kinds: Kinds of the declared fields, by the letters of their names.

    Returns:
        None for a message that is no JSON object, or has a name twice in one.
    """
    try:
        fields = _parsed(data.decode("utf-8-sig"))
        if not isinstance(fields, dict):
            return None
        kept = _declared(fields, kinds)
        return data if kept == fields else msgspec.json.encode(kept)
    except (ValueError, RecursionError):
        return None


def _parsed(text: str) -> Any:
    """Return JSON, which may have NaN; numbers stay as they are written."""

    def raw(number: str) -> msgspec.Raw:
        return msgspec.Raw(number.encode())

    return json.loads(
        text,
        parse_float=raw,
        parse_int=raw,
        parse_constant=raw,
        object_pairs_hook=_reject_duplicates,
    )


def _reject_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name appears twice")  # one of its values would not be seen
    return fields


def _declared(fields: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return fields, of which those that are declared keep a value of one piece."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        kind = kinds.get(letters_of(name), "")
        if kind == "birth date":
            age = _age(fields.get("event_time"), value)
            if age is not None:
                kept["age"] = age
                continue
        is_kept = kind not in ("", "personal", "birth date")
        if is_kept and not isinstance(value, dict | list):
            kept.setdefault(name, value)
        else:
            is_name = kind != "" or NAME.fullmatch(name) is not None
            kept[name if is_name else REMOVED] = REMOVED
    return kept


def _age(event_time: Any, born: Any) -> int | None:
    """Return the age at an event; None if it is unknown."""
    try:
        moment = timeframe.moment_of(event_time)
        return age_at(timeframe.day_of(born), moment, field="age")
    except (BadEvent, AttributeError, TypeError, ValueError):
        return None


def dead_letters(
    messages: Sequence[Message],
    refused: Mapping[int, BadEvent],
    *,
    received_at: datetime,
    kinds: Mapping[str, str],
) -> pa.RecordBatch:
    """Return rows of ``dead_letters``: refused messages, without personal values."""
    letters = [messages[index] for index in refused]
    attributes = [_declared(letter.attributes, kinds) for letter in letters]
    columns: dict[str, object] = {
        "raw": [redacted(letter.data, kinds) for letter in letters],
        "raw_size": [letter.size for letter in letters],
        "attributes": [msgspec.json.encode(fields).decode() for fields in attributes],
        **receipt(letters, received_at),
    }
    for name in ("reason", "field", "detail"):
        columns[name] = [getattr(refusal, name) for refusal in refused.values()]
    return DEAD_LETTERS.batch(columns, len(letters))
