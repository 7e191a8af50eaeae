"""Deployments that a doctor examines: one that is as healthy as can be, and others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.pubsub_v1 import SubscriberClient

from commands.cli import main
from deploy import functions
from local.stack import topics as local_topics
from offline import load_model
from offline.doctor.checks import Examination
from offline.doctor.run import Report, examine
from propensity import usecases
from propensity.gcp.clients import open_client
from propensity.registry.leases import Lease
from propensity.runs import setup
from propensity.timeframe import midnight
from tests import shop
from tests.deployment import STREAMED, Deployment, entered
from tests.emptied import Objects

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
        return self.workplace.ga4_dataset

    def prepare(self) -> None:
        shop.load(self.workplace, [shop.event("ana", day) for day in EXPORT])
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

    def drop_export(self, *days: date) -> None:
        """Remove days of the export."""
        with self.workplace.bigquery.client() as client:
            for day in days:
                client.delete_table(f"{self.export}.events_{day:%Y%m%d}")

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

    def examine(self, **changed: Any) -> Report:
        """Run every check."""
        given = {
            "settings": self.settings,
            "warehouse": self.warehouse,
            "artifacts": self.artifacts,
            "now": NOW,
            "use_cases": [usecases.load(STREAMED)],
        }
        with entered(self.environment):
            return examine(Examination(**given | changed))

    def doctor(self, *arguments: str, **extra: str) -> int:
        """Run the command."""
        with entered({**self.environment, **extra}):
            return main(["doctor", "--as-of", "2026-03-03", *arguments])

    def forget_messages(self) -> None:
        """Leave no message for the next test."""
        name = f"projects/{self.settings.project}/subscriptions/dead-letters-replay"
        endpoint = self.settings.pubsub_endpoint
        with open_client(SubscriberClient, endpoint) as subscriber:
            subscriber.delete_subscription(subscription=name)
        self.create_topics()


@pytest.fixture(scope="module")
def healthy(new_deployment) -> Place:
    """A healthy deployment that no test changes."""
    return new_deployment(Place)


@pytest.fixture
def place(healthy) -> Iterator[Place]:
    """The same, whose objects, views and messages are put back after a test."""
    objects = Objects(healthy.artifacts)
    yield healthy
    objects.put_back()
    with healthy.workplace.bigquery.client() as client:
        client.delete_table(f"{healthy.export}.{VIEW_IN_THE_EXPORT}", not_found_ok=True)
    setup.prepare_export(healthy.warehouse, healthy.settings)
    healthy.forget_messages()


@pytest.fixture(scope="module")
def gapped(new_deployment) -> Place:
    """A deployment of its own, whose export lacks two days."""
    place = new_deployment(Place)
    place.drop_export(date(2026, 2, 17), date(2026, 2, 18))
    return place


@pytest.fixture
def fresh(new_deployment) -> Place:
    """A deployment of its own, whose export a test may change."""
    return new_deployment(Place)


def found(report: Report) -> list[str]:
    """Return what was found, and that nothing failed."""
    assert report.failed == {}
    return [f"{finding.check}: {finding.what}" for finding in report.findings]
