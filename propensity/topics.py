"""
The topics of the stream. Nothing here talks to Pub/Sub.

Their subscriptions, which only a deploy needs, are in ``deploy/functions.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from propensity.settings import Settings

EVENTS = "events"
ENRICHED = "enriched"
SCORES = "scores"
DEAD_LETTERS = "dead-letters"
MODEL_UPDATES = "model-updates"

TOPICS = (EVENTS, ENRICHED, SCORES, DEAD_LETTERS, MODEL_UPDATES)


def prefixed(settings: Settings, name: str) -> str:
    """Return the name of a topic or subscription in this deployment."""
    prefix = settings.topic_prefix
    return f"{prefix}-{name}" if prefix else name
