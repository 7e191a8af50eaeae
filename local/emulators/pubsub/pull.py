"""Pulls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from google.pubsub_v1 import types

from local.emulators.pubsub.messages import Proto, RefusedError
from local.emulators.pubsub.subscription import (
    MAX_MESSAGES,
    Delivery,
    Subscription,
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
