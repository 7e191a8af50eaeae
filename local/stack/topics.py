"""Create the topics and subscriptions of ``propensity/topics.py`` in local mode."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from urllib.parse import quote

import grpc
from google.api_core.exceptions import AlreadyExists
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import DeadLetterPolicy, PushConfig, RetryPolicy
from google.pubsub_v1.types import Subscription as Created

from propensity.topics import DEAD_LETTERS, SUBSCRIPTIONS, TOPICS, Subscription

# Pub/Sub allows no more.
MOST_ATTEMPTS = 100


def create(
    project: str, address: str, *, endpoints: Mapping[str, str], pauses: bool = True
) -> None:
    """
    Create what is missing.

    Args:
        project: Of the topics.
        address: Of the emulator, HOST:PORT.
        endpoints: URL by function. A subscription of a function that does not run here
            is left out: its messages would only pile up.
        pauses: Whether what failed is pushed again after the pauses that the
            subscription wants. Google's emulator (0.8.20) never pushes it again where
            a subscription wants any; without, it tries once a second, so it gets as
            many attempts as Pub/Sub allows.
    """
    channel = grpc.insecure_channel(address)
    publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    for topic in TOPICS:
        with contextlib.suppress(AlreadyExists):
            publisher.create_topic(name=f"projects/{project}/topics/{topic}")
    for subscription in SUBSCRIPTIONS:
        if subscription.function and subscription.function not in endpoints:
            continue
        wanted = created(subscription, project, endpoints, pauses=pauses)
        try:
            subscriber.create_subscription(wanted)
        except AlreadyExists:
            # The function may have another port than last time.
            subscriber.modify_push_config(
                subscription=wanted.name, push_config=wanted.push_config
            )
    channel.close()


def created(
    subscription: Subscription,
    project: str,
    endpoints: Mapping[str, str],
    *,
    pauses: bool,
) -> Created:
    """Return a subscription as Pub/Sub's API has it; see ``create``."""
    topic = f"projects/{project}/topics/{subscription.topic}"
    made = Created(
        name=f"projects/{project}/subscriptions/{subscription.name}",
        topic=topic,
        ack_deadline_seconds=subscription.acknowledge_s,
    )
    if subscription.function and pauses:
        made.retry_policy = RetryPolicy(
            minimum_backoff=Duration(seconds=subscription.minimum_backoff_s),
            maximum_backoff=Duration(seconds=subscription.maximum_backoff_s),
        )
    if subscription.function:
        # As Eventarc's subscriptions say it: deliver as a CloudEvent.
        mode = quote(f"CUSTOM_PUBSUB_{topic}", safe="")
        url = endpoints[subscription.function]
        made.push_config = PushConfig(
            push_endpoint=f"{url}/?__GCP_CloudEventsMode={mode}"
        )
    if subscription.topic != DEAD_LETTERS:
        made.dead_letter_policy = DeadLetterPolicy(
            dead_letter_topic=f"projects/{project}/topics/{DEAD_LETTERS}",
            max_delivery_attempts=subscription.attempts if pauses else MOST_ATTEMPTS,
        )
    return made
