"""What tests of the stream share: a site of tables and topics, and runs that die."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from local.stack.stack import Stack
from propensity.events import rows as stream
from propensity.events.messages import Message
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.tables import every as tables
from tests.deployment import DEADLINE_S, OF_A_STREAM, Deployment
from tests.events import DEPLOYED, LATENESS, written

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
    is_so: Callable[[], Any], what: str = "it is so", *, deadline_s: float = DEADLINE_S
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


def prepare_stream(site: Deployment) -> None:
    """Create what the stream needs: tables, view and topics."""
    site.warehouse.create_dataset(site.settings.dataset)
    for table in TABLES:
        site.warehouse.create(table)
    prepare_view(site.warehouse)
    for topic in ("events", "enriched", "scores"):
        site.create_topic(site.topic(topic))


@contextlib.contextmanager
def new_site(emulators: Stack, **extra: str) -> Iterator[Deployment]:
    """Make a deployment of the stream alone: no export, and topics."""
    site = Deployment(emulators, **(OF_A_STREAM | extra))
    site.extra = {"PROPENSITY_TOPIC_PREFIX": site.name, **site.extra}
    try:
        prepare_stream(site)
        yield site
    finally:
        site.close()


@contextlib.contextmanager
def new_versioned_site(emulators: Stack, **extra: str) -> Iterator[Deployment]:
    """Make a site with all tables, and a bucket that keeps what is overwritten."""
    with new_site(emulators, **extra) as site:
        for table in tables.TABLES:
            site.warehouse.create(table)
        site.bucket.versioning_enabled = True
        site.bucket.patch()
        yield site


def emptied(site: Deployment) -> Deployment:
    """Return a site without rows and objects."""
    site.empty(TABLES)
    prepare_view(site.warehouse)
    return site


@contextlib.contextmanager
def changed(site: Deployment, **extra: str) -> Iterator[Deployment]:
    """Give the tables of a site to runs that are set differently."""
    # Opened here, the bucket is closed with the site.
    assert site.artifacts
    twin = site.with_settings(**extra)
    twin.warehouse = Warehouse.open(twin.settings)
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
