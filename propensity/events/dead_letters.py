"""
Dead letters: messages that can never be events, without personal values.

A dead letter is kept for seven days, so that it can be sent again once the cause is
mended. That needs no name, street address or birth date: the row of an event has only
the age, which takes the place of the birth date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec
import pyarrow as pa

from propensity import timeframe
from propensity.events.messages import Message
from propensity.events.rows import batch_of, receipt
from propensity.events.values import Refused, age_at
from propensity.tables.stream import DEAD_LETTERS

REMOVED = "(removed)"

# A larger row would not fit in one append.
MAXIMUM_RAW_BYTES = 4 * 1024**2

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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
    for name in names:
        born = fields[name]
        fields[name] = REMOVED
        if personal[name] == "birth date" and "event_time" in fields:
            try:
                birth = msgspec.json.decode(born, type=date)
                moment = msgspec.json.decode(fields["event_time"], type=str)
                fields["age"] = age_at(birth, timeframe.moment_of(moment), field=name)
                del fields[name]
            except (Refused, msgspec.MsgspecError, ValueError):
                continue  # it has no age that could be told
    return msgspec.json.encode(fields)


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
    letters = [messages[place] for place in refused]
    reasons = refused.values()
    columns: dict[str, Any] = {
        "reason": [refusal.reason for refusal in reasons],
        "field": [refusal.field for refusal in reasons],
        "detail": [refusal.detail for refusal in reasons],
        "raw": [redacted(one.data[:MAXIMUM_RAW_BYTES], personal) for one in letters],
        "raw_size": [len(one.data) for one in letters],
        "attributes": [msgspec.json.encode(o.attributes).decode() for o in letters],
        **receipt(letters, received_at),
    }
    return batch_of(DEAD_LETTERS, columns, len(letters))
