"""
Dead letters: messages that can never be events, without personal values.

A dead letter is kept for seven days, so that it can be sent again once the cause is
mended. That needs no name, street address or birth date: the row of an event has only
the age, which takes the place of the birth date. A message that is no JSON object could
hold a name anywhere, and can never become an event: of it only the size is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from propensity import timeframe
from propensity.events.messages import Message
from propensity.events.rows import batch_of, receipt
from propensity.events.values import Refused, age_at
from propensity.tables.stream import DEAD_LETTERS

REMOVED = "(removed)"


def redacted(data: bytes, personal: Mapping[str, str]) -> bytes | None:
    """
    Return a message without the values of its personal fields, wherever they are.

    A message without such fields stays the same bytes; of any other one numbers do.

    Args:
        data: The message.
        personal: Kinds of the personal fields, by name.

    Returns:
        None for a message that is no JSON object, or has a name twice in one.
    """
    try:
        fields = _parsed(data.decode("utf-8-sig"))
        if not isinstance(fields, dict):
            return None
        left = _without(fields, _by_letters(personal))
        return data if left == fields else msgspec.json.encode(left)
    except (ValueError, RecursionError):
        return None


def _letters(name: str) -> str:
    """Return a field's name as producers may spell it: dateOfBirth is date_of_birth."""
    return "".join(filter(str.isalnum, name)).lower()


def _by_letters(personal: Mapping[str, str]) -> dict[str, str]:
    return {_letters(name): kind for name, kind in personal.items()}


def _parsed(text: str) -> Any:
    """Return JSON, which may have NaN; numbers stay as they are written."""

    def raw(number: str) -> msgspec.Raw:
        return msgspec.Raw(number.encode())

    return json.loads(
        text,
        parse_float=raw,
        parse_int=raw,
        parse_constant=raw,
        object_pairs_hook=_each_once,
    )


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name is there twice")  # one of its values would not be seen
    return fields


def _without(value: Any, kinds: Mapping[str, str]) -> Any:
    """Return a value of JSON without personal fields, at any depth."""
    if isinstance(value, list):
        return [_without(one, kinds) for one in value]
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        return _without_in_text(value, kinds)
    if not isinstance(value, dict):
        return value
    left: dict[str, object] = {}
    for name, one in value.items():
        kind = kinds.get(_letters(name))
        age = _age(value, one) if kind == "birth date" else None
        if age is not None:
            left["age"] = age
        elif kind:
            left[name] = REMOVED
        elif name not in left:
            left[name] = _without(one, kinds)
    return left


def _without_in_text(text: str, kinds: Mapping[str, str]) -> str:
    """Return a text that is JSON itself, as of programs that encode an event twice."""
    try:
        inner = _parsed(text)
    except ValueError:
        return text
    left = _without(inner, kinds)
    return text if left == inner else msgspec.json.encode(left).decode()


def _age(fields: Mapping[str, Any], born: Any) -> int | None:
    """Return the age at an event; None if it is unknown."""
    try:
        moment = timeframe.moment_of(fields["event_time"])
        return age_at(timeframe.day_of(born), moment, field="age")
    except (Refused, AttributeError, KeyError, TypeError, ValueError):
        return None


def dead_letters(
    messages: Sequence[Message],
    refused: Mapping[int, Refused],
    *,
    received_at: datetime,
    personal: Mapping[str, str],
) -> pa.RecordBatch:
    """
    Return rows of ``dead_letters``: refused messages, without personal values.

    Args:
        messages: Of the group.
        refused: The reasons, by place in ``messages``.
        received_at: Now, in UTC.
        personal: Kinds of the personal fields, by name.
    """
    kinds = _by_letters(personal)
    letters = [messages[place] for place in refused]
    attributes = [_without({**one.attributes}, kinds) for one in letters]
    reasons = refused.values()
    columns: dict[str, object] = {
        "reason": [refusal.reason for refusal in reasons],
        "field": [refusal.field for refusal in reasons],
        "detail": [refusal.detail for refusal in reasons],
        "raw": [redacted(one.data, personal) for one in letters],
        "raw_size": [one.dropped or len(one.data) for one in letters],
        "attributes": [msgspec.json.encode(own).decode() for own in attributes],
        **receipt(letters, received_at),
    }
    return batch_of(DEAD_LETTERS, columns, len(letters))
