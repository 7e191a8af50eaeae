"""Deployments that a doctor examines: one that is as healthy as can be, and others."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.cloud import bigquery
from google.pubsub_v1 import SubscriberClient

from commands.cli import main
from deploy import functions
from local.stack import topics as local_topics
from offline import dead_letters, load_model
from offline.doctor.checks import Examination
from offline.doctor.run import CHECKS, Report, examine
from propensity import usecases
from propensity.gcp.clients import open_client
from propensity.registry.leases import Lease
from propensity.runs import setup
from propensity.tables import every as tables
from propensity.timeframe import midnight
from tests import shop
from tests.deployment import STREAMED, Deployment, entered
from tests.emptied import Objects, empty_tables

# A Wednesday, at noon: the week's runs were on Monday, the month's on the first.
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
MONDAY = date(2026, 3, 2)
FIRST = NOW.date() - timedelta(days=22)
EXPORT = [FIRST + timedelta(days=n) for n in range((NOW.date() - FIRST).days)]
VIEW_IN_THE_EXPORT = "events_2026_recent"
POINTER = f"models/{STREAMED}/champion.json"


class Place(Deployment):
    """A deployment as healthy as can be: all is there, and ran when it was due."""

    @property
    def export(self) -> str:
        return self.ga4_dataset

    def prepare(self) -> None:
        shop.load(self, [shop.event("ana", day) for day in EXPORT])
        self.extra = {
            "PROPENSITY_GA4_DATASET": self.export,
            "PROPENSITY_USE_CASE": STREAMED,
            "PROPENSITY_DEADLINE_S": "5",
        }
        setup.prepare(self.warehouse, self.settings)
        load_model.load(self.warehouse, self.artifacts, self.settings)
        self.create_topics()
        self.note("train", date(2026, 3, 1))
        for kind in ("predict", "evaluate"):
            self.note(kind, MONDAY)
        self.note("audiences", NOW.date())

    def create_topics(self) -> None:
        """Create topics and subscriptions, whose names all places share."""
        endpoints = {one.target: "http://127.0.0.1:9" for one in functions.load()}
        project, endpoint = self.settings.project, self.settings.pubsub_endpoint
        local_topics.create(project, endpoint, endpoints=endpoints)

    def over(self, days: list[date]) -> Place:
        """Return the same over another export, of which there are only table names."""
        dataset = f"{self.export}_{uuid.uuid4().hex[:6]}"
        self.warehouse.create_dataset(dataset)
        for day in days:
            name = f"{self.project}.{dataset}.events_{day:%Y%m%d}"
            column = bigquery.SchemaField("event_name", "STRING")
            self.warehouse.client.create_table(bigquery.Table(name, [column]))
        return self.with_settings(PROPENSITY_GA4_DATASET=dataset)

    def point(self, **changed: Any) -> None:
        """Change the champion's pointer."""
        pointer = json.loads(self.artifacts.read(POINTER).data)
        self.artifacts.overwrite(POINTER, json.dumps(pointer | changed).encode())

    def flip(self, name: str) -> None:
        """Flip a bit of an object's first byte."""
        first, *rest = self.artifacts.read(name).data
        self.artifacts.overwrite(name, bytes([first ^ 1, *rest]))

    def note(
        self,
        kind: str,
        as_of: date,
        state: str = "done",
        *,
        error: str = "",
        waiting_since: datetime | None = None,
    ) -> None:
        """Let a run be done, have failed, or have begun."""
        name = f"runs/{STREAMED}/{kind}/{as_of}.json"
        at, stored = midnight(as_of) + timedelta(hours=13), self.artifacts.find(name)
        lease = Lease(artifacts=self.artifacts, name=name, run_id="r", began_at=at)
        lease.waiting_since = waiting_since
        lease.write(state, stored, at=at, error=error)

    def examination(self, **changed: Any) -> Examination:
        given = {
            "settings": self.settings,
            "warehouse": self.warehouse,
            "artifacts": self.artifacts,
            "now": NOW,
            "use_cases": [usecases.load(STREAMED)],
        }
        return Examination(**given | changed)

    def examine(self, **changed: Any) -> Report:
        """Run every check."""
        with entered(self.environment):
            return examine(self.examination(**changed))

    def found(self, check: str, **changed: Any) -> list[str]:
        """Return what one check finds."""
        with entered(self.environment):
            findings = [*CHECKS[check](self.examination(**changed))]
        return [finding.what for finding in findings]

    def doctor(self, *arguments: str, **extra: str) -> int:
        """Run the command."""
        with entered({**self.environment, **extra}):
            return main(["doctor", "--as-of", "2026-03-03", *arguments])

    def repair(self) -> None:
        """Put back views and tables, and leave no message for the next test."""
        view = f"{self.export}.{VIEW_IN_THE_EXPORT}"
        self.warehouse.client.delete_table(view, not_found_ok=True)
        self.warehouse.create(tables.POSTCODE_INDEX)
        empty_tables(self.warehouse, [tables.DEAD_LETTERS])
        setup.prepare_export(self.warehouse, self.settings)
        name = f"projects/{self.settings.project}/subscriptions/dead-letters-replay"
        endpoint = self.settings.pubsub_endpoint
        with open_client(SubscriberClient, endpoint) as subscriber:
            subscriber.delete_subscription(subscription=name)
        self.create_topics()


@pytest.fixture(autouse=True)
def brief(monkeypatch) -> None:
    """Wait no longer than needed for dead letters, of which there are none."""
    monkeypatch.setattr(dead_letters, "PULL_S", 1.0)


@pytest.fixture(scope="module")
def healthy(new_deployment) -> Place:
    """A healthy deployment that no test changes."""
    return new_deployment(Place)


@pytest.fixture
def place(healthy) -> Iterator[Place]:
    """The same, whose objects are put back after a test."""
    objects = Objects(healthy.artifacts)
    yield healthy
    objects.put_back()
