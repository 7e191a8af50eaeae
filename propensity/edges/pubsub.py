"""The edge to Pub/Sub: publishes messages to topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.api_core.retry import Retry
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import (
    PublisherGrpcAsyncIOTransport,
    PublisherGrpcTransport,
)
from google.pubsub_v1.types import PublishRequest, PubsubMessage

from propensity.edges.channels import Channel, open_channel, open_client

if TYPE_CHECKING:
    from propensity.settings import Settings

# Of one Publish request, by Pub/Sub's limits.
MAXIMUM_MESSAGES = 1_000
MAXIMUM_REQUEST_BYTES = 9 * 1024**2

_PUBLISH = "/google.pubsub.v1.Publisher/Publish"

# Deadline for a single message, with retries: its sender waits.
ONCE_S = 10.0


@cache
def _routing(topic: str) -> tuple[tuple[str, str]]:
    """Return the header by which Google finds the way to a topic."""
    return (to_grpc_metadata((("topic", topic),)),)  # type: ignore[no-untyped-call]


class Bus:
    """Pub/Sub for one instance of a function. Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def _channel(self) -> Channel:
        return open_channel(
            PublisherGrpcAsyncIOTransport, endpoint=self.settings.pubsub_endpoint
        )

    @cached_property
    def _publish(self) -> Any:
        """The call of Publish; its answer, the ids of the messages, stays bytes."""
        return self._channel.grpc.unary_unary(
            _PUBLISH, request_serializer=PublishRequest.pb().SerializeToString
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
        add = request.messages.add
        count = size = 0
        for payload, message_attributes in zip(payloads, attributes, strict=True):
            is_full = size + len(payload) > MAXIMUM_REQUEST_BYTES
            if count and (is_full or count >= MAXIMUM_MESSAGES):
                await self._send(request)
                request = PublishRequest.pb()(topic=path)
                add = request.messages.add
                count = size = 0
            # By assignment: arguments of ``add`` take three times as long.
            message = add()
            message.data = payload
            fields = message.attributes
            for name, value in message_attributes.items():
                fields[name] = value
            count += 1
            size += len(payload)
        if count:
            await self._send(request)

    async def _send(self, request: Any) -> None:
        timeout = float(self.settings.deadline_s)
        try:
            await self._publish(
                request, timeout=timeout, metadata=_routing(request.topic)
            )
        except (grpc.RpcError, OSError) as raised:
            raise self._channel.failure(
                raised,
                service="Pub/Sub",
                what="messages",
                needs="pubsub.topics.publish",
                on=request.topic,
            ) from raised


def publish_once(
    settings: Settings, topic: str, payload: bytes, *, attributes: Mapping[str, str]
) -> None:
    """
    Publish one message outside an event loop, and close the connection.

    Args:
        settings: Of the deployment.
        topic: Its short name.
        payload: Of the message.
        attributes: Of the message.

    Raises:
        GoogleAPIError, GoogleAuthError: Pub/Sub did not take it.
    """
    path = f"projects/{settings.project}/topics/{topic}"
    message = PubsubMessage(data=payload, attributes=attributes)
    with open_client(
        PublisherClient, PublisherGrpcTransport, endpoint=settings.pubsub_endpoint
    ) as client:
        client.publish(
            topic=path,
            messages=[message],
            retry=Retry(initial=0.1, maximum=2.0, timeout=ONCE_S),
            timeout=ONCE_S,
        )
