"""
Every topic and subscription of the stream: target, backoff and attempts.

As ``tables`` for BigQuery: set-up creates them; nothing here talks to Pub/Sub.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from propensity.settings import Settings

EVENTS = "events"
ENRICHED = "enriched"
SCORES = "scores"
DEAD_LETTERS = "dead-letters"
MODEL_UPDATES = "model-updates"

TOPICS = (EVENTS, ENRICHED, SCORES, DEAD_LETTERS, MODEL_UPDATES)


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """
    One subscription.

    A message that is not acknowledged is delivered again, after a pause that grows
    from ``minimum_backoff_s`` to ``maximum_backoff_s``; after ``attempts`` deliveries
    it goes to the topic ``dead-letters``. Without a ``function`` the subscription is
    pulled, and a message without acknowledgement can be pulled again at once.
    """

    name: str
    topic: str
    function: str = ""
    acknowledge_s: int = 60
    minimum_backoff_s: int = 1
    # The most that Pub/Sub takes of both: over fifteen hours.
    maximum_backoff_s: int = 600
    attempts: int = 100


SUBSCRIPTIONS = (
    Subscription(
        name="events-stream-features", topic=EVENTS, function="stream_features"
    ),
    Subscription(name="enriched-score-stream", topic=ENRICHED, function="score_stream"),
    Subscription(name="dead-letters-replay", topic=DEAD_LETTERS),
)


def prefixed(settings: Settings, name: str) -> str:
    """Return the name of a topic or subscription in this deployment."""
    prefix = settings.topic_prefix
    return f"{prefix}-{name}" if prefix else name
