"""Pub/Sub as a replay finds it: topics that are written, and read by the test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1

from commands.cli import main
from local.generators.games import towns
from local.generators.games.games import Games
from offline.replay.messages import Tally
from offline.replay.rows import stored_events
from propensity import usecases
from propensity.events import rows as stream
from propensity.events.catalogue import Catalogue
from propensity.events.enrichment import PostcodeIndex
from propensity.events.messages import Message
from propensity.events.rows import Rules

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
EVER = ("--from", "2020-01-01", "--to", "2030-01-01")
GAMES = Games(users=30, maximum_events=40, days=20, seed=3)

# What a delivery adds to an event; all else is the event's.
OF_DELIVERY = {"message_id", "published_at", "received_at", "received_on"}


def catalogue(*more: usecases.UseCase) -> Catalogue:
    return Catalogue([*(usecases.load(name) for name in usecases.names()), *more])


def accepted(
    messages: Sequence[Message],
    *,
    known: Catalogue | None = None,
    at: datetime = NOW,
) -> stream.Accepted:
    """What the stream makes of messages."""
    return stream.accept(
        messages,
        known or catalogue(),
        PostcodeIndex.of(towns.postcodes()),
        received_at=at,
        rules=Rules(
            maximum_bytes=256 * 1024,
            clock_skew=timedelta(minutes=10),
            lateness=timedelta(days=36_500),
        ),
    )


def messages_of(games: Games) -> list[Message]:
    return [
        Message(data, f"m-{number}", attributes)
        for number, (data, attributes) in enumerate(games.payloads())
    ]


def facts(rows: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """Rows of ``stream_events`` without what is of their delivery, in a fixed order."""
    events = [
        {name: value for name, value in row.items() if name not in OF_DELIVERY}
        for row in rows.to_pylist()
    ]
    return sorted(events, key=lambda row: (row["event_time"], row["event_id"]))


def again(
    rows: Iterable[Mapping[str, Any]], known: Catalogue | None = None
) -> tuple[list[Message], Tally]:
    """Rows of ``stream_events`` as the messages that they are replayed as."""
    tally = Tally()
    events = stored_events(rows, known or catalogue(), topic="events", tally=tally)
    return [Message(event.data, "other", event.attributes) for event in events], tally


@dataclass
class Bus:
    """The Pub/Sub emulator, as a test sees it: topics that it reads and writes."""

    project: str
    publisher: Any
    subscriber: Any
    host: str = ""

    def topic(self, name: str = "") -> str:
        """Make a topic with a subscription of the same name, and return the name."""
        short_name = name or f"replay-{uuid.uuid4().hex[:10]}"
        path = f"projects/{self.project}/topics/{short_name}"
        if not name:
            self.publisher.create_topic(name=path)
        self.subscriber.create_subscription(name=self.path(short_name), topic=path)
        return short_name

    def path(self, subscription: str) -> str:
        return f"projects/{self.project}/subscriptions/{subscription}"

    def publish(self, topic: str, data: bytes, **attributes: str) -> str:
        path = f"projects/{self.project}/topics/{topic}"
        return self.publisher.publish(path, data, **attributes).result(timeout=20)

    def replay(self, *arguments: str) -> tuple[str, int]:
        """Replay to a new topic: its name, and the status of the command."""
        topic = self.topic()
        return topic, main(["replay", *arguments, "--topic", topic, "--rate", "0"])

    def pull(self, name: str, *, within: float = 20.0) -> list[Any]:
        """Some messages, acknowledged by nobody; none if none comes in time."""
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

    def receive(self, name: str, count: int) -> list[Message]:
        """So many messages or, where they do not come, fewer; and no more follow."""
        messages: list[Message] = []
        while len(messages) < count and (pulled := self.pull(name)):
            messages += self.acknowledged(name, pulled)
        return messages + self.acknowledged(name, self.pull(name, within=1.2))

    def acknowledged(self, name: str, pulled: Sequence[Any]) -> list[Message]:
        if pulled:
            self.subscriber.acknowledge(
                subscription=self.path(name),
                ack_ids=[delivery.ack_id for delivery in pulled],
            )
        return [
            Message(
                delivery.message.data,
                delivery.message.message_id,
                dict(delivery.message.attributes),
            )
            for delivery in pulled
        ]


def opened(project: str) -> Bus:
    return Bus(
        project,
        pubsub_v1.PublisherClient(),
        pubsub_v1.SubscriberClient(),
        os.environ["PUBSUB_EMULATOR_HOST"],
    )


@pytest.fixture
def bus(environment) -> Iterator[Bus]:
    """Pub/Sub in the project of the workplace."""
    bus = opened(environment["GOOGLE_CLOUD_PROJECT"])
    yield bus
    bus.publisher.stop()
    bus.publisher.transport.close()
    bus.subscriber.close()


def lines(path: Path, events: Iterable[bytes]) -> str:
    path.write_bytes(b"".join(event + b"\n" for event in events))
    return str(path)
