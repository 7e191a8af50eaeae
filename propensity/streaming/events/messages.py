"""
Messages: what a push of Pub/Sub brings, and when it was published.

Source: https://cloud.google.com/pubsub/docs/push
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from propensity import timeframe
from propensity.errors import RequestError
from propensity.streaming.events.values import EARLIEST, BadEvent

# The largest message that Pub/Sub takes is 10 MB; base64 and the envelope add a third.
MAXIMUM_BODY_BYTES = 15 * 1024**2
# A larger event is a dead letter, of which nothing is kept but its size.
MAXIMUM_EVENT_BYTES = 256 * 1024

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
    problem: BadEvent | None = None
    dropped: int = 0

    @property
    def size(self) -> int:
        """Bytes of the payload as it arrived."""
        return self.dropped if self.dropped else len(self.data)


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
    text = "" if pushed.data is None else pushed.data
    attributes = {} if pushed.attributes is None else pushed.attributes
    published_at = "" if pushed.publish_time is None else pushed.publish_time
    problem = None
    dropped = 0
    size = len(text) // 4 * 3 - text[-2:].count("=")
    if size > maximum_bytes:
        data = b""
        dropped = size
        problem = BadEvent("too_large", f"over {maximum_bytes} bytes")
    else:
        try:
            data = binascii.a2b_base64(text, strict_mode=True)
        except ValueError:
            data = text.encode()
            problem = BadEvent("wrong_encoding", "the payload is not base64")
    return Message(
        data,
        pushed.message_id,
        attributes,
        published_at,
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
    times = parse_times([message.published_at for message in messages])
    makes_sense = pc.and_(pc.greater(times, EARLIEST), pc.less(times, _LATEST))
    return pc.if_else(makes_sense, times, None)


def parse_times(texts: Sequence[str]) -> pa.Array:
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
