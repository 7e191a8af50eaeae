"""
Messages from the pushes of Pub/Sub.

A message comes in one of three envelopes: a CloudEvent in binary mode or in structured
mode, as Eventarc delivers them, or the plain push of a subscription. They are parsed
here, since the CloudEvents library takes ten times as long as the event itself.

Sources: https://cloud.google.com/pubsub/docs/push and
https://cloud.google.com/eventarc/docs/cloudevents
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

import msgspec

from propensity.errors import RequestError
from propensity.events.values import Refused

# The largest message that Pub/Sub takes is 10 MB; base64 and the envelope add a third.
MAXIMUM_BODY_BYTES = 15 * 1024**2


class Message(msgspec.Struct, frozen=True, gc=False):
    """
    A message of Pub/Sub.

    ``problem`` says why its payload could not be decoded; ``data`` is then the payload
    as it came. ``published_at`` is in ISO 8601, empty if unknown.
    """

    data: bytes
    message_id: str
    attributes: Mapping[str, str] = {}
    published_at: str = ""
    problem: Refused | None = None


class _Pushed(msgspec.Struct, gc=False, rename="camel"):
    data: str | None = None
    message_id: str | None = None
    publish_time: str | None = None
    attributes: dict[str, str] | None = None
    snake_id: str | None = msgspec.field(default=None, name="message_id")
    snake_time: str | None = msgspec.field(default=None, name="publish_time")


class _Body(msgspec.Struct, gc=False):
    """A push, or a structured CloudEvent around one."""

    message: _Pushed | None = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


_PLACE = re.compile(r"at `\$\.([^`]*)`$")
_decode_body = msgspec.json.Decoder(_Body).decode


def message(body: bytes) -> Message:
    """
    Return the message in the body of a push.

    Args:
        body: Of the request, in any of the three envelopes. The ``ce-`` headers of the
            binary mode are not needed.

    Raises:
        RequestError: It is not a push; the error names the field at fault. For a
            payload that is not base64, ``problem`` is set instead.
    """
    pushed = _pushed(body)
    message_id = pushed.message_id or pushed.snake_id
    if not message_id:
        raise RequestError("the message has no id", field="message.messageId")
    problem = None
    try:
        # The same as b64decode with validate, which reads all of it twice.
        data = binascii.a2b_base64(pushed.data or "", strict_mode=True)
    except ValueError:
        data = (pushed.data or "").encode()
        problem = Refused("wrong_encoding", "the payload is not base64")
    return Message(
        data,
        message_id,
        pushed.attributes or {},
        pushed.publish_time or pushed.snake_time or "",
        problem,
    )


def _pushed(body: bytes, *, within: str = "") -> _Pushed:
    """
    Return the push in a body, or in the field ``within`` of a CloudEvent.

    Raises:
        RequestError: There is none.
    """
    field = within
    try:
        envelope = _decode_body(body)
        if envelope.message is not None:
            return envelope.message
        data = bytes(envelope.data)
        if not within and data not in {b"", b"null"}:
            return _pushed(data, within="data")
        if not within and envelope.data_base64 is not None:
            field = "data_base64"
            inner = base64.b64decode(envelope.data_base64, validate=True)
            return _pushed(inner, within=field)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        place = _PLACE.search(str(error))
        parts = (field, place[1] if place else "")
        raise RequestError(
            f"the body is not a push of Pub/Sub: {error}",
            field=".".join(part for part in parts if part) or "body",
        ) from error
    raise RequestError(
        "the body holds no message: it is neither a push of Pub/Sub nor a CloudEvent",
        field=f"{within}.message" if within else "message",
    )
