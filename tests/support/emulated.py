"""A deployment in the emulators, for what needs Google's own clients."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.pubsub_v1 import PublisherClient, SubscriberClient

from local.stack.stack import Stack
from local.stack.state import Options
from propensity.gcp.clients import open_client
from propensity.gcp.warehouse import Warehouse
from propensity.schema import Table
from tests.support.deployment import DEADLINE_S, Deployment


class Emulated(Deployment):
    """
    A deployment with names of its own in the emulators.

    Args:
        emulators: Of this test process.
        settings: Of its functions and commands, beyond where all that is.
    """

    def __init__(self, emulators: Stack, **settings: str) -> None:
        self._begin(**settings)
        # The topics' names begin with it.
        self.name = f"t{uuid.uuid4().hex[:10]}"
        options = replace(
            Options(),
            dataset=f"propensity_{self.name}",
            ga4_dataset=f"analytics_{self.name}",
            bucket=f"propensity-{self.name}",
        )
        self.stack = Stack(
            emulators.state, options=options, base=emulators.base, functions=()
        )
        self.project = options.project
        self.dataset = options.dataset
        self.ga4_dataset = options.ga4_dataset
        with contextlib.closing(Warehouse.open(self.settings)) as warehouse:
            warehouse.create_dataset(self.dataset)
            warehouse.create_dataset(self.ga4_dataset)
        with self._storage() as client:
            client.create_bucket(options.bucket)

    def _environment(self) -> Mapping[str, str]:
        return self.stack.environment

    def _storage(self) -> storage.Client:
        return storage.Client(
            project=self.project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.stack.url("storage")},
        )

    @cached_property
    def bucket(self) -> storage.Bucket:
        return self._storage().bucket(self.stack.options.bucket)

    @cached_property
    def publisher(self) -> PublisherClient:
        return open_client(PublisherClient, self.environment["PUBSUB_EMULATOR_HOST"])

    @cached_property
    def subscriber(self) -> SubscriberClient:
        return open_client(SubscriberClient, self.environment["PUBSUB_EMULATOR_HOST"])

    def close(self) -> None:
        """Close what was opened."""
        if "warehouse" in vars(self):
            self.warehouse.close()
        if "bucket" in vars(self):
            self.bucket.client.close()
        for client in ("publisher", "subscriber"):
            if client in vars(self):
                vars(self)[client].transport.close()

    def empty_tables(self, of: Iterable[Table]) -> None:
        """Remove all rows of tables."""
        script = "".join(f"TRUNCATE TABLE {table.stored};\n" for table in of)
        self.warehouse.execute(script)

    def damage(self, name: str, data: bytes) -> None:
        """Give an object other bytes than those of its checksum."""
        stored = self.stack.state.folder / "storage" / ".objects.sqlite"
        with contextlib.closing(sqlite3.connect(stored)) as database, database:
            change = "UPDATE generations SET content = ? WHERE bucket = ? AND name = ?"
            database.execute(change, [data, self.bucket.name, name])

    def path(self, topic: str) -> str:
        return f"projects/{self.project}/topics/{topic}"

    def create_topic(self, name: str) -> None:
        self.publisher.create_topic(name=self.path(name))

    def publish(self, topic: str, messages: Iterable[Mapping[str, Any]]) -> list[str]:
        """Publish messages of data and attributes; return their ids."""
        path = self.path(topic)
        every = list(messages)
        return [
            message_id
            for start in range(0, len(every), 500)
            for message_id in self.publisher.publish(
                topic=path, messages=every[start : start + 500]
            ).message_ids
        ]

    def subscribe(self, topic: str) -> str:
        """Subscribe to a topic; return the subscription."""
        name = f"s{uuid.uuid4().hex[:10]}"
        path = f"projects/{self.project}/subscriptions/{name}"
        self.subscriber.create_subscription(name=path, topic=self.path(topic))
        return path

    def unsubscribe(self, subscription: str) -> None:
        self.subscriber.delete_subscription(subscription=subscription)

    @contextlib.contextmanager
    def pulled(self, topic: str) -> Iterator[Callable[[int], list[Any]]]:
        """What comes to a topic from now on: so many messages."""
        subscription = self.subscribe(self.topic(topic))
        try:
            yield lambda count: self.pull(subscription, count)
        finally:
            self.unsubscribe(subscription)

    def pull(self, subscription: str, count: int) -> list[Any]:
        """Return this many messages, or those that come within a deadline."""
        pulled: list[Any] = []
        until = time.monotonic() + DEADLINE_S
        while len(pulled) < count and time.monotonic() < until:
            answer = self.subscriber.pull(
                subscription=subscription, max_messages=1000, timeout=5
            )
            messages = answer.received_messages
            if messages:
                self.subscriber.acknowledge(
                    subscription=subscription,
                    ack_ids=[received.ack_id for received in messages],
                )
            pulled.extend(received.message for received in messages)
        return pulled
