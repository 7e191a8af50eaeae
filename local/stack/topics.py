"""Create the topics and subscriptions of a deployment in local mode."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from google.api_core.exceptions import AlreadyExists
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import Subscription as SubscriptionMessage

from deploy.functions import SUBSCRIPTIONS, Subscription
from propensity.gcp.clients import open_client
from propensity.settings import DEAD_LETTERS, TOPICS


def create(project: str, address: str, *, endpoints: Mapping[str, str]) -> None:
    """
    Create the topics and subscriptions that are missing.

    A subscription of a function that does not run here is left out: its messages would
    only pile up. ``endpoints`` are URLs by function, ``address`` the emulator's.
    """
    with open_client(PublisherClient, address) as publisher:
        for topic in TOPICS:
            with contextlib.suppress(AlreadyExists):
                publisher.create_topic(name=f"projects/{project}/topics/{topic}")
    with open_client(SubscriberClient, address) as subscriber:
        for subscription in SUBSCRIPTIONS:
            if not subscription.function or subscription.function in endpoints:
                with contextlib.suppress(AlreadyExists):
                    subscriber.create_subscription(
                        message(subscription, project, endpoints)
                    )


def message(
    subscription: Subscription, project: str, endpoints: Mapping[str, str]
) -> SubscriptionMessage:
    """Return a subscription as Pub/Sub's API has it."""
    request: dict[str, Any] = {
        "name": f"projects/{project}/subscriptions/{subscription.name}",
        "topic": f"projects/{project}/topics/{subscription.topic}",
        "ack_deadline_seconds": subscription.acknowledge_s,
    }
    if subscription.function:
        endpoint = f"{endpoints[subscription.function]}/"
        request["push_config"] = {"push_endpoint": endpoint}
        request["retry_policy"] = {
            "minimum_backoff": timedelta(seconds=subscription.minimum_backoff_s),
            "maximum_backoff": timedelta(seconds=subscription.maximum_backoff_s),
        }
    if subscription.topic != DEAD_LETTERS:
        request["dead_letter_policy"] = {
            "dead_letter_topic": f"projects/{project}/topics/{DEAD_LETTERS}",
            "max_delivery_attempts": subscription.attempts,
        }
    return SubscriptionMessage(request)
