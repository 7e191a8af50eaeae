"""Deployments that a doctor examines: one that is as healthy as can be, and others."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from google.cloud import bigquery

from commands.cli import main
from offline import dead_letters
from offline.doctor import run
from offline.doctor.checks import Examination
from propensity import usecases
from propensity.registry.leases import Lease
from propensity.runs import setup
from propensity.tables.stream import DEAD_LETTERS, POSTCODE_INDEX
from propensity.timeframe import midnight
from tests.support import shop
from tests.support.deployment import STREAMED, Deployment, entered

# A Wednesday, at noon: the week's runs were on Monday, the month's on the first.
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
MONDAY = date(2026, 3, 2)
FIRST = NOW.date() - timedelta(days=22)
EXPORT = [FIRST + timedelta(days=n) for n in range((NOW.date() - FIRST).days)]
VIEW_IN_THE_EXPORT = "events_2026_recent"
POINTER = f"models/{STREAMED}/champion.json"


def over(deployment: Deployment, days: list[date]) -> Deployment:
    """Return the same over another export, of which there are only table names."""
    dataset = f"{deployment.ga4_dataset}_{uuid.uuid4().hex[:6]}"
    deployment.warehouse.create_dataset(dataset)
    for day in days:
        name = f"{deployment.project}.{dataset}.events_{day:%Y%m%d}"
        column = bigquery.SchemaField("event_name", "STRING")
        deployment.warehouse.client.create_table(bigquery.Table(name, [column]))
    return deployment.with_settings(PROPENSITY_GA4_DATASET=dataset)


def point(deployment: Deployment, **changed: Any) -> None:
    """Change the champion's pointer."""
    pointer = json.loads(deployment.artifacts.read(POINTER).data)
    deployment.artifacts.overwrite(POINTER, json.dumps(pointer | changed).encode())


def flip(deployment: Deployment, name: str) -> None:
    """Flip a bit of an object's first byte."""
    first, *rest = deployment.artifacts.read(name).data
    deployment.artifacts.overwrite(name, bytes([first ^ 1, *rest]))


def note(
    deployment: Deployment,
    kind: str,
    as_of: date,
    state: str = "done",
    *,
    error: str = "",
    waiting_since: datetime | None = None,
) -> None:
    """Let a run be done, have failed, or have begun."""
    name = f"runs/{STREAMED}/{kind}/{as_of}.json"
    at = midnight(as_of) + timedelta(hours=13)
    stored = deployment.artifacts.find(name)
    lease = Lease(artifacts=deployment.artifacts, name=name, run_id="r", began_at=at)
    lease.waiting_since = waiting_since
    lease.write(state, stored, at=at, error=error)


def examination(deployment: Deployment, **changed: Any) -> Examination:
    given = {
        "settings": deployment.settings,
        "warehouse": deployment.warehouse,
        "artifacts": deployment.artifacts,
        "now": NOW,
        "use_cases": [usecases.load(STREAMED)],
    }
    return Examination(**given | changed)


def examine(deployment: Deployment, **changed: Any) -> run.Report:
    """Run every check."""
    with entered(deployment.environment):
        return run.examine(examination(deployment, **changed))


def found(deployment: Deployment, check: str, **changed: Any) -> list[str]:
    with entered(deployment.environment):
        findings = [*run.CHECKS[check](examination(deployment, **changed))]
    return [finding.what for finding in findings]


def doctor(deployment: Deployment, *arguments: str, **extra: str) -> int:
    """Run the command."""
    with entered({**deployment.environment, **extra}):
        return main(["doctor", "--as-of", "2026-03-03", *arguments])


def repair(deployment: Deployment) -> None:
    """Put back views and tables."""
    view = f"{deployment.ga4_dataset}.{VIEW_IN_THE_EXPORT}"
    deployment.warehouse.client.delete_table(view, not_found_ok=True)
    deployment.warehouse.create(POSTCODE_INDEX)
    deployment.empty_tables([DEAD_LETTERS])
    setup.prepare_export(deployment.warehouse, deployment.settings)


class Subscriber:
    """Pub/Sub, as Google's client has it, with messages that wait."""

    def __init__(self) -> None:
        self.waiting = 0

    def pull(self, **_: Any) -> SimpleNamespace:
        received = []
        for number in range(self.waiting):
            message = SimpleNamespace(message_id=number, data=b"secret-user")
            received.append(SimpleNamespace(message=message, ack_id=number))
        return SimpleNamespace(received_messages=received)

    def modify_ack_deadline(self, **_: Any) -> None:
        """Give messages back, which wait on."""


@pytest.fixture(autouse=True)
def subscriber(monkeypatch) -> Subscriber:
    """The subscription of dead letters, of which there are none."""
    subscriber = Subscriber()
    opened = contextlib.nullcontext(subscriber)
    monkeypatch.setattr(dead_letters, "open_client", lambda *_: opened)
    return subscriber


@pytest.fixture(scope="module")
def healthy() -> Deployment:
    """A deployment as healthy as can be, that no test changes: all is there, and ran
    when it was due."""
    settings = {"PROPENSITY_USE_CASE": STREAMED, "PROPENSITY_DEADLINE_S": "5"}
    deployment = Deployment(**settings)
    shop.load(deployment, [shop.event("ana", day) for day in EXPORT])
    setup.prepare(deployment.warehouse, deployment.settings)
    deployment.load_model()
    note(deployment, "train", date(2026, 3, 1))
    for kind in ("predict", "evaluate"):
        note(deployment, kind, MONDAY)
    note(deployment, "audiences", NOW.date())
    return deployment


@pytest.fixture
def deployment(healthy) -> Iterator[Deployment]:
    """The same, whose objects are put back after a test."""
    with healthy.putting_objects_back():
        yield healthy
