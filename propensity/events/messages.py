"""
Messages: from the push that brings one, and as a dead letter if it can be no event.

A dead letter is kept for seven days, so that it can be sent again once the cause is
mended. That needs the values of declared fields alone, and of those no name, street
address or birth date: the row of an event has only the age, which takes the place of
the birth date. Any other field, such as a misspelt one or an envelope, could hold a
person's name in any form, so that its value is not kept. A message that is no JSON
object can never become an event: of it only the size is kept.

Source: https://cloud.google.com/pubsub/docs/push
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from propensity import timeframe
from propensity.errors import RequestError
from propensity.events.values import EARLIEST, Refused, age_at, letters_of
from propensity.tables.stream import DEAD_LETTERS

# The largest message that Pub/Sub takes is 10 MB; base64 and the envelope add a third.
MAXIMUM_BODY_BYTES = 15 * 1024**2
# A larger event is a dead letter, of which nothing is kept but its size.
MAXIMUM_EVENT_BYTES = 256 * 1024

# Stands for a personal value of a dead letter.
REMOVED = "(removed)"

UTC_TIME = pa.timestamp("us", "UTC")
# Neither Python nor BigQuery knows a later time.
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)


class Message(msgspec.Struct, frozen=True, gc=False):
    """
    A message of Pub/Sub.

    ``problem`` says why its payload could not be decoded; ``data`` is then the payload
    as it arrived, and empty if that is too large: ``dropped`` has its size in bytes.
    ``published_at`` is in ISO 8601, empty if unknown.
    """

    data: bytes
    message_id: str
    attributes: Mapping[str, str] = {}
    published_at: str = ""
    problem: Refused | None = None
    dropped: int = 0


class _Pushed(msgspec.Struct, gc=False, rename="camel"):
    data: str | None = None
    message_id: str | None = None
    publish_time: str | None = None
    attributes: dict[str, str] | None = None


class _Body(msgspec.Struct, gc=False):
    message: _Pushed | None = None


_FIELD = re.compile(r"at `\$\.([^`]*)`$")
_decode = msgspec.json.Decoder(_Body).decode


def message(body: bytes, *, maximum_bytes: int = MAXIMUM_EVENT_BYTES) -> Message:
    """
    Return the message in the body of a push.

    Raises:
        RequestError: It is not a push; the error names the field at fault. For a
            payload that is too large or not base64, ``problem`` is set instead.
    """
    try:
        pushed = _decode(body).message
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        field = _FIELD.search(str(error))
        raise RequestError(
            "the body is not a push of Pub/Sub",
            field=field[1] if field else "body",
        ) from error
    if pushed is None:
        raise RequestError("the body has no message of Pub/Sub", field="message")
    if not pushed.message_id:
        raise RequestError("the message has no id", field="message.messageId")
    text, problem, dropped = pushed.data or "", None, 0
    size = len(text) // 4 * 3 - text[-2:].count("=")
    if size > maximum_bytes:
        data, dropped = b"", size
        problem = Refused("too_large", f"over {maximum_bytes} bytes")
    else:
        try:
            data = binascii.a2b_base64(text, strict_mode=True)
        except ValueError:
            data = text.encode()
            problem = Refused("wrong_encoding", "the payload is not base64")
    return Message(
        data,
        pushed.message_id,
        pushed.attributes or {},
        pushed.publish_time or "",
        problem,
        dropped,
    )


def receipt(messages: Sequence[Message], received_at: datetime) -> dict[str, object]:
    """Return the columns that name each row's message, and when it arrived."""
    day = pa.scalar(received_at.date(), pa.date32())
    return {
        "message_id": [message.message_id for message in messages],
        "published_at": published(messages),
        "received_at": pa.repeat(pa.scalar(received_at, UTC_TIME), len(messages)),
        "received_on": pa.repeat(day, len(messages)),
    }


def published(messages: Iterable[Message]) -> pa.Array:
    """Return when messages were published; null where no sensible time is known."""
    times = times_of([message.published_at for message in messages])
    makes_sense = pc.and_(pc.greater(times, EARLIEST), pc.less(times, _LATEST))
    return pc.if_else(makes_sense, times, None)


def times_of(texts: Sequence[str]) -> pa.Array:
    """Return times; null for a text that is none."""
    try:
        return pa.array(texts, pa.string()).cast(UTC_TIME)
    except pa.ArrowInvalid:  # one of them is written otherwise, or is none
        return pa.array([_moment_or_none(text) for text in texts], UTC_TIME)


def _moment_or_none(text: str) -> datetime | None:
    try:
        return timeframe.moment_of(text)
    except ValueError:
        return None


# -- dead letters ----------------------------------------------------------------------


def redacted(data: bytes, kinds: Mapping[str, str]) -> bytes | None:
    """
    Return a message with the values of its declared fields that are not personal.

    A message that has no others stays the same bytes; of any other one numbers do.

    Args:
        kinds: Kinds of the declared fields, by the letters of their names.

    Returns:
        None for a message that is no JSON object, or has a name twice in one.
    """
    try:
        fields = _parsed(data.decode("utf-8-sig"))
        if not isinstance(fields, dict):
            return None
        left = _declared(fields, kinds)
        return data if left == fields else msgspec.json.encode(left)
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
    left: dict[str, Any] = {}
    for name, value in fields.items():
        kind = kinds.get(letters_of(name), "")
        if kind == "birth date":
            age = _age(fields.get("event_time"), value)
            if age is not None:
                left["age"] = age
                continue
        is_kept = kind not in ("", "personal", "birth date")
        if is_kept and not isinstance(value, dict | list):
            left.setdefault(name, value)
        else:
            left[name] = REMOVED
    return left


def _age(event_time: Any, born: Any) -> int | None:
    """Return the age at an event; None if it is unknown."""
    try:
        moment = timeframe.moment_of(event_time)
        return age_at(timeframe.day_of(born), moment, field="age")
    except (Refused, AttributeError, TypeError, ValueError):
        return None


def dead_letters(
    messages: Sequence[Message],
    refused: Mapping[int, Refused],
    *,
    received_at: datetime,
    kinds: Mapping[str, str],
) -> pa.RecordBatch:
    """
    Return rows of ``dead_letters``: refused messages, without personal values.

    Args:
        refused: The reasons, by place in ``messages``.
        kinds: As of ``redacted``.
    """
    letters = [messages[place] for place in refused]
    attributes = [_declared(one.attributes, kinds) for one in letters]
    columns: dict[str, object] = {
        "raw": [redacted(one.data, kinds) for one in letters],
        "raw_size": [one.dropped or len(one.data) for one in letters],
        "attributes": [msgspec.json.encode(own).decode() for own in attributes],
        **receipt(letters, received_at),
    }
    for name in ("reason", "field", "detail"):
        columns[name] = [getattr(refusal, name) for refusal in refused.values()]
    return DEAD_LETTERS.batch(columns, len(letters))
