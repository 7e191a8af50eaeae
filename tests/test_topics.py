"""Topics and subscriptions: nothing of the stream is lost or left unread."""

from __future__ import annotations

from deploy import functions
from deploy.functions import SUBSCRIPTIONS
from propensity.settings import Settings
from propensity.topics import DEAD_LETTERS, ENRICHED, EVENTS, prefixed


def test_names_have_the_prefix_of_the_deployment():
    settings = Settings(project="p", topic_prefix="shop")

    assert prefixed(settings, ENRICHED) == "shop-enriched"


def test_nothing_is_left_unread():
    """What comes in is pushed, what is enriched is scored, and what was given up waits
    to be pulled; each function is there."""
    readers = {one.topic: one.function for one in SUBSCRIPTIONS}

    assert readers == {
        EVENTS: "stream_features", ENRICHED: "score_stream", DEAD_LETTERS: "",
    }  # fmt: skip
    assert {*readers.values()} - {""} <= {one.target for one in functions.load()}
