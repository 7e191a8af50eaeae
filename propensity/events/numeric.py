"""
Events whose fields are numbers: their further fields as JSON, for a batch at once.

A number that was written as a number needs no parser of its own, and most instants are
written in one way. An event with any other value is left to the parsers of ``values``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from propensity.events.values import EARLIEST

# An instant as JSON in the usual format, to the millisecond in UTC.
_USUAL = re.compile(
    rb'"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3})Z"'
)
_encode_lines = msgspec.json.Encoder().encode_lines


def numeric_attributes(
    events: Sequence[Any], rows: Sequence[int], latest: datetime
) -> tuple[list[str | None], list[int]]:
    """
    Return the further fields of events as JSON.

    Args:
        events: Of a batch.
        rows: Of the events with more than an amount.
        latest: A later instant makes no sense.

    Returns:
        A text for each event of the batch, null where there is none; and the rows whose
        event must be parsed by itself.
    """
    fields: list[str | None] = [None] * len(events)
    alone, parsed, objects = [], [], []
    for row in rows:
        event = events[row]
        if (numeric := event.numeric) is not None:
            numbers = numeric.numbers_of(event)
            try:
                total = sum(numbers)
                instants = [
                    _instant(getattr(event, name), latest) for name in numeric.instants
                ]
            except (TypeError, ValueError):
                pass  # a number in a text, or an unusual instant
            else:
                # Of a number that is not finite no sum is.
                if total - total == 0:
                    parsed.append(row)
                    objects.append(numeric.attributes(*numbers, *instants))
                    continue
        alone.append(row)
    lines = _encode_lines(objects).decode().split("\n")
    for row, line in zip(parsed, lines, strict=False):
        fields[row] = line
    return fields, alone


def _instant(raw: Any, latest: datetime) -> Any:
    """
    Return an instant in ISO 8601; UNSET without one.

    Raises:
        ValueError: It is not in the usual format, or out of range.
    """
    if raw is msgspec.UNSET:
        return raw
    match = _USUAL.fullmatch(raw)
    if match is None:
        raise ValueError("an unusual format")
    text = str(match[1], "ascii")
    moment = datetime.fromisoformat(f"{text}+00:00")
    if not EARLIEST <= moment <= latest:
        raise ValueError("out of range")
    if text.endswith(".000"):
        return f"{text[:-4]}+00:00"
    return f"{text}000+00:00"
