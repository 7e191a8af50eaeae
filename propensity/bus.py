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

from propensity.errors import MissingTable, PropensityError, RequestError, Unavailable
from propensity.events import Refused
from propensity.stream import Message

if TYPE_CHECKING:
    from propensity.settings import Settings

# The largest message that Pub/Sub takes is 10 MB; base64 and the envelope add a third.
MAXIMUM_BODY_BYTES = 15 * 1024**2

# Of one Publish request, by Pub/Sub's limits.
MAXIMUM_MESSAGES = 1_000
MAXIMUM_REQUEST_BYTES = 9 * 1024**2


class _Pushed(msgspec.Struct, gc=False, rename="camel"):
    data: str = ""
    message_id: str = ""
    publish_time: str = ""
    attributes: dict[str, str] | None = None
    snake_id: str = msgspec.field(default="", name="message_id")
    snake_time: str = msgspec.field(default="", name="publish_time")


class _Body(msgspec.Struct, gc=False):
    """A push, or a structured CloudEvent around one."""

    message: _Pushed | None = None
    data: msgspec.Raw | None = None
    data_base64: str | None = None


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
        data = base64.b64decode(pushed.data, validate=True)
    except (binascii.Error, ValueError):
        data = pushed.data.encode()
        problem = Refused("wrong_encoding", "the payload is not base64")
    return Message(
        data,
        message_id,
        pushed.attributes or {},
        pushed.publish_time or pushed.snake_time,
        problem,
    )


def _pushed(body: bytes, *, is_inner: bool = False) -> _Pushed:
    try:
        found = _decode_body(body)
        if found.message is not None:
            return found.message
        if not is_inner:
            if found.data is not None:
                return _pushed(bytes(found.data), is_inner=True)
            if found.data_base64 is not None:
                inner = base64.b64decode(found.data_base64, validate=True)
                return _pushed(inner, is_inner=True)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        place = str(error).rpartition("`$.")[2].rstrip("`")
        raise RequestError(
            f"the body is no push of Pub/Sub: {error}",
            field=place if " " not in place else "body",
        ) from error
    raise RequestError(
        "the body holds no message: it is neither a push of Pub/Sub nor a CloudEvent",
        field="message",
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
        except (api.InvalidArgument, api.PermissionDenied) as error:
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
