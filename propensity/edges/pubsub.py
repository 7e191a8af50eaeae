"""
The edge to Pub/Sub: messages out of what it pushes, and messages published to topics.

Three envelopes hold the same message: a CloudEvent in binary mode and one in structured
mode, as Eventarc delivers them, and the plain push of a subscription. They are read
here, since the CloudEvents library takes ten times as long as the event itself.

Sources: https://cloud.google.com/pubsub/docs/push and
https://cloud.google.com/eventarc/docs/cloudevents
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import msgspec
from google.api_core import exceptions as api
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.types import PublishRequest

from propensity.edges.rights import denied
from propensity.errors import MissingTable, PropensityError, RequestError, Unavailable
from propensity.events.reading import Message
from propensity.events.types import Refused

if TYPE_CHECKING:
    from propensity.settings import Settings

# The largest message that Pub/Sub takes is 10 MB; base64 and the envelope add a third.
MAXIMUM_BODY_BYTES = 15 * 1024**2

# Of one Publish request, by Pub/Sub's limits.
MAXIMUM_MESSAGES = 1_000
MAXIMUM_REQUEST_BYTES = 9 * 1024**2


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
            binary one say nothing that is needed.

    Raises:
        RequestError: This is no push; the field at fault is named. A payload that is
            not base64 is none of the caller's errors: ``problem`` tells of it.
    """
    pushed = _pushed(body)
    message_id = pushed.message_id or pushed.snake_id
    if not message_id:
        raise RequestError("the message has no id", field="message.messageId")
    problem = None
    try:
        # As b64decode with validate, which looks at all of it twice.
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
    Return the push in a body, or in the field of a CloudEvent that is ``within``.

    Raises:
        RequestError: There is none.
    """
    field = within
    try:
        found = _decode_body(body)
        if found.message is not None:
            return found.message
        data = bytes(found.data)
        if not within and data not in {b"", b"null"}:
            return _pushed(data, within="data")
        if not within and found.data_base64 is not None:
            field = "data_base64"
            inner = base64.b64decode(found.data_base64, validate=True)
            return _pushed(inner, within=field)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        place = _PLACE.search(str(error))
        parts = (field, place[1] if place else "")
        raise RequestError(
            f"the body is no push of Pub/Sub: {error}",
            field=".".join(part for part in parts if part) or "body",
        ) from error
    raise RequestError(
        "the body holds no message: it is neither a push of Pub/Sub nor a CloudEvent",
        field=f"{within}.message" if within else "message",
    )


class Bus:
    """Pub/Sub, as one instance of a function sees it. Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def _client(self) -> PublisherAsyncClient:
        endpoint = self.settings.pubsub_endpoint
        if not endpoint:
            return PublisherAsyncClient()
        channel = grpc.aio.insecure_channel(endpoint)
        return PublisherAsyncClient(
            transport=PublisherGrpcAsyncIOTransport(channel=channel)
        )

    async def publish(
        self,
        topic: str,
        payloads: Sequence[bytes],
        attributes: Sequence[Mapping[str, str]],
    ) -> None:
        """
        Publish messages; Pub/Sub has them when this returns.

        Args:
            topic: Its short name.
            payloads: Of the messages.
            attributes: Of each message.

        Raises:
            MissingTable: There is no such topic.
            Unavailable: Pub/Sub failed or was too slow; some may have been published.
        """
        path = f"projects/{self.settings.project}/topics/{topic}"
        request = PublishRequest.pb()(topic=path)
        size = 0
        for payload, own in zip(payloads, attributes, strict=True):
            is_full = size + len(payload) > MAXIMUM_REQUEST_BYTES
            if request.messages and (
                is_full or len(request.messages) >= MAXIMUM_MESSAGES
            ):
                await self._send(request)
                request, size = PublishRequest.pb()(topic=path), 0
            request.messages.add(data=payload, attributes=own)
            size += len(payload)
        if request.messages:
            await self._send(request)

    async def _send(self, request: Any) -> None:
        try:
            await self._client.publish(
                PublishRequest.wrap(request),
                retry=None,
                timeout=float(self.settings.append_timeout_s),
            )
        except api.NotFound as error:
            raise MissingTable(f"Pub/Sub does not find {request.topic}") from error
        except api.PermissionDenied as error:
            raise denied(
                error.message,
                service="Pub/Sub",
                credentials=getattr(self._client.transport, "_credentials", None),
                needs="pubsub.topics.publish",
                on=request.topic,
            ) from error
        except api.InvalidArgument as error:
            raise PropensityError(
                f"Pub/Sub refuses messages: {error.message}"
            ) from error
        except (
            api.GoogleAPICallError,
            api.RetryError,
            grpc.RpcError,
            OSError,
        ) as error:
            raise Unavailable(
                f"Pub/Sub did not take messages: {type(error).__name__}"
            ) from error
