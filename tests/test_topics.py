"""
Topics and subscriptions, specified: what set-up makes is what Pub/Sub takes.

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
    MODEL_UPDATES,
    SCORES,
    SUBSCRIPTIONS,
    TOPICS,
    topic_name,
)

MAIN = Path(__file__).parent.parent / "04-StreamFeatures" / "main.py"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")


def named(subscription):
    return subscription.name


class TestTopics:
    @pytest.mark.parametrize("name", [*TOPICS, *(s.name for s in SUBSCRIPTIONS)])
    def test_have_names_that_pub_sub_takes(self, name):
        """3 to 255 characters, a letter first, not Google's own."""
        assert NAME.fullmatch(name)
        assert not name.startswith("goog")

    def test_are_all_made(self):
        """Each once."""
        named = {EVENTS, ENRICHED, SCORES, DEAD_LETTERS, MODEL_UPDATES}

        assert sorted(TOPICS) == sorted(named)

    def test_are_those_that_the_functions_publish_to(self):
        """Where nothing else is set, a function's topics are those of set-up."""
        settings = Settings(project="p", topic_prefix="shop")

        assert topic_name(settings, ENRICHED) == "shop-enriched"


class TestSubscriptions:
    def test_have_names_of_their_own(self):
        """Two of a name would be one."""
        assert len({subscription.name for subscription in SUBSCRIPTIONS}) == len(
            SUBSCRIPTIONS
        )

    @pytest.mark.parametrize("subscription", SUBSCRIPTIONS, ids=named)
    def test_lead_from_topics_to_functions(self, subscription):
        """Topics that set-up makes first, and entry points of the function folder."""
        entries = re.findall(r"^async def (\w+)\(", MAIN.read_text(), re.MULTILINE)

        assert subscription.topic in TOPICS
        assert subscription.function in {*entries, ""}

    @pytest.mark.parametrize("subscription", SUBSCRIPTIONS, ids=named)
    def test_are_as_patient_as_pub_sub_allows(self, subscription):
        """Deadline 10 to 600 s, back-off to 600 s, 5 to 100 deliveries."""
        assert 10 <= subscription.acknowledge_s <= 600
        assert (
            0 <= subscription.minimum_backoff_s <= subscription.maximum_backoff_s <= 600
        )
        assert 5 <= subscription.attempts <= 100

    def test_leave_nothing_unread(self):
        """What comes in is pushed, what is enriched is scored, and what was
        given up waits to be pulled: a topic without a subscription loses it."""
        readers = {
            topic: [
                subscription.function
                for subscription in SUBSCRIPTIONS
                if subscription.topic == topic
            ]
            for topic in TOPICS
        }

        assert readers[EVENTS] == ["stream_features"]
        assert sorted(readers[ENRICHED]) == ["score_stream"]
        assert readers[DEAD_LETTERS] == [""]
