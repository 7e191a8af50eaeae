"""
What tests of the stream share: a site of tables and topics, and instances of functions.

An ``Instance`` is one process of a function, served from its staged source as it is
deployed, which can be killed and started again. Between it and the emulators stand,
where a test wants that, a ``TcpProxy``, which loses connections, and a ``WriteProxy``,
which answers the Storage Write API as a service in trouble does.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import itertools
import json
import os
import queue
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import requests
from google.cloud.bigquery_storage_v1 import types as storage_types
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PushConfig, RetryPolicy, Subscription

from deploy import stage
from local import venvs
from local.processes import HOST, Process, free_ports, spawn, stop
from local.stack.stack import Stack
from local.stack.state import FUNCTIONS, LOCAL, ROOT
from propensity import tables, usecases
from propensity.edges.artifacts import Artifacts
from propensity.edges.warehouse import Warehouse
from propensity.events import reading
from propensity.registry.versions import Registry
from propensity.runs.compact import compact, prepare_view
from propensity.runs.run import Run
from propensity.settings import Settings
from propensity.statements import statement
from tests.conftest import BigQueryEmulator, Workplace, new_workplace
from tests.emptied import empty_bucket, empty_tables
from tests.events import CATALOGUE, RULES, written
from tests.partitions import of_all_days
from tests.shared import once

FOREVER = datetime(2999, 1, 1, tzinfo=UTC)
USE_CASE = "first_day_churn"
# A machine under load may be slow; nothing that works waits as long.
DEADLINE_S = 120.0
POLL_S = 0.05
TABLES = (
    tables.STREAM_EVENTS,
    tables.STREAM_FEATURES_DAILY,
    tables.STREAM_USERS,
    tables.POSTCODE_INDEX,
    tables.INFERENCE_LOG,
    tables.TRUTH_EVENTS,
    tables.DEAD_LETTERS,
    tables.SUPPRESSED_USERS,
    tables.TRAINING_METADATA,
)


def eventually(
    is_so: Callable[[], Any], what: str, *, deadline_s: float = DEADLINE_S
) -> Any:
    """Ask until the answer is true, and return it."""
    until = time.monotonic() + deadline_s
    while not (found := is_so()):
        assert time.monotonic() < until, f"not within {deadline_s:.0f} s: {what}"
        time.sleep(POLL_S)
    return found


# Events -------------------------------------------------------------------------------


def rows_of(
    events: Iterable[bytes | Mapping[str, Any]],
    *,
    received_at: datetime,
    lateness: timedelta = RULES.lateness,
) -> pa.Table:
    """Return events as the rows that the stream stores of them; all are accepted."""
    rules = replace(RULES, lateness=lateness)
    numbers = itertools.count()
    messages = [
        reading.Message(
            one if isinstance(one, bytes) else written(one),
            f"{received_at:%Y%m%d%H%M%S%f}-{next(numbers)}",
        )
        for one in events
    ]
    accepted = reading.accept(
        messages, CATALOGUE, None, received_at=received_at, rules=rules
    )
    assert not accepted.refused, accepted.refused
    return pa.Table.from_batches([accepted.rows])


# A site -------------------------------------------------------------------------------


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
            "PROPENSITY_ENRICHED_TOPIC": self.topic("enriched"),
            "PROPENSITY_SCORES_TOPIC": self.topic("scores"),
            "PROPENSITY_RETRY_DEADLINE_S": "30",
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
        return Artifacts(client.bucket(self.workplace.bucket), deadline_s=30.0)

    @cached_property
    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.pubsub)

    @cached_property
    def publisher(self) -> PublisherClient:
        return PublisherClient(transport=PublisherGrpcTransport(channel=self.channel))

    @cached_property
    def subscriber(self) -> SubscriberClient:
        transport = SubscriberGrpcTransport(channel=self.channel)
        return SubscriberClient(transport=transport)

    def prepare(self) -> None:
        """Create what the stream needs: tables, view and topics."""
        self.warehouse.create_dataset(self.settings.dataset)
        for table in TABLES:
            self.warehouse.create(table)
        prepare_view(self.warehouse, self.artifacts)
        for topic in ("events", "enriched", "scores"):
            self.create_topic(self.topic(topic))

    def close(self) -> None:
        """Close what was opened."""
        if "warehouse" in vars(self):
            self.warehouse.close()
        if "artifacts" in vars(self):
            self.artifacts.close()
        if "channel" in vars(self):
            self.channel.close()

    # Tables

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run a query in the site's dataset, of all days."""
        found = self.warehouse.rows(of_all_days(sql), parameters)
        return [dict(row.items()) for row in found]

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self.rows(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"])

    def append(self, rows: pa.Table) -> None:
        """Store rows of ``stream_events``."""
        job = f"rows-{uuid.uuid4().hex}"
        self.warehouse.append(tables.STREAM_EVENTS, rows, job_id=job)

    def features(self) -> dict[str, dict[str, Any]]:
        """Return what the view says of each user."""
        return self._by_user(statement("streamed_features"), {"use_case": USE_CASE})

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
        every = [row for batch in batches for row in batch.to_pylist()]
        found = {row["user_id"]: row for row in every}
        assert len(found) == len(every), "a user has more than one row"
        return found

    def tiles(self, *, when: bool = True) -> list[dict[str, Any]]:
        """Return the tiles, in order; ``when`` they were written or without."""
        found = self.rows("SELECT * FROM stream_features_daily ORDER BY user_id, day")
        for row in found:
            row["event_ids"] = sorted(row["event_ids"])
            if not when:
                del row["compacted_at"]
        keys = [(row["use_case"], row["user_id"], row["day"]) for row in found]
        assert len(keys) == len(set(keys)), "a user's day has more than one tile"
        return found

    def users(self) -> list[dict[str, Any]]:
        """Return the rows of users, in order, without when they were written."""
        found = self.rows("SELECT * FROM stream_users ORDER BY use_case, user_id")
        for row in found:
            del row["compacted_at"]
        keys = [(row["use_case"], row["user_id"]) for row in found]
        assert len(keys) == len(set(keys)), "a user has more than one row"
        return found

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
                **changed,
            }
        )

    def compact(self, began_at: datetime, **changed: Any) -> dict[str, Any]:
        """Compact as if it were a moment."""
        return compact(self.run(began_at, **changed))

    # Objects

    def exported(self, table: str) -> dict[str, list[dict[str, Any]]]:
        """Return what is exported of a table, by its day's folder."""
        found: dict[str, list[dict[str, Any]]] = {}
        for name in self.artifacts.names(f"exports/{table}/"):
            day = name.split("/")[2]
            data = self.artifacts.read(name).data
            rows = pq.read_table(pa.BufferReader(data)).to_pylist()
            found.setdefault(day, []).extend(rows)
        return found

    # Topics

    def topic(self, name: str) -> str:
        """Return the site's own name of a topic."""
        return f"{name}-{self.name}"

    def path(self, topic: str) -> str:
        return f"projects/{self.workplace.project}/topics/{topic}"

    def create_topic(self, name: str) -> None:
        self.publisher.create_topic(name=self.path(name))

    def publish(self, topic: str, messages: Iterable[Mapping[str, Any]]) -> list[str]:
        """Publish messages of data and attributes; return their ids."""
        ids: list[str] = []
        waiting = list(messages)
        while waiting:
            size, count = 0, 0
            for one in waiting[:1000]:
                size += len(one["data"]) + 1000
                if count and size > 8_000_000:
                    break
                count += 1
            answer = self.publisher.publish(
                topic=self.path(topic), messages=waiting[:count]
            )
            ids.extend(answer.message_ids)
            del waiting[:count]
        return ids

    def subscribe(self, topic: str, *, endpoint: str | None = None) -> str:
        """Subscribe to a topic, for pushes or to pull; return the subscription."""
        name = f"s{uuid.uuid4().hex[:10]}"
        path = f"projects/{self.workplace.project}/subscriptions/{name}"
        mode = quote(f"CUSTOM_PUBSUB_{self.path(topic)}", safe="")
        push = f"{endpoint}?__GCP_CloudEventsMode={mode}"
        self.subscriber.create_subscription(
            Subscription(
                name=path,
                topic=self.path(topic),
                ack_deadline_seconds=60,
                push_config=PushConfig(push_endpoint=push) if endpoint else None,
                retry_policy=RetryPolicy(
                    minimum_backoff=Duration(nanos=100_000_000),
                    maximum_backoff=Duration(seconds=2),
                ),
            )
        )
        return path

    def unsubscribe(self, subscription: str) -> None:
        self.subscriber.delete_subscription(subscription=subscription)

    def pull(self, subscription: str, count: int) -> list[Any]:
        """Return this many messages, or those that come within a deadline."""
        found: list[Any] = []
        until = time.monotonic() + DEADLINE_S
        while len(found) < count and time.monotonic() < until:
            answer = self.subscriber.pull(
                subscription=subscription, max_messages=1000, timeout=5
            )
            messages = answer.received_messages
            if messages:
                self.subscriber.acknowledge(
                    subscription=subscription, ack_ids=[one.ack_id for one in messages]
                )
            found.extend(one.message for one in messages)
        return found


@contextlib.contextmanager
def new_site(emulators: Stack, **extra: str) -> Iterator[Site]:
    """Make a site in the emulators, with everything in it."""
    bigquery = BigQueryEmulator(
        url=emulators.url("bigquery"),
        storage_address=emulators.address("bigquery_storage"),
        project=emulators.options.project,
    )
    workplace = new_workplace(emulators, bigquery)
    site = Site(workplace, emulators.address("pubsub"), extra)
    try:
        site.prepare()
        yield site
    finally:
        site.close()


def another(site: Site, **extra: str) -> Site:
    """Return the same site for functions that are set differently."""
    made = Site(site.workplace, site.pubsub, {**site.extra, **extra}, site.name)
    for name in ("warehouse", "artifacts", "channel"):
        vars(made)[name] = getattr(site, name)
    return made


def emptied(site: Site) -> Site:
    """Return a site without rows, objects and a watermark."""
    empty_tables(site.warehouse, TABLES)
    empty_bucket(site.artifacts)
    prepare_view(site.warehouse, site.artifacts)
    return site


@contextlib.contextmanager
def changed(site: Site, **extra: str) -> Iterator[Site]:
    """Give the tables of a site to runs that are set differently."""
    made = another(site, **extra)
    made.warehouse = Warehouse.open(made.settings)
    with contextlib.closing(made.warehouse):
        prepare_view(made.warehouse, made.artifacts)
        yield made


# Runs that die ------------------------------------------------------------------------


class Died(BaseException):
    """The process has ended; nothing it does after that happens."""


class Life:
    """Counts what a process asks of others, until it dies before one of them."""

    def __init__(self, ends_at: int) -> None:
        self.ends_at = ends_at
        self.asked = 0

    def step(self) -> None:
        """Go on, or die; who is dead stays so."""
        self.asked += 1
        if self.asked >= self.ends_at:
            raise Died


class MortalWarehouse(Warehouse):
    """BigQuery, for a process that may die."""

    life: Life

    def rows(self, *arguments: Any) -> Any:
        self.life.step()
        return super().rows(*arguments)

    def execute(self, *arguments: Any) -> int:
        self.life.step()
        return super().execute(*arguments)

    def replace_view(self, name: str, sql: str) -> None:
        self.life.step()
        super().replace_view(name, sql)


class MortalArtifacts(Artifacts):
    """Cloud Storage, for a process that may die."""

    life: Life

    def find(self, name: str) -> Any:
        self.life.step()
        return super().find(name)

    def _write(self, *arguments: Any, **named: Any) -> int:
        self.life.step()
        return super()._write(*arguments, **named)

    def names(self, prefix: str) -> list[str]:
        self.life.step()
        return super().names(prefix)

    def delete(self, name: str) -> None:
        self.life.step()
        super().delete(name)


def mortal_run(site: Site, began_at: datetime, life: Life, **changed: Any) -> Run:
    """Return a run that ends when its life does."""
    warehouse = MortalWarehouse(site.settings, client=site.warehouse.client)
    with site.workplace.storage.client() as client:
        bucket = client.bucket(site.workplace.bucket)
        artifacts = MortalArtifacts(bucket, deadline_s=30.0)
    warehouse.life = artifacts.life = life
    registry = Registry(artifacts, "stream")
    return site.run(began_at, warehouse=warehouse, registry=registry, **changed)


# Instances ----------------------------------------------------------------------------

_FUNCTIONS = {function.target: function for function in FUNCTIONS}


def python_of(target: str) -> Path:
    """Return the Python with a function's own requirements."""
    function = _FUNCTIONS[target]
    return venvs.python_of(
        ROOT / function.folder / function.requirements, folder=LOCAL / "venvs"
    )


@dataclass
class Instance:
    """One process of a function; a context in which it runs."""

    target: str
    environment: Mapping[str, str]
    home: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: Process | None = None
    starts: int = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/"

    @property
    def _staged(self) -> Path:
        """The staged source, which all instances of a test run share."""
        function = _FUNCTIONS[self.target]

        def stage_it(folder: Path) -> None:
            stage.stage(
                ROOT / function.folder,
                folder / "staged",
                requirements=function.requirements,
                root=ROOT,
            )

        return once(self.target, stage_it) / "staged"

    def start(self, *, wait: bool = True) -> Instance:
        """Start the process, and wait until it answers."""
        runtime = self.home / "run"
        runtime.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        is_asynchronous = _FUNCTIONS[self.target].is_asynchronous
        self.process = spawn(
            self.target,
            [
                *(str(python_of(self.target)), "-m", "functions_framework"),
                *("--source", "main.py", "--target", self.target),
                *("--host", HOST, "--port", str(self.port)),
                *(["--asgi"] if is_asynchronous else []),
            ],
            environment={
                "PATH": os.environ["PATH"],
                "PYTHONUNBUFFERED": "1",
                "XDG_RUNTIME_DIR": str(runtime),
                **self.environment,
            },
            folder=self._staged,
            port=self.port,
            log=self.home / f"log-{self.starts}",
        )
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Wait until the function answers."""
        eventually(self._answers, f"{self.target} answers")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.is_running, self.log()
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}robots.txt", timeout=5).status_code < 500
        return False

    def kill(self) -> None:
        """End the process and its workers at once, as a machine that is lost."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        eventually(lambda: not self.process.is_running, "the process has ended")

    def stop(self) -> None:
        """End the process as the platform does."""
        if self.process is not None:
            stop([self.process])

    def __enter__(self) -> Instance:
        return self if self.process else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log(self) -> str:
        """Return what the last process has written."""
        return (self.home / f"log-{self.starts}").read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """Return the JSON lines of it."""
        lines = [line for line in self.log().splitlines() if line.startswith("{")]
        return [json.loads(line) for line in lines]

    def memory_mib(self) -> float:
        """Return the resident memory of the process and its workers."""
        assert self.process is not None
        kib = 0
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.process.pid:
                    status = (folder / "status").read_text()
                    kib += int(status.partition("VmRSS:")[2].split()[0])
        return kib / 1024

    # Pushes

    def post(
        self,
        data: bytes | Mapping[str, Any],
        *,
        message_id: str | None = None,
        attributes: Mapping[str, str] | None = None,
        envelope: str = "binary",
    ) -> requests.Response:
        """Push one message in an envelope, and return the answer."""
        data = data if isinstance(data, bytes) else written(data)
        pushed = push(data, message_id or uuid.uuid4().hex, attributes or {})
        body, headers = ENVELOPES[envelope](pushed)
        return requests.post(self.url, data=body, headers=headers, timeout=DEADLINE_S)

    def post_all(
        self, events: Sequence[bytes | Mapping[str, Any]], *, threads: int = 16
    ) -> list[requests.Response]:
        """Push messages at the same time; answers are in their order."""
        with futures.ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.post, events))


def push(data: bytes, message_id: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    """Return what Pub/Sub posts to push a message."""
    published = "2026-07-01T12:00:01.234Z"
    return {
        "message": {
            "data": base64.b64encode(data).decode(),
            "attributes": dict(attributes),
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": published,
            "publish_time": published,
        },
        "subscription": "projects/p/subscriptions/events-stream-features",
    }


Posted = tuple[bytes, dict[str, str]]
_CLOUD_EVENT = {
    "specversion": "1.0",
    "type": "google.cloud.pubsub.topic.v1.messagePublished",
    "source": "//pubsub.googleapis.com/projects/p/topics/events",
    "time": "2026-07-01T12:00:01.234Z",
}


def plain(pushed: Mapping[str, Any]) -> Posted:
    """As a subscription pushes."""
    return json.dumps(pushed).encode(), {"content-type": "application/json"}


def binary(pushed: Mapping[str, Any]) -> Posted:
    """As Eventarc delivers: a CloudEvent whose attributes are headers."""
    body, headers = plain(pushed)
    identity = {**_CLOUD_EVENT, "id": pushed["message"]["messageId"]}
    return body, headers | {f"ce-{name}": value for name, value in identity.items()}


def structured(pushed: Mapping[str, Any]) -> Posted:
    """As a CloudEvent whose attributes are beside its data."""
    whole = {
        **_CLOUD_EVENT,
        "id": pushed["message"]["messageId"],
        "datacontenttype": "application/json",
        "data": pushed,
    }
    return json.dumps(whole).encode(), {"content-type": "application/cloudevents+json"}


ENVELOPES: Mapping[str, Callable[[Mapping[str, Any]], Posted]] = {
    "binary": binary,
    "structured": structured,
    "plain": plain,
}


# Trouble ------------------------------------------------------------------------------


class TcpProxy:
    """Between a client and a server: loses their connections, and takes no new ones."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_refusing = False
        self.connections = 0

    def __enter__(self) -> TcpProxy:
        self._listener = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def refuse(self) -> None:
        """Cut every connection, and each new one at once."""
        self.is_refusing = True
        self._call(self._cut)

    def accept(self) -> None:
        """Let connections through again."""
        self.is_refusing = False

    def cut(self) -> None:
        """Cut every connection that there is now."""
        self._call(self._cut)

    def _call(self, function: Callable[[], None]) -> None:
        done = threading.Event()

        def call() -> None:
            function()
            done.set()

        self._loop.call_soon_threadsafe(call)
        assert done.wait(DEADLINE_S)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        started = asyncio.start_server(self._serve, sock=self._listener)
        server = self._loop.run_until_complete(started)
        self._loop.run_forever()
        server.close()
        self._cut()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            self._loop.run_until_complete(
                asyncio.gather(*self._tasks, return_exceptions=True)
            )
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            if self.is_refusing:
                return
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
            self._writers.add(up_writer)
            await asyncio.gather(
                self._pump(reader, up_writer), self._pump(up_reader, writer)
            )
            up_writer.transport.abort()
            self._writers.discard(up_writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@dataclass(frozen=True)
class Appended:
    """One request to append: to which table, and its rows."""

    table: str
    rows: pa.RecordBatch


Rule = Callable[[Appended], Any]


class WriteProxy(grpc.GenericRpcHandler):
    """
    The emulator's Storage API, whose appends a rule may answer instead.

    The rule returns None to let an append through, a ``grpc.StatusCode`` to end its
    call with, ``LOST`` to append and then end the call, texts by row to refuse rows. It
    may also wait: then the service is slow.
    """

    LOST = "lost"
    APPEND = "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows"

    def __init__(self, upstream: str, rule: Rule = lambda _: None) -> None:
        self.rule = rule
        self.appended: list[Appended] = []
        self._upstream = upstream

    def __enter__(self) -> WriteProxy:
        unlimited = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        self._channel = grpc.insecure_channel(self._upstream, options=unlimited)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(64), handlers=[self], options=unlimited
        )
        self.address = f"{HOST}:{self._server.add_insecure_port(f'{HOST}:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.rule = lambda _: grpc.StatusCode.UNAVAILABLE
        self._server.stop(0).wait()
        self._channel.close()

    def service(self, details: Any) -> Any:
        """Return what serves a method: as it comes, but for appends."""
        serve = self._append if details.method == self.APPEND else self._forward
        return grpc.stream_stream_rpc_method_handler(
            functools.partial(serve, details.method)
        )

    def _forward(self, method: str, sent: Any, context: Any) -> Iterator[bytes]:
        call = self._channel.stream_stream(method)
        try:
            yield from call(sent, metadata=_kept(context.invocation_metadata()))
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    def _append(self, method: str, sent: Any, context: Any) -> Iterator[bytes]:
        through: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        call = self._channel.stream_stream(method)(
            iter(through.get, None), metadata=_kept(context.invocation_metadata())
        )
        request = storage_types.AppendRowsRequest.pb()
        table, schema = "", None
        try:
            for data in sent:
                asked = request.FromString(data)
                if asked.write_stream:
                    table = asked.write_stream.split("/")[-3]
                given = asked.arrow_rows
                if written := given.writer_schema.serialized_schema:
                    schema = pa.ipc.read_schema(pa.py_buffer(written))
                rows = pa.ipc.read_record_batch(
                    pa.py_buffer(given.rows.serialized_record_batch), schema
                )
                appended = Appended(table, rows)
                decided = self.rule(appended)
                if isinstance(decided, grpc.StatusCode):
                    context.abort(decided, "injected")
                if isinstance(decided, Mapping):
                    yield _refusing(decided)
                    continue
                through.put(data)
                answer = next(call)
                self.appended.append(appended)
                if decided == self.LOST:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "injected")
                yield answer
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        finally:
            through.put(None)


def _kept(metadata: Any) -> list[tuple[str, str]]:
    return [(key, value) for key, value in metadata if key == "x-goog-request-params"]


def _refusing(rows: Mapping[int, str]) -> bytes:
    response = storage_types.AppendRowsResponse.pb()()
    response.error.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    response.error.message = "Errors found while processing rows"
    for index, text in rows.items():
        response.row_errors.add(index=index, code=1, message=text)
    return bytes(response.SerializeToString())
