"""Pulls, and streams of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from google.pubsub_v1 import types

from local.emulators.pubsub.messages import Proto, RefusedError
from local.emulators.pubsub.subscription import (
    DEADLINES_S,
    MAX_BYTES,
    MAX_MESSAGES,
    Delivery,
    Subscription,
    acknowledge,
    extend,
)

# A pull that finds nothing answers this long before its client gives up.
PULL_MARGIN_S = 1.0


def received(
    subscription: Subscription, deliveries: Mapping[int, Delivery]
) -> list[Proto]:
    """Return leases as pulls do; with attempts where these are limited."""
    config = subscription.config
    is_limited = config.HasField("dead_letter_policy")
    return [
        types.ReceivedMessage.pb()(
            ack_id=f"{config.name}:{number}",
            message=delivery.message,
            delivery_attempt=delivery.attempts if is_limited else 0,
        )
        for number, delivery in deliveries.items()
    ]


async def pull(subscription: Subscription, request: Proto, wait_s: float) -> Proto:
    """Return messages as soon as there are any, none after a while without."""
    if request.max_messages == 0:
        raise RefusedError("No max_messages specified")
    limit = min(request.max_messages, MAX_MESSAGES)
    deliveries: dict[int, Delivery] = {}
    news = asyncio.Event()
    subscription.watchers.append(news.set)
    try:
        async with asyncio.timeout(0 if request.return_immediately else wait_s):
            while not deliveries:
                subscription.check_pullable()
                seconds = subscription.config.ack_deadline_seconds
                if not (deliveries := subscription.take(limit, seconds=seconds)):
                    news.clear()
                    await news.wait()
    except TimeoutError:
        pass
    finally:
        subscription.watchers.remove(news.set)
    return types.PullResponse.pb()(received_messages=received(subscription, deliveries))


class Stream:
    """One streaming pull: its client is sent what it has room for."""

    def __init__(self, subscription: Subscription, first: Proto) -> None:
        if not first.stream_ack_deadline_seconds:
            raise RefusedError("first message must set stream_ack_deadline_seconds")
        self._subscription = subscription
        self._news = asyncio.Event()
        self._max_messages = first.max_outstanding_messages
        self._max_bytes = first.max_outstanding_bytes
        self._messages_out = 0
        self._bytes_out = 0
        self._deadline_s = 0
        self._obey(first)

    async def responses(self, requests: AsyncIterator[Proto]) -> AsyncIterator[Proto]:
        """Send messages and obey requests until the client ends its side."""
        reader = asyncio.create_task(self._read(requests))
        reader.add_done_callback(lambda _: self._news.set())
        self._subscription.watchers.append(self._news.set)
        try:
            while not reader.done():
                self._subscription.check_pullable()
                self._news.clear()
                if messages := received(self._subscription, self._take()):
                    response = types.StreamingPullResponse.pb()
                    yield response(received_messages=messages)
                else:
                    await self._news.wait()
            reader.result()
        finally:
            reader.cancel()
            self._subscription.watchers.remove(self._news.set)

    async def _read(self, requests: AsyncIterator[Proto]) -> None:
        async for request in requests:
            if request.subscription:
                raise RefusedError("subscription may only be set in first message")
            self._obey(request)

    def _obey(self, request: Proto) -> None:
        if request.stream_ack_deadline_seconds:
            self._deadline_s = request.stream_ack_deadline_seconds
        if self._deadline_s not in DEADLINES_S:
            raise RefusedError(
                "stream_ack_deadline_seconds must be between 10 and 600 seconds"
            )
        acknowledge(self._subscription, request.ack_ids)
        ids, seconds = request.modify_deadline_ack_ids, request.modify_deadline_seconds
        extend(self._subscription, ids, seconds)

    def _take(self) -> dict[int, Delivery]:
        """Lease what there is room for; a limit of zero or less is none."""
        limit, max_bytes = MAX_MESSAGES, MAX_BYTES
        if self._max_messages > 0:
            limit = min(limit, self._max_messages - self._messages_out)
        if self._max_bytes > 0:
            max_bytes = min(max_bytes, self._max_bytes - self._bytes_out)
        deliveries = self._subscription.take(
            limit, seconds=self._deadline_s, max_bytes=max_bytes, on_end=self._settle
        )
        self._messages_out += len(deliveries)
        self._bytes_out += sum(
            lease.message.ByteSize() for lease in deliveries.values()
        )
        return deliveries

    def _settle(self, delivery: Delivery) -> None:
        self._messages_out -= 1
        self._bytes_out -= delivery.message.ByteSize()
        self._news.set()
