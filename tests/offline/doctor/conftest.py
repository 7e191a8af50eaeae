"""A deployment in the emulators, as healthy as can be, which the doctor examines."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from google.api_core.exceptions import NotFound
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from commands.cli import main
from deploy import functions
from local.stack import topics as local_topics
from offline import load_model
from offline.doctor.examination import Check, Examination
from offline.doctor.report import Finding, Report
from offline.doctor.run import examine
from propensity import tables, usecases
from propensity.edges.artifacts import Artifacts
from propensity.edges.channels import open_client
from propensity.edges.warehouse import Warehouse
from propensity.privacy import consent
from propensity.registry.versions import Registry
from propensity.runs import compact, setup
from propensity.settings import Settings
from tests import shop
from tests.conftest import Workplace, new_workplace
from tests.emptied import Objects, empty_tables
from tests.functions.conftest import entered
from tests.functions.streaming import USE_CASE
from tests.published import publish

# A Wednesday, at noon: the week's runs were on Monday, the month's on the first.
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
MONDAY = date(2026, 3, 2)
FIRST = NOW.date() - timedelta(days=35)
# Tables with rows of a test, besides those that are the same after each.
FILLED = (
    tables.STREAM_EVENTS,
    tables.INFERENCE_LOG,
    tables.DEAD_LETTERS,
    tables.POSTCODE_INDEX,
    tables.EVALUATION,
)
EXPORT = [FIRST + timedelta(days=n) for n in range((NOW.date() - FIRST).days)]


class Place:
    """A deployment in the emulators, as healthy as can be."""

    def __init__(self, workplace: Workplace, pubsub: str, storage: Path) -> None:
        self.workplace = workplace
        self.bucket_folder = storage / workplace.bucket
        self.environment = {
            **workplace.environment,
            "PUBSUB_EMULATOR_HOST": pubsub,
            "PROPENSITY_USE_CASE": USE_CASE,
            "PROPENSITY_DEADLINE_S": "5",
        }
        self.settings = Settings.from_environment(self.environment)
        self.warehouse = Warehouse.open(self.settings)
        client = workplace.storage.client()
        bucket = client.bucket(workplace.bucket)
        self.artifacts = Artifacts(bucket, deadline_s=5.0)
        self._flipped: list[str] = []
        self._dropped: list[date] = []
        self.rebuilt: set[str] = set()

    def prepare(self) -> None:
        """Create everything, and let it have run when it was due."""
        setup.prepare(self.warehouse, self.artifacts, self.settings)
        load_model.load(self.warehouse, self.artifacts, self.settings)
        self.promoted(NOW - timedelta(days=3))
        self.create_topics()
        self.ran("train", date(2026, 3, 1))
        for kind in ("predict", "evaluate"):
            self.ran(kind, MONDAY)
        self.fill()
        self._objects = Objects(self.artifacts)
        names = (consent.VIEW, compact.VIEW)
        self._views = {name: self.warehouse.view_text(name) for name in names}

    def fill(self) -> None:
        """Store what a deployment has that is neither empty nor late."""
        self.warehouse.execute(
            "INSERT INTO postcode_index (postcode, socioeconomic_idx, loaded_on)"
            " VALUES ('AB1 2CD', 3.5, DATE '2026-03-01')"
        )
        self.published(MONDAY)

    def put_back(self) -> None:
        """Mend what the tests without a place of their own may break."""
        while self._flipped:
            self._flip(self._flipped.pop())
        self._objects.put_back()
        # Only then: after a change of a table the emulator translates all anew.
        for name in self.rebuilt:
            self.warehouse.drop(name)
        self.rebuilt.clear()
        for table in (tables.SCORES, tables.PUBLICATIONS, tables.POSTCODE_INDEX):
            self.warehouse.create(table)
        empty_tables(self.warehouse, FILLED)
        self.fill()
        if self._dropped:
            shop.load(self.workplace, [shop.event("ana", day) for day in self._dropped])
        for name, text in self._views.items():
            # A view is lost with a table that it read, whatever its text.
            if self._dropped or self.warehouse.view_text(name) != text:
                self.warehouse.replace_view(name, text)
        self._dropped.clear()

    def drop_export(self, day: date) -> None:
        """Remove a day of the export."""
        name = f"{self.workplace.ga4_dataset}.events_{day:%Y%m%d}"
        with self.workplace.bigquery.client() as client:
            client.delete_table(name)
        self._dropped.append(day)
        # The emulator loses sight of a view when one of its tables goes.
        self.warehouse.execute("CREATE OR REPLACE VIEW ga_events AS SELECT 1 AS one")
        setup.prepare(self.warehouse, self.artifacts, self.settings)

    def create_topics(self) -> None:
        """Create topics and subscriptions, whose names all places share."""
        names = {function.target: "http://127.0.0.1:9" for function in functions.load()}
        local_topics.create(
            self.settings.project, self.settings.pubsub_endpoint, endpoints=names
        )

    def promoted(self, at: datetime) -> None:
        """Let the champion have been promoted at a moment."""
        self.change(
            f"models/{USE_CASE}/champion.json",
            lambda pointer: {**pointer, "promoted_at": at.isoformat()},
        )

    def change(self, name: str, change: Any) -> None:
        """Overwrite a JSON object."""
        stored = self.artifacts.read(name)
        changed = json.dumps(change(json.loads(stored.data))).encode()
        self.artifacts.replace(name, changed, generation=stored.generation)

    def overwrite(self, name: str, data: bytes) -> None:
        stored = self.artifacts.find(name)
        generation = stored.generation if stored else 0
        self.artifacts.replace(name, data, generation=generation)

    def flip(self, name: str) -> None:
        """Flip a bit of an object's first byte, behind the service's back."""
        self._flip(name)
        self._flipped.append(name)

    def _flip(self, name: str) -> None:
        file = self.bucket_folder / name
        first, *rest = file.read_bytes()
        file.write_bytes(bytes([first ^ 1, *rest]))

    def failed(self, kind: str, as_of: date, error: str) -> None:
        """Let a run have failed."""
        at = datetime(as_of.year, as_of.month, as_of.day, 14, tzinfo=UTC)
        lease = self.begin(kind, as_of, at=at)
        Registry(self.artifacts, USE_CASE).release(lease, error=error, at=at)

    def begin(self, kind: str, as_of: date, *, at: datetime, scope: str = USE_CASE):
        """Take the lease of a run."""
        return Registry(self.artifacts, scope).begin(
            kind,
            as_of,
            run_id=uuid.uuid4().hex,
            now=at,
            duration=timedelta(minutes=65),
            again=True,
        )

    def ran(
        self, kind: str, as_of: date, scope: str = USE_CASE, **answer: object
    ) -> None:
        """Let a run have been done, with an answer."""
        at = datetime(as_of.year, as_of.month, as_of.day, 13, tzinfo=UTC)
        lease = self.begin(kind, as_of, at=at, scope=scope)
        Registry(self.artifacts, scope).finish(lease, answer, at=at)

    def published(self, as_of: date) -> None:
        """Let predictions and an evaluation have been published."""
        publish(self.warehouse, as_of, {"ana": 0.5}, use_case=USE_CASE)
        self.warehouse.execute(
            "INSERT INTO ma_model_evaluation (use_case, week, week_end, model_version)"
            " VALUES (@use_case, @week, @as_of, 0)",
            {"use_case": USE_CASE, "as_of": as_of, "week": as_of - timedelta(days=7)},
        )

    def examination(self, **changed: Any) -> Examination:
        return Examination(
            **{
                "settings": self.settings,
                "now": NOW,
                "use_cases": [usecases.load(USE_CASE)],
                "zone": ZoneInfo("Etc/UTC"),
                **changed,
            }
        )

    def examine(self, **changed: Any) -> Report:
        """Run every check."""
        with entered(self.environment):
            exam = self.examination(**changed)
            try:
                return examine(exam)
            finally:
                exam.close()

    def checked(self, check: Check, **changed: Any) -> list[Finding]:
        """Run one check."""
        with entered(self.environment):
            exam = self.examination(**changed)
            try:
                check(exam)
            finally:
                exam.close()
        return exam.report.findings

    def run(self, *arguments: str, **extra: str) -> int:
        """Run the command."""
        with entered({**self.environment, **extra}):
            return main(["doctor", "--as-of", "2026-03-03", *arguments])

    def close(self) -> None:
        self.warehouse.close()
        self.artifacts.close()


def export(workplace: Workplace) -> str:
    """Load the export into a workplace; return its dataset."""
    shop.load(workplace, [shop.event("ana", day) for day in EXPORT])
    return workplace.ga4_dataset


@contextlib.contextmanager
def prepared(emulators: Any, workplace: Workplace, ga4_dataset: str) -> Iterator[Place]:
    environment = {**workplace.environment, "PROPENSITY_GA4_DATASET": ga4_dataset}
    place = replace(workplace, environment=environment)
    storage = emulators.state.folder / "storage"
    deployment = Place(place, emulators.address("pubsub"), storage)
    deployment.prepare()
    yield deployment
    deployment.close()
    with subscriber_of(deployment) as subscriber, contextlib.suppress(NotFound):
        # What waits there would be found by the next test.
        subscriber.delete_subscription(
            subscription=subscription_path(deployment, "dead-letters-replay")
        )
    deployment.create_topics()


@pytest.fixture(scope="session")
def healthy(emulators, bigquery_emulator) -> Iterator[Place]:
    """A healthy deployment that no test changes, or that is put back."""
    workplace = new_workplace(emulators, bigquery_emulator)
    with prepared(emulators, workplace, export(workplace)) as deployment:
        yield deployment


@pytest.fixture
def place(healthy) -> Iterator[Place]:
    """The same, for a test that changes it."""
    yield healthy
    healthy.put_back()


def findings_of(report: Report) -> list[tuple[str, str]]:
    """Return what was found, and that nothing failed."""
    assert report.failed == []
    return [(finding.check, finding.what) for finding in report.findings]


LOCAL = {
    function.target: f"http://127.0.0.1:{9000 + number}"
    for number, function in enumerate(functions.load())
}


def subscriber_of(place: Place) -> Any:
    endpoint = place.settings.pubsub_endpoint
    return open_client(SubscriberClient, SubscriberGrpcTransport, endpoint=endpoint)


def subscription_path(place: Place, name: str) -> str:
    return f"projects/{place.settings.project}/subscriptions/{name}"
