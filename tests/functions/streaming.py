"""What tests of the stream share: a site of tables and topics, and runs that die."""

from __future__ import annotations

import contextlib
import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import PushConfig, RetryPolicy, Subscription

from local.demos.calls import FOLDER as DEMO_SQL
from local.stack.stack import Stack
from propensity import usecases
from propensity.events import rows as stream
from propensity.events.messages import Message
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.clients import open_client
from propensity.gcp.warehouse import Warehouse
from propensity.registry.versions import Registry
from propensity.runs.compact import compact
from propensity.runs.run import Run
from propensity.settings import Settings
from propensity.statements import statement
from propensity.tables import every as tables
from tests.clocks import ManualClock
from tests.conftest import Workplace, new_workplace
from tests.emptied import empty_bucket, empty_tables
from tests.events import DEPLOYED, LATENESS, written
from tests.partitions import of_all_days
from tests.propensity.registry.versions import store

FOREVER = datetime(2999, 1, 1, tzinfo=UTC)
USE_CASE = "first_day_churn"
# A machine under load may be slow; nothing that works waits as long.
DEADLINE_S = 120.0
POLL_S = 0.05
TABLES = (
    tables.STREAM_EVENTS,
    tables.STREAM_FEATURES_DAILY,
    tables.STREAM_COMPACTIONS,
    tables.POSTCODE_INDEX,
    tables.INFERENCE_LOG,
    tables.TRUTH_EVENTS,
    tables.DEAD_LETTERS,
    tables.SUPPRESSED_USERS,
    tables.TRAINING_METADATA,
)


def prepare_view(warehouse: Warehouse) -> None:
    """Create the view for events that are received in a spring of the tests' own."""
    settings, name = warehouse.settings, tables.STREAM_FEATURES
    text = tables.views(f"{settings.project}.{settings.dataset}")[name]
    warehouse.replace_view(name, text.replace("CURRENT_DATE()", "DATE '2026-03-20'"))


def eventually(
    is_so: Callable[[], Any], what: str, *, deadline_s: float = DEADLINE_S
) -> Any:
    """Ask until the answer is true, and return it."""
    until = time.monotonic() + deadline_s
    while not (result := is_so()):
        assert time.monotonic() < until, f"not within {deadline_s:.0f} s: {what}"
        time.sleep(POLL_S)
    return result


def rows_of(
    events: Iterable[bytes | Mapping[str, Any]],
    *,
    received_at: datetime,
    lateness: timedelta = LATENESS,
) -> pa.Table:
    """Return events as the rows that the stream stores of them; all are accepted."""
    numbers = itertools.count()
    messages = [
        Message(
            event if isinstance(event, bytes) else written(event),
            f"{received_at:%Y%m%d%H%M%S%f}-{next(numbers)}",
        )
        for event in events
    ]
    accepted = stream.accept(messages, DEPLOYED, None, received_at=received_at)
    assert not accepted.refused, accepted.refused
    batch = stream.rows_of(
        tables.STREAM_EVENTS,
        accepted.events,
        received_at=received_at,
        lateness=lateness,
    )
    return pa.Table.from_batches([batch])


@dataclass
class Site:
    """Tables, a bucket and topics of its own, and what tests ask of them."""

    workplace: Workplace
    pubsub: str
    extra: Mapping[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")

    @cached_property
    def environment(self) -> dict[str, str]:
        """The variables of a function that works here."""
        return {
            **self.workplace.environment,
            # No export: what the stream needs is all there is.
            "PROPENSITY_GA4_DATASET": "",
            "PUBSUB_EMULATOR_HOST": self.pubsub,
            "PROPENSITY_USE_CASE": USE_CASE,
            "PROPENSITY_TOPIC_PREFIX": self.name,
            "PROPENSITY_DEADLINE_S": "30",
            **self.extra,
        }

    @cached_property
    def settings(self) -> Settings:
        return Settings.from_environment(self.environment)

    @cached_property
    def warehouse(self) -> Warehouse:
        return Warehouse.open(self.settings)

    @cached_property
    def artifacts(self) -> Artifacts:
        client = self.workplace.storage.client()
        return Artifacts(client.bucket(self.workplace.bucket), self.settings)

    @cached_property
    def publisher(self) -> PublisherClient:
        return open_client(PublisherClient, self.pubsub)

    @cached_property
    def subscriber(self) -> SubscriberClient:
        return open_client(SubscriberClient, self.pubsub)

    def prepare(self) -> None:
        """Create what the stream needs: tables, view and topics."""
        self.warehouse.create_dataset(self.settings.dataset)
        for table in TABLES:
            self.warehouse.create(table)
        prepare_view(self.warehouse)
        for topic in ("events", "enriched", "scores"):
            self.create_topic(self.topic(topic))

    def close(self) -> None:
        """Close what was opened."""
        if "warehouse" in vars(self):
            self.warehouse.close()
        if "artifacts" in vars(self):
            self.artifacts.close()
        for client in ("publisher", "subscriber"):
            if client in vars(self):
                vars(self)[client].transport.close()

    # Tables

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run a query in the site's dataset, of all days."""
        rows = self.warehouse.rows(of_all_days(sql), parameters)
        return [dict(row.items()) for row in rows]

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self.rows(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"])

    def append(self, rows: pa.Table) -> None:
        """Store rows of ``stream_events``."""
        self.warehouse.write(tables.STREAM_EVENTS, rows)

    def features(self) -> dict[str, dict[str, Any]]:
        """Return what the view says of each user."""
        return self._by_user(
            statement("streamed_features", own=DEMO_SQL), {"use_case": USE_CASE}
        )

    def clean_features(self, as_of: datetime = FOREVER) -> dict[str, dict[str, Any]]:
        """Return the same from one computation over all events before a moment."""
        return self._by_user(
            statement("stream_features_as_of"),
            {
                "use_case": USE_CASE,
                "as_of": as_of,
                "earliest": datetime(1970, 1, 1, tzinfo=UTC).date(),
            },
        )

    def _by_user(self, sql: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        batches = self.warehouse.batches(sql, parameters)
        rows = [row for batch in batches for row in batch.to_pylist()]
        by_user = {row["user_id"]: row for row in rows}
        assert len(by_user) == len(rows), "a user has more than one row"
        return by_user

    def tiles(self, *, when: bool = True) -> list[dict[str, Any]]:
        """Return the tiles, in order; ``when`` they were written or without."""
        tiles = self.rows("SELECT * FROM stream_features_daily ORDER BY user_id, day")
        for row in tiles:
            if not when:
                del row["compacted_at"]
        keys = [(row["use_case"], row["user_id"], row["day"]) for row in tiles]
        assert len(keys) == len(set(keys)), "a user's day has more than one tile"
        return tiles

    def run(self, began_at: datetime, **changed: Any) -> Run:
        """Return a run of the compaction that begins at a moment."""
        return Run(
            **{
                "function": "compactFeatures",
                "run_id": uuid.uuid4().hex,
                "settings": self.settings,
                "use_case": usecases.load(USE_CASE),
                "as_of": began_at.date(),
                "force": False,
                "began_at": began_at,
                "warehouse": self.warehouse.for_run(),
                "registry": Registry(self.artifacts, "stream"),
                "clock": ManualClock(began_at),
                **changed,
            }
        )

    def compact(self, began_at: datetime, **changed: Any) -> dict[str, Any]:
        """Compact as if it were a moment."""
        return compact(self.run(began_at, **changed))

    # Objects

    def publish_version(self, use_case: str, **files: Any) -> int:
        """Store and record a fitted model, as training does; return its version."""
        version, row = store(Registry(self.artifacts, use_case), **files)
        self.warehouse.write(tables.TRAINING_METADATA, row)
        return version

    def exported(self, table: str) -> dict[str, list[dict[str, Any]]]:
        """Return what is exported of a table, by its day's folder."""
        by_day: dict[str, list[dict[str, Any]]] = {}
        for name in self.artifacts.names(f"exports/{table}/"):
            day = name.split("/")[2]
            data = self.artifacts.read(name).data
            rows = pq.read_table(pa.BufferReader(data)).to_pylist()
            by_day.setdefault(day, []).extend(rows)
        return by_day

    # Topics

    def topic(self, name: str) -> str:
        """Return the site's own name of a topic."""
        return f"{self.name}-{name}"

    def path(self, topic: str) -> str:
        return f"projects/{self.workplace.project}/topics/{topic}"

    def create_topic(self, name: str) -> None:
        self.publisher.create_topic(name=self.path(name))

    def publish(self, topic: str, messages: Iterable[Mapping[str, Any]]) -> list[str]:
        """Publish messages of data and attributes; return their ids."""
        path, every = self.path(topic), list(messages)
        return [
            message_id
            for start in range(0, len(every), 500)
            for message_id in self.publisher.publish(
                topic=path, messages=every[start : start + 500]
            ).message_ids
        ]

    def subscribe(self, topic: str, *, endpoint: str | None = None) -> str:
        """Subscribe to a topic, for pushes or to pull; return the subscription."""
        name = f"s{uuid.uuid4().hex[:10]}"
        path = f"projects/{self.workplace.project}/subscriptions/{name}"
        self.subscriber.create_subscription(
            Subscription(
                name=path,
                topic=self.path(topic),
                ack_deadline_seconds=60,
                push_config=PushConfig(push_endpoint=endpoint) if endpoint else None,
                retry_policy=RetryPolicy(
                    minimum_backoff=Duration(nanos=100_000_000),
                    maximum_backoff=Duration(seconds=2),
                ),
            )
        )
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


@contextlib.contextmanager
def new_site(emulators: Stack, **extra: str) -> Iterator[Site]:
    """Make a site in the emulators, with everything in it."""
    site = Site(new_workplace(emulators), emulators.address("pubsub"), extra)
    try:
        site.prepare()
        yield site
    finally:
        site.close()


@contextlib.contextmanager
def new_deployment(emulators: Stack, **extra: str) -> Iterator[Site]:
    """Make a site with all tables, and a bucket that keeps what is overwritten."""
    with new_site(emulators, **extra) as site:
        for table in tables.TABLES:
            site.warehouse.create(table)
        with site.workplace.storage.client() as client:
            bucket = client.bucket(site.workplace.bucket)
            bucket.versioning_enabled = True
            bucket.patch()
        yield site


def emptied(site: Site) -> Site:
    """Return a site without rows and objects."""
    empty_tables(site.warehouse, TABLES)
    empty_bucket(site.artifacts)
    prepare_view(site.warehouse)
    return site


@contextlib.contextmanager
def changed(site: Site, **extra: str) -> Iterator[Site]:
    """Give the tables of a site to runs that are set differently."""
    twin = Site(site.workplace, site.pubsub, {**site.extra, **extra}, site.name)
    twin.artifacts = site.artifacts
    with contextlib.closing(twin.warehouse):
        prepare_view(twin.warehouse)
        yield twin


class Died(BaseException):
    """The process has ended; nothing it does after that happens."""


CALLS = (
    *((Warehouse, name) for name in ("rows", "execute", "replace_view")),
    *((Artifacts, name) for name in ("find", "replace", "names", "delete")),
)


@contextlib.contextmanager
def dying(before: int) -> Iterator[list[str]]:
    """Let a process die before that many calls of its clients; yield their names."""
    calls: list[str] = []

    def mortal(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            if len(calls) >= before:
                raise Died
            return original(*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for client, name in CALLS:
            patch.setattr(client, name, mortal(name, getattr(client, name)))
        yield calls
