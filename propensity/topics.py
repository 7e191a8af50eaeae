"""
Every topic and subscription of the stream: who is pushed what, and how patiently.

As ``tables.py`` for BigQuery: set-up creates what stands here, and nothing here talks
to Pub/Sub.
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
    it goes to the topic ``dead-letters``. Without a ``function`` it is pulled, and what
    is not acknowledged can be pulled again at once.
    """

    name: str
    topic: str
    function: str = ""
    acknowledge_s: int = 60
    minimum_backoff_s: int = 1
    maximum_backoff_s: int = 60
    attempts: int = 20


SUBSCRIPTIONS = (
    Subscription(
        name="events-stream-features", topic=EVENTS, function="stream_features"
    ),
    Subscription(name="enriched-score-stream", topic=ENRICHED, function="score_stream"),
    Subscription(
        name="enriched-archive-events", topic=ENRICHED, function="archive_events"
    ),
    Subscription(name="dead-letters-replay", topic=DEAD_LETTERS),
)


def prefixed(prefix: str, name: str) -> str:
    """Return what a topic or a subscription is called in a deployment of a prefix."""
    return f"{prefix}-{name}" if prefix else name


def topic_name(settings: Settings, name: str) -> str:
    """
    Return what a topic is called where the settings are from.

    Args:
        settings: Which name three topics; the others have their prefix.
        name: Of TOPICS.
    """
    chosen = {
        ENRICHED: settings.enriched_topic,
        SCORES: settings.scores_topic,
        MODEL_UPDATES: settings.model_updates_topic,
    }
    return chosen.get(name) or prefixed(settings.topic_prefix, name)


def subscription_name(settings: Settings, one: Subscription) -> str:
    """Return what a subscription is called where the settings are from."""
    return prefixed(settings.topic_prefix, one.name)
