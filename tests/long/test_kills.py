"""
The whole path of the stream, with processes killed: nothing lost, nothing doubled.

Messages are published to Pub/Sub, which pushes them to stream_features, which stores
them in BigQuery, where the view makes features of them; compactions run in between. A
tenth of the events is sent twice, a twentieth days late, and a hundredth of all that is
sent is broken. The function's process is ended by SIGKILL again and again, at moments
at which it has work. Afterwards the features must be, to the last digit, what exact
arithmetic makes of the events that were sent, and every broken message a dead letter.

30,000 events; ``-s`` shows the figures.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from local.generators.games import Games
from local.generators.messages import Delivery
from local.stack import topics
from propensity.events.dead_letters import redacted
from propensity.topics import DEAD_LETTERS, Subscription
from tests.events import CATALOGUE
from tests.exact import expected_features
from tests.functions.instances import Instance, together
from tests.functions.streaming import Site, eventually, new_site

pytestmark = pytest.mark.timeout(3600)

# Everything has been delivered long before, unless something hangs.
SETTLED_S = 1800.0


@pytest.fixture
def site(emulators) -> Iterator[Site]:
    """Tables and topics for one test alone."""
    with new_site(emulators) as site:
        yield site


class Stream:
    """A stream of deliveries into a site, and their rows and dead letters."""

    def __init__(self, site: Site, instances: Sequence[Instance]) -> None:
        self.site = site
        self.sent: dict[str, Delivery] = {}
        self.began = time.monotonic()
        self._subscriptions = []
        # As many topics as instances: of duplicates, one is here and one is there.
        self._topics = [f"events-{uuid.uuid4().hex[:8]}" for _ in instances]
        for topic, instance in zip(self._topics, instances, strict=True):
            site.create_topic(topic)
            self._subscriptions.append(self._subscribe(topic, instance))

    def _subscribe(self, topic: str, instance: Instance) -> str:
        """Push to an instance by the settings of the deployed subscription."""
        deployed = Subscription(
            name=f"push-{topic}", topic=topic, function="stream_features"
        )
        endpoints = {"stream_features": instance.url.rstrip("/")}
        project = self.site.workplace.project
        subscription = topics.message(deployed, project, endpoints)
        self.site.subscriber.create_subscription(subscription)
        return str(subscription.name)

    def publish(self, deliveries: Sequence[Delivery]) -> None:
        """Publish deliveries, to each topic in its turn."""
        for turn, topic in enumerate(self._topics):
            batch = deliveries[turn :: len(self._topics)]
            messages = [
                {"data": delivery.data, "attributes": dict(delivery.attributes)}
                for delivery in batch
            ]
            ids = self.site.publish(topic, messages)
            self.sent.update(zip(ids, batch, strict=True))

    @property
    def stored(self) -> int:
        """Rows of stream_events by now."""
        return self.site.count("stream_events")

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was sent and can be an event, as often as it was sent."""
        return [
            delivery.event
            for delivery in self.sent.values()
            if delivery.event is not None
        ]

    def settle(self) -> None:
        """Wait until everything that was sent is stored, or buried."""
        eventually(self._is_settled, "all is delivered", deadline_s=SETTLED_S)

    def _is_settled(self) -> bool:
        [row] = self.site.rows(
            "SELECT (SELECT COUNT(DISTINCT message_id) FROM stream_events) AS stored,"
            " (SELECT COUNT(DISTINCT message_id) FROM dead_letters) AS buried"
        )
        return bool(row["stored"] + row["buried"] == len(self.sent))

    def close(self) -> None:
        """Push no more."""
        for subscription in self._subscriptions:
            self.site.unsubscribe(subscription)

    def check(self) -> dict[str, int]:
        """Compare everything with what was sent, and return the figures."""
        events = self.events
        identities = {_identity(event) for event in events}
        rows = self.site.rows(
            "SELECT use_case, user_id, event_date, event_id, message_id "
            "FROM stream_events"
        )
        stored = {
            (row["use_case"], row["user_id"], str(row["event_date"]), row["event_id"])
            for row in rows
        }
        assert stored == identities

        personal = CATALOGUE.personal
        letters = self.site.rows("SELECT message_id, reason, raw FROM dead_letters")
        broken = {
            message: (delivery.reason, redacted(delivery.data, personal))
            for message, delivery in self.sent.items()
            if delivery.event is None
        }
        buried = {row["message_id"]: (row["reason"], row["raw"]) for row in letters}
        assert buried == broken

        features = self.site.features()
        expected = expected_features(events)
        assert features.keys() == expected.keys()
        for user, row in expected.items():
            assert {name: features[user][name] for name in row} == row, user
        assert features == self.site.clean_features()
        return {
            "sent": len(self.sent),
            "stored rows": len(rows),
            "distinct events": len(identities),
            "users": len(expected),
            "dead letters": len(broken),
        }


def _identity(event: dict[str, Any]) -> tuple[str, str, str, str]:
    day = event["event_time"][:10]
    return (event["use_case"], event["user_id"], day, event["event_id"])


def players(events: int, *, seed: int) -> Games:
    """Return a process with at least so many events, and not many more."""
    users = max(2, events // 105)
    while (games := Games(seed=seed, users=users)).n_events < events:
        users += max(1, users // 50)
    return games


@pytest.fixture
def show() -> Callable[..., None]:
    """Print figures; ``make test-long`` shows them at its end."""

    def line(title: str, stream: Stream, seconds: float, **figures: int) -> None:
        text = ", ".join(f"{value:,} {name}" for name, value in figures.items())
        rate = len(stream.sent) / seconds
        print(f"{title}: {text}; {seconds:.1f} s, {rate:,.0f} messages/s")

    return line


@pytest.mark.long
def test_a_process_killed_at_any_time_loses_and_doubles_nothing(site, tmp_path, show):
    """
    Ended by SIGKILL in the middle of its work, and started again, several times.

    No accepted event is missing, none is counted twice, and every broken one is a dead
    letter with its reason; none has run out of attempts.
    """
    events, kills = 18_000, 12
    chance = random.Random(events)
    deliveries = players(events, seed=11).deliveries()
    exhausted = site.subscribe(DEAD_LETTERS)
    parts = [deliveries[part :: kills + 1] for part in range(kills + 1)]
    with Instance("stream_features", site.environment, tmp_path) as instance:
        stream = Stream(site, [instance])
        for number, part in enumerate(parts):
            before = stream.stored
            stream.publish(part)
            if number < kills:
                # Somewhere within what it now has to do.
                enough = before + int(chance.uniform(0.1, 0.8) * len(part))
                eventually(
                    lambda enough=enough: stream.stored >= enough, "it is at work"
                )
                instance.kill()
                if number % 2:
                    site.compact(datetime.now(UTC))
                instance.start()
            if number % 3 == 1:
                site.compact(datetime.now(UTC))
        stream.settle()
        seconds = time.monotonic() - stream.began
        stream.close()

    figures = stream.check()
    features = site.features()
    site.compact(datetime.now(UTC))
    assert site.features() == features
    assert figures["stored rows"] > figures["distinct events"]
    answer = site.subscriber.pull(subscription=exhausted, max_messages=10, timeout=3)
    site.unsubscribe(exhausted)
    assert not answer.received_messages
    show(f"{events:,} events", stream, seconds, **figures, kills=instance.starts - 1)


@pytest.mark.long
def test_several_instances_give_what_one_gives(site, tmp_path, show):
    """
    Two instances at once, then six, one of them killed: as one that never is.

    Duplicates reach different instances, and every instance has its own appends.
    """
    events = 6_000
    instances = [
        Instance("stream_features", site.environment, tmp_path / str(number))
        for number in range(6)
    ]
    with together(instances):
        streams = []
        for count in (2, 6):
            stream = Stream(site, instances[:count])
            streams.append(stream)
            before = stream.stored
            stream.publish(players(events, seed=count).deliveries())
            eventually(
                lambda stream=stream, enough=before + events // 4: (
                    stream.stored >= enough
                ),
                "they are at work",
            )
            instances[0].kill()
            site.compact(datetime.now(UTC))
            instances[0].start(wait=False)
            whole = Stream(site, [])
            for stream in streams:
                whole.sent.update(stream.sent)
            whole.settle()
            seconds = time.monotonic() - stream.began
            stream.close()
            show(f"{count} instances", stream, seconds, **whole.check())
    site.compact(datetime.now(UTC))
    whole.check()
