"""Pushes of distinct events, and whether each is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice

from google.pubsub_v1.types import DeadLetterPolicy, PubsubMessage, Subscription

from benchmarks.append_service import take_counts
from benchmarks.load import Request, send
from local.emulators.pubsub.push import Endpoint
from local.emulators.pubsub.subscription import Delivery
from local.generators.games.games import Games
from local.processes import HOST

CONNECTIONS = 256
# Events that a user of the generator has, at least on average.
EVENTS_PER_USER = 25


def pushes(count: int) -> list[Request]:
    """Return pushes of distinct events to topic ``events``."""
    endpoint = Endpoint.of(f"http://{HOST}/")
    subscription = Subscription.pb()(
        name="projects/benchmark/subscriptions/events-stream-features",
        dead_letter_policy=DeadLetterPolicy.pb()(max_delivery_attempts=20),
    )
    requests: list[Request] = []
    seed = 0
    while len(requests) < count:
        seed += 1
        games = Games(seed=seed, users=max(1, count // EVENTS_PER_USER))
        for payload, attributes in islice(games.payloads(), count - len(requests)):
            message = PubsubMessage.pb()(
                data=payload,
                attributes=attributes,
                message_id=str(10**15 + len(requests)),
            )
            message.publish_time.GetCurrentTime()
            delivery = Delivery(message, attempts=1)
            request = endpoint.request(subscription, delivery)
            requests.append(Request(request, attributes["event_id"]))
    return requests


def unstored(
    requests: Sequence[Request], port: int, service: int
) -> tuple[int, int, int]:
    """
    Send pushes until each has an answer, and look for them in what was appended.

    Returns:
        How many were acknowledged, how many of those were in no append, and how many
        failed.
    """
    take_counts(service)
    _, senders = asyncio.run(
        send(port, iter(requests), seconds=None, connections=CONNECTIONS)
    )
    acknowledged = {name for sender in senders for name in sender.acknowledged}
    missing = acknowledged - take_counts(service).event_ids
    failures = sum(sender.failures for sender in senders)
    return len(acknowledged), len(missing), failures
