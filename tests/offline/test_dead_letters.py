"""Dead letters, specified: back to where they failed, and gone only then."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1
from google.pubsub_v1.types import DeadLetterPolicy

from commands.cli import main
from local.stack import topics
from offline import dead_letters
from offline.dead_letters import ORIGIN, SUBSCRIPTION
from propensity.events import dead_letters as stream
from propensity.events import rows as accepting
from propensity.events.dead_letters import MAXIMUM_RAW_BYTES
from propensity.events.messages import Message
from propensity.gcp.appends import Appends
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.tables import every as tables
from tests.events import DEPLOYED

NOW = datetime.now(UTC)
EVER = ("--from", "2020-01-01", "--to", "2030-01-01")
SOURCES: Mapping[str, str] = {
    "events-stream-features": "events",
    "enriched-score-stream": "enriched",
}


@dataclass
class Bus:
    """The Pub/Sub emulator, as a test sees it."""

    project: str
    publisher: Any
    subscriber: Any

    def subscribe(self, topic: str) -> None:
        """Make a subscription of the topic's name, to read it by."""
        path = f"projects/{self.project}/topics/{topic}"
        self.subscriber.create_subscription(name=self.path(topic), topic=path)

    def path(self, subscription: str) -> str:
        return f"projects/{self.project}/subscriptions/{subscription}"

    def publish(self, topic: str, data: bytes, **attributes: str) -> None:
        path = f"projects/{self.project}/topics/{topic}"
        self.publisher.publish(path, data, **attributes).result(timeout=20)

    def pull(self, name: str, *, within: float = 10.0) -> list[Any]:
        try:
            answer = self.subscriber.pull(
                subscription=self.path(name),
                max_messages=1000,
                retry=None,
                timeout=within,
            )
        except DeadlineExceeded:
            return []
        return list(answer.received_messages)

    def receive(self, name: str, count: int) -> list[tuple[bytes, dict[str, str]]]:
        """So many messages or, where they do not come, fewer; and no more follow."""
        found: dict[str, tuple[bytes, dict[str, str]]] = {}
        within = 10.0
        while pulled := self.pull(name, within=within):
            for delivery in pulled:
                message = delivery.message
                found[message.message_id] = (message.data, dict(message.attributes))
            within = 10.0 if len(found) < count else 1.2
        return list(found.values())


@pytest.fixture
def bus(environment, monkeypatch) -> Iterator[Bus]:
    """Pub/Sub in a project of the test's own, with the topics of a deployment."""
    project = f"letters-{uuid.uuid4().hex[:10]}"
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
    monkeypatch.setattr(dead_letters, "PULL_S", 2.0)
    topics.create(project, os.environ["PUBSUB_EMULATOR_HOST"], endpoints={})
    bus = Bus(project, pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient())
    yield bus
    bus.publisher.stop()
    bus.publisher.transport.close()
    bus.subscriber.close()


def replay(*options: str) -> int:
    return main(["dead-letters", "replay", *options])


def bury(bus: Bus, count: int = 3) -> set[bytes]:
    """Publish dead letters, and return their data."""
    letters = [b"%d" % number for number in range(count)]
    for data in letters:
        bus.publish("dead-letters", data)
    return set(letters)


def fail(bus: Bus, name: str, sent: Sequence[tuple[bytes, dict[str, str]]]) -> None:
    """Let messages fail until Pub/Sub gives them up."""
    path, topic = bus.path(name), f"projects/{bus.project}/topics"
    bus.subscriber.create_subscription(
        request={
            "name": path,
            "topic": f"{topic}/{SOURCES[name]}",
            "dead_letter_policy": DeadLetterPolicy(
                dead_letter_topic=f"{topic}/dead-letters", max_delivery_attempts=5
            ),
        }
    )
    for data, attributes in sent:
        bus.publish(SOURCES[name], data, **attributes)
    failures = 0
    while failures < 5 * len(sent):
        pulled = bus.pull(name)
        bus.subscriber.modify_ack_deadline(
            subscription=path,
            ack_ids=[delivery.ack_id for delivery in pulled],
            ack_deadline_seconds=0,
        )
        failures += len(pulled)
    bus.subscriber.delete_subscription(subscription=path)


class TestFailedTooOften:
    def test_go_back_to_where_they_failed(self, bus, capsys):
        """As they were, less what Pub/Sub added, each to its topic; then they are
        gone from the subscription."""
        event = {"event_id": "e-1", "use_case": "first_day_churn"}
        fail(bus, "events-stream-features", [(b'{"a":1}', event), (b"broken", {})])
        fail(bus, "enriched-score-stream", [(b'{"event_id":"e-2"}', {})])
        for name in ("events", "enriched"):
            bus.subscribe(name)
        status = replay()

        by_data = dict(bus.receive("events", 2))
        output = capsys.readouterr().out
        assert status == 0
        assert by_data.pop(b'{"a":1}') == event
        assert by_data.pop(b"broken").keys() == {"event_id"}
        assert by_data == {}
        assert bus.receive("enriched", 1) == [(b'{"event_id":"e-2"}', {})]
        assert bus.receive(SUBSCRIPTION, 0) == []
        assert "events 2" in output
        assert "enriched 1" in output

    def test_are_kept_until_they_are_published(self, bus, capsys):
        """Where nothing can be published nothing is acknowledged; all of it is there
        for the next time."""
        letters = bury(bus)
        topic = f"projects/{bus.project}/topics/events"
        bus.publisher.delete_topic(topic=topic)

        assert replay() == 1
        assert "events" in capsys.readouterr().err
        bus.publisher.create_topic(name=topic)
        bus.subscribe("events")
        assert replay() == 0
        assert {data for data, _ in bus.receive("events", 3)} == letters

    def test_of_an_unknown_subscription_stay(self, bus, capsys):
        """Nobody knows where they belong."""
        bus.publish("dead-letters", b"mine", **{ORIGIN: "somebody-s"})

        assert replay() == 1
        assert "unknown subscription somebody-s" in capsys.readouterr().out
        assert [data for data, _ in bus.receive(SUBSCRIPTION, 1)] == [b"mine"]

    def test_are_only_counted_on_a_dry_run_and_by_list(self, bus, capsys):
        """None is sent and none acknowledged."""
        bury(bus)
        bus.subscribe("events")

        assert replay("--dry-run") == 0
        assert "events 3" in capsys.readouterr().out
        assert main(["dead-letters", "list", "--json"]) == 1  # there is no table
        assert bus.pull("events", within=1.2) == []
        assert len(bus.receive(SUBSCRIPTION, 3)) == 3


class TestRefused:
    @pytest.fixture
    def warehouse(self, environment) -> Iterator[Warehouse]:
        warehouse = Warehouse.open(Settings.from_environment())
        warehouse.create(tables.DEAD_LETTERS)
        yield warehouse
        warehouse.close()

    @pytest.fixture
    def own(self, environment) -> Iterator[Bus]:
        """Pub/Sub of the workplace, with a topic of the test's own, and all others."""
        project = environment["GOOGLE_CLOUD_PROJECT"]
        bus = Bus(project, pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient())
        yield bus
        bus.publisher.stop()
        bus.publisher.transport.close()
        bus.subscriber.close()

    @pytest.fixture
    def topic(self, own, monkeypatch) -> str:
        prefix = f"l{uuid.uuid4().hex[:10]}"
        monkeypatch.setenv("PROPENSITY_TOPIC_PREFIX", prefix)
        name = f"{prefix}-events"
        own.publisher.create_topic(name=f"projects/{own.project}/topics/{name}")
        own.subscribe(name)
        return name

    @pytest.fixture
    def letters(self, warehouse) -> None:
        """Messages that were refused and are stored, one of them twice."""
        sent = [
            Message(b'{"user_id":', "m-1", {"event_id": "e-1", "from": "shop"}),
            Message(b"\xff\x00", "m-2", {}, "2026-11-20T11:59:59.123456789Z"),
            Message(b"{}", "m-3", {}),
            Message(b"x" * (MAXIMUM_RAW_BYTES + 1), "m-4", {}),
        ]
        refused = accepting.accept(sent, DEPLOYED, None, received_at=NOW).refused
        appends = Appends(warehouse.settings)

        async def store() -> None:
            for chosen in (refused, {0: refused[0]}):
                rows = stream.dead_letters(sent, chosen, received_at=NOW, personal={})
                await appends.append(tables.DEAD_LETTERS, rows)

        asyncio.run(store())

    def test_come_back_as_they_were(self, own, topic, letters, capsys):
        """Payload and attributes, byte for byte, each once. What had no identity but
        its message id has that one still. What was cut when it was stored is not
        sent, and said."""
        status = replay("--refused", *EVER)

        messages = {
            (data, *sorted(attributes.items()))
            for data, attributes in own.receive(topic, 3)
        }
        assert messages == {
            (b'{"user_id":', ("event_id", "e-1"), ("from", "shop")),
            (b"\xff\x00", ("event_id", "m-2")),
            (b"{}", ("event_id", "m-3")),
        }
        assert status == 1
        assert "only its beginning was kept 1" in capsys.readouterr().out

    def test_are_those_of_a_period(self, own, topic, letters):
        """By the time of receipt."""
        assert replay("--refused", "--from", "2020-01-01", "--to", "2020-01-02") == 0

        assert own.receive(topic, 0) == []

    def test_are_counted_by_reason(self, letters, own):
        """Each message once, beside those that wait in the subscription."""
        topics.create(own.project, os.environ["PUBSUB_EMULATOR_HOST"], endpoints={})
        bury(own, 2)
        found = dead_letters.letters(Settings.from_environment(), now=NOW)

        assert sum(row["messages"] for row in found["refused"]) == 4
        assert {row["reason"] for row in found["refused"]} >= {"wrong_encoding"}
        assert found["waiting"] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--refused"],
        ["--refused", "--from", "2026-01-01", "--to", "2026-01-01"],
        [*EVER],
    ],
    ids=" ".join,
)
def test_wrong_command_line_leaves_with_2(arguments):
    """As any command does, before anything is done."""
    assert replay(*arguments) == 2
