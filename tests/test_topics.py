"""
Topics and subscriptions: what set-up makes is what Pub/Sub takes.

Limits are Pub/Sub's own: https://cloud.google.com/pubsub/quotas and
https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from propensity.settings import Settings
from propensity.topics import (
    DEAD_LETTERS,
    ENRICHED,
    EVENTS,
    SUBSCRIPTIONS,
    TOPICS,
    prefixed,
)

FOLDER = Path(__file__).parent.parent / "04-StreamFeatures"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")


def test_names_have_the_prefix_of_the_deployment():
    settings = Settings(project="p", topic_prefix="shop")

    assert prefixed(settings, ENRICHED) == "shop-enriched"


@pytest.mark.parametrize("subscription", SUBSCRIPTIONS, ids=lambda one: one.name)
def test_a_subscription_leads_from_a_topic_to_a_function(subscription):
    """As patient as Pub/Sub allows: deadline, back-off and deliveries."""
    modules = "".join(file.read_text() for file in FOLDER.glob("*.py"))
    entries = re.findall(r"^async def (\w+)\(", modules, re.MULTILINE)

    assert subscription.topic in TOPICS
    assert subscription.function in {*entries, ""}
    assert 10 <= subscription.acknowledge_s <= 600
    assert 0 <= subscription.minimum_backoff_s <= subscription.maximum_backoff_s <= 600
    assert 5 <= subscription.attempts <= 100


def test_nothing_is_left_unread():
    """What comes in is pushed, what is enriched is scored, and what was given up waits
    to be pulled: a topic without a subscription loses it."""
    readers = {one.topic: one.function for one in SUBSCRIPTIONS}

    assert readers[EVENTS] == "stream_features"
    assert readers[ENRICHED] == "score_stream"
    assert readers[DEAD_LETTERS] == ""
