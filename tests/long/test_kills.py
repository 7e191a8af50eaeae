"""
The whole path of the stream, with processes killed: nothing lost, nothing doubled.

Messages are published to Pub/Sub, which pushes them to two instances of
stream_features, which store them in BigQuery, where the view makes features of them;
compactions run in between. A tenth of the events is sent twice, a twentieth days late,
and a hundredth of all that is sent is broken. One process is ended by SIGKILL again and
again, at moments at which it has work. Afterwards the features must be, to the last
digit, what exact arithmetic makes of the events that were sent, and every broken
message a dead letter.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.functions import Subscription
from local.generators.games import Games
from local.generators.streams import Delivery
from local.stack import topics
from propensity.settings import DEAD_LETTERS
from propensity.streaming.events.dead_letters import redacted
from tests.functions.instances import Instance
from tests.functions.streaming import (
    clean_features,
    compact_at,
    eventually,
    new_site,
    streamed_features,
)
from tests.support.deployment import Deployment
from tests.support.events import CATALOGUE
from tests.support.exact import expected_features

pytestmark = pytest.mark.timeout(3600)

EVENTS = 6_000
USERS = 64
KILLS = 8
TOPICS = ("events-a", "events-b")
# Everything has been delivered long before, unless something hangs.
SETTLED_S = 1800.0


@pytest.fixture
def site(emulators) -> Iterator[Deployment]:
    """Tables and topics for one test alone."""
    with new_site(emulators) as site:
        yield site


def subscribe(site: Deployment, topic: str, instance: Instance) -> str:
    """Push a topic to an instance by the settings of the deployed subscription."""
    site.create_topic(topic)
    deployed = Subscription(
        name=f"push-{topic}", topic=topic, function="stream_features"
    )
    endpoints = {"stream_features": instance.url.rstrip("/")}
    subscription = topics.message(deployed, site.project, endpoints)
    site.subscriber.create_subscription(subscription)
    return str(subscription.name)


def publish(site: Deployment, deliveries: Sequence[Delivery]) -> dict[str, Delivery]:
    """Publish deliveries to each topic in its turn; return them by message id."""
    sent: dict[str, Delivery] = {}
    for turn, topic in enumerate(TOPICS):
        batch = deliveries[turn :: len(TOPICS)]
        messages = [
            {"data": delivery.data, "attributes": dict(delivery.attributes)}
            for delivery in batch
        ]
        sent.update(zip(site.publish(topic, messages), batch, strict=True))
    return sent


def settled(site: Deployment) -> int:
    """Return how many messages are stored, or buried."""
    [row] = site.rows(
        "SELECT (SELECT COUNT(DISTINCT message_id) FROM stream_events)"
        " + (SELECT COUNT(DISTINCT message_id) FROM dead_letters) AS n"
    )
    return int(row["n"])


def kept(sent: Delivery) -> bytes | None:
    """What is kept of a message that is refused."""
    is_large = sent.reason == "too_large"
    return None if is_large else redacted(sent.data, CATALOGUE.kinds)


def check(site: Deployment, sent: Mapping[str, Delivery]) -> None:
    """Compare everything with what was sent."""
    events = [one.event for one in sent.values() if one.event is not None]
    rows = site.rows(
        "SELECT use_case, user_id, event_date, event_id FROM stream_events"
    )
    assert len(rows) > len(events)
    assert {tuple(map(str, row.values())) for row in rows} == {
        (one["use_case"], one["user_id"], one["event_time"][:10], one["event_id"])
        for one in events
    }

    letters = site.rows("SELECT message_id, reason, raw FROM dead_letters")
    buried = {row["message_id"]: (row["reason"], row["raw"]) for row in letters}
    assert buried == {
        message: (one.reason, kept(one))
        for message, one in sent.items()
        if one.event is None
    }

    features = streamed_features(site)
    expected = expected_features(events)
    assert features.keys() == expected.keys()
    for user, row in expected.items():
        assert {name: features[user][name] for name in row} == row, user
    assert features == clean_features(site)
    compact_at(site, datetime.now(UTC))
    assert streamed_features(site) == features


@pytest.mark.long
def test_a_killed_process_loses_nothing(site, tmp_path):
    """
    Ended by SIGKILL in the middle of its work, and started again, several times.

    No accepted event is missing, none is counted twice, and every broken one is a dead
    letter with its reason; none has run out of attempts. Of duplicates one may reach
    one instance and one the other.
    """
    chance = random.Random(EVENTS)
    games = Games(seed=11, users=USERS)
    deliveries: list[Any] = games.deliveries()
    assert len(deliveries) >= EVENTS
    exhausted = site.subscribe(DEAD_LETTERS)
    instances = [
        Instance("stream_features", site.environment, tmp_path / name) for name in "ab"
    ]
    sent: dict[str, Delivery] = {}
    with instances[0], instances[1]:
        subscriptions = [
            subscribe(site, topic, instance)
            for topic, instance in zip(TOPICS, instances, strict=True)
        ]
        for number in range(KILLS + 1):
            part = deliveries[number :: KILLS + 1]
            before = site.count("stream_events")
            sent |= publish(site, part)
            if number < KILLS:
                # Somewhere within what it now has to do.
                enough = before + int(chance.uniform(0.1, 0.8) * len(part))
                eventually(
                    lambda enough=enough: site.count("stream_events") >= enough,
                    "they are at work",
                )
                instances[0].kill()
                if number % 2:
                    compact_at(site, datetime.now(UTC))
                instances[0].start()
            if number % 3 == 1:
                compact_at(site, datetime.now(UTC))
        eventually(
            lambda: settled(site) == len(sent),
            "all is delivered",
            deadline_s=SETTLED_S,
        )
        for subscription in subscriptions:
            site.unsubscribe(subscription)

    check(site, sent)
    answer = site.subscriber.pull(subscription=exhausted, max_messages=10, timeout=3)
    site.unsubscribe(exhausted)
    assert not answer.received_messages
