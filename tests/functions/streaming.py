"""What tests of the stream share: a site of tables and topics, and runs that die."""

from __future__ import annotations

import contextlib
import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from local.demos.calls import FOLDER as DEMO_SQL
from local.stack.stack import Stack
from propensity import usecases
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.leases import leased
from propensity.runs.run import Overrides, Run
from propensity.statements import statement
from propensity.streaming.events import rows as stream
from propensity.streaming.events.messages import Message
from propensity.streaming.features.compact import KIND, SCOPE, compact
from propensity.tables import every as tables
from propensity.tables.models import TRAINING_METADATA
from propensity.tables.stream import (
    DEAD_LETTERS,
    INFERENCE_LOG,
    POSTCODE_INDEX,
    STREAM_COMPACTIONS,
    STREAM_EVENTS,
    STREAM_FEATURES,
    STREAM_FEATURES_DAILY,
    SUPPRESSED_USERS,
    TRUTH_EVENTS,
)
from tests.support.clocks import ManualClock
from tests.support.deployment import DEADLINE_S, OF_A_STREAM, STREAMED, Deployment
from tests.support.emulated import Emulated
from tests.support.events import DEPLOYED, LATENESS, written

POLL_S = 0.05
FOREVER = datetime(2999, 1, 1, tzinfo=UTC)
TABLES = (
    STREAM_EVENTS,
    STREAM_FEATURES_DAILY,
    STREAM_COMPACTIONS,
    POSTCODE_INDEX,
    INFERENCE_LOG,
    TRUTH_EVENTS,
    DEAD_LETTERS,
    SUPPRESSED_USERS,
    TRAINING_METADATA,
)


def prepare_view(warehouse: Warehouse) -> None:
    """Create the view for events that are received in a spring of the tests' own."""
    settings = warehouse.settings
    name = STREAM_FEATURES
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
    batch = stream.stored_rows(
        STREAM_EVENTS,
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


def a_site(**extra: str) -> Deployment:
    """Return a deployment of the stream alone: no export, and topics."""
    site = Deployment(**(OF_A_STREAM | extra))
    site.extra = {"PROPENSITY_TOPIC_PREFIX": site.name, **site.extra}
    prepare_stream(site)
    return site


@contextlib.contextmanager
def new_site(emulators: Stack, **extra: str) -> Iterator[Deployment]:
    """Make one in the emulators."""
    site = Emulated(emulators, **(OF_A_STREAM | extra))
    site.extra = {"PROPENSITY_TOPIC_PREFIX": site.name, **site.extra}
    try:
        prepare_stream(site)
        yield site
    finally:
        site.close()


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


def streamed_features(site: Deployment) -> dict[str, dict[str, Any]]:
    """Return what the view says of each user."""
    return by_user(
        site, statement("streamed_features", folder=DEMO_SQL), {"use_case": STREAMED}
    )


def clean_features(site: Deployment) -> dict[str, dict[str, Any]]:
    """Return the same from one computation over all events."""
    return by_user(
        site,
        statement("stream_features_as_of"),
        {
            "use_case": STREAMED,
            "as_of": FOREVER,
            "earliest": datetime(1970, 1, 1, tzinfo=UTC).date(),
        },
    )


def by_user(
    site: Deployment, sql: str, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    batches = site.warehouse.batches(sql, parameters)
    rows = [row for batch in batches for row in batch.to_pylist()]
    by_user = {row["user_id"]: row for row in rows}
    assert len(by_user) == len(rows), "a user has more than one row"
    return by_user


def tiles(site: Deployment, *, when: bool = True) -> list[dict[str, Any]]:
    """Return the tiles, in order; ``when`` they were written or without."""
    tiles = site.rows("SELECT * FROM stream_features_daily ORDER BY user_id, day")
    for row in tiles:
        if not when:
            del row["compacted_at"]
    keys = [(row["use_case"], row["user_id"], row["day"]) for row in tiles]
    assert len(keys) == len(set(keys)), "a user's day has more than one tile"
    return tiles


def compaction(
    site: Deployment, began_at: datetime, *, force: bool = False, **changed: Any
) -> Run:
    """Return a run of the compaction that begins at a moment."""
    return Run(
        **{
            "function": "compactFeatures",
            "run_id": uuid.uuid4().hex,
            "settings": site.settings,
            "use_case": usecases.load(STREAMED),
            "as_of": began_at.date(),
            "overrides": Overrides.of(force=force),
            "began_at": began_at,
            "warehouse": site.warehouse.for_run(),
            "artifacts": site.artifacts,
            "clock": ManualClock(began_at),
            **changed,
        }
    )


def compact_at(site: Deployment, began_at: datetime, **changed: Any) -> dict[str, Any]:
    """Compact as if it were a moment, while no other compaction does."""
    run = compaction(site, began_at, **changed)
    with leased(site.artifacts, SCOPE, KIND, clock=run.now) as lease:
        return compact(replace(run, lease=lease))


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
