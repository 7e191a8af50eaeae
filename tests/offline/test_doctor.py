"""
doctor, specified: what is healthy is left in peace, what is wrong is named.

Everything is examined on the emulators: tables, objects, topics and a daily export as
they are in a deployment. A fault is put in by hand, and nothing else may be found.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
import sqlglot
from google.api_core.exceptions import NotFound
from google.cloud import bigquery
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from sqlglot import exp

from commands.cli import main
from deploy import functions
from local.stack import topics as local_topics
from offline import load_model
from offline.doctor.champions import check_champions
from offline.doctor.examination import Check, Examination, Services
from offline.doctor.export import EXPORT_COLUMNS, check_export
from offline.doctor.layout import check_tables
from offline.doctor.leases import last_due
from offline.doctor.report import ERROR, WARNING, Finding, Report
from offline.doctor.rights import READS_TABLE, check_permissions, check_settings
from offline.doctor.run import CHECKS, examine
from offline.doctor.schedule import check_runs
from offline.doctor.stream import check_stream
from propensity import tables, usecases
from propensity.edges.artifacts import Artifacts
from propensity.edges.channels import open_client
from propensity.edges.columns import record
from propensity.edges.warehouse import Warehouse
from propensity.privacy import consent
from propensity.registry.versions import Registry
from propensity.runs import compact, setup
from propensity.runs.watermark import WATERMARK
from propensity.settings import Settings
from propensity.statements import statement
from tests import shop
from tests.conftest import Workplace, new_workplace
from tests.emptied import Objects, empty_tables
from tests.functions.conftest import entered
from tests.functions.streaming import USE_CASE, rows_of
from tests.partitions import of_all_days

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
            "PROPENSITY_RETRY_DEADLINE_S": "5",
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
        for table in (tables.PREDICTIONS_HISTORY, tables.POSTCODE_INDEX):
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
        names = {one.target: "http://127.0.0.1:9" for one in functions.load()}
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

    def ran(self, kind: str, as_of: date, scope: str = USE_CASE) -> None:
        """Let a run have been done."""
        at = datetime(as_of.year, as_of.month, as_of.day, 13, tzinfo=UTC)
        lease = self.begin(kind, as_of, at=at, scope=scope)
        Registry(self.artifacts, scope).finish(lease, {}, at=at)

    def published(self, as_of: date) -> None:
        """Let predictions and an evaluation have been published."""
        self.warehouse.execute(
            "INSERT INTO ma_predictions_history (use_case, user_id, as_of, probability,"
            " model_version) VALUES (@use_case, 'ana', @as_of, 0.5, 0)",
            {"use_case": USE_CASE, "as_of": as_of},
        )
        self.warehouse.execute(
            "INSERT INTO ma_model_evaluation (use_case, week, week_end, model_version)"
            " VALUES (@use_case, @week, @as_of, 0)",
            {
                "use_case": USE_CASE,
                "as_of": as_of,
                "week": as_of - timedelta(days=7),
            },
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


@pytest.fixture(scope="module")
def shared_export(emulators, bigquery_emulator) -> str:
    """The dataset of an export that nobody changes."""
    return export(new_workplace(emulators, bigquery_emulator))


@contextlib.contextmanager
def prepared(emulators: Any, workplace: Workplace, ga4_dataset: str) -> Iterator[Place]:
    environment = {**workplace.environment, "PROPENSITY_GA4_DATASET": ga4_dataset}
    place = replace(workplace, environment=environment)
    storage = emulators.state.folder / "storage"
    made = Place(place, emulators.address("pubsub"), storage)
    made.prepare()
    yield made
    made.close()
    with _subscriber(made) as subscriber, contextlib.suppress(NotFound):
        # What waits there would be found by the next test.
        subscriber.delete_subscription(subscription=_path(made, "dead-letters-replay"))
    made.create_topics()


@pytest.fixture(scope="module")
def healthy(emulators, bigquery_emulator) -> Iterator[Place]:
    """A healthy deployment that no test changes, or that is put back."""
    workplace = new_workplace(emulators, bigquery_emulator)
    with prepared(emulators, workplace, export(workplace)) as made:
        yield made


@pytest.fixture
def place(healthy) -> Iterator[Place]:
    """The same, for a test that changes it."""
    yield healthy
    healthy.put_back()


@pytest.fixture
def faulty(emulators, bigquery_emulator, shared_export, faults) -> Iterator[Place]:
    """A deployment of a test's own, with an export of its own if that is changed."""
    workplace = new_workplace(emulators, bigquery_emulator)
    is_changed = CHANGE_EXPORT & {*faults}
    source = export(workplace) if is_changed else shared_export
    with prepared(emulators, workplace, source) as made:
        yield made


def told(report: Report) -> list[tuple[str, str]]:
    """Return what was found, and that nothing failed."""
    assert report.failed == []
    return [(one.check, one.what) for one in report.findings]


class TestHealthy:
    def test_finds_nothing(self, healthy):
        """Every check ran, found nothing, and says what it cannot see here."""
        report = healthy.examine()

        assert told(report) == []
        assert report.checks == [*CHECKS]
        assert report.status == 0
        assert {one.check for one in report.not_checked} == {
            "permissions",
            "tables",
            "export",
        }

    def test_by_the_command(self, healthy, capsys):
        """It exits with 0, tells its progress apart, and says so."""
        status = healthy.run()
        written = capsys.readouterr()

        assert status == 0, written.out
        assert written.out.rstrip().endswith("stream: nothing is wrong.")
        assert "looking at tables" in written.err

    def test_events_that_are_scored_and_compacted_in_time(self, place):
        """A stream that keeps up is healthy."""
        _receive(place, NOW - timedelta(minutes=10))
        _score(place, NOW - timedelta(minutes=9))
        _compacted(place, NOW - timedelta(hours=11))

        assert told(place.examine()) == []


LOCAL = {
    one.target: f"http://127.0.0.1:{9000 + number}"
    for number, one in enumerate(functions.load())
}


class TestLocally:
    """Nothing runs by a clock there."""

    def test_what_was_not_run_is_information(self, place):
        """With the call to make; by a schedule the same is a fault."""
        later = NOW + timedelta(days=60)
        _receive(place, later - timedelta(days=10))
        _compacted(place, later - timedelta(days=9))
        for name in place.artifacts.names(f"runs/{USE_CASE}/evaluate/"):
            place.artifacts.delete(name)
        checks = (check_runs, check_champions, check_stream)

        scheduled = [
            one.what for each in checks for one in place.checked(each, now=later)
        ]
        reports = []
        for each in checks:
            with entered(place.environment):
                exam = place.examination(now=later, addresses=LOCAL)
                with contextlib.closing(exam):
                    each(exam)
            reports.append(exam.report)

        assert [report.findings for report in reports] == [[], [], []]
        assert [report.status for report in reports] == [0, 0, 0]
        told = [one for report in reports for one in report.information]
        assert {one.severity for one in told} == {"info"}
        assert "Scheduler" not in str([*map(str, reports)])
        assert sum("was missed" in one for one in scheduled) == 3
        calls = {
            one.what.partition(" ")[0]: one.advice for one in told if "run" in one.what
        }
        body = json.dumps({"use_case": USE_CASE, "as_of": str(later.date())})
        for target in ("model_training", "predictions", "model_evaluation"):
            assert calls[target] == (
                f"curl -X POST {LOCAL[target]} "
                f"-H 'Content-Type: application/json' -d '{body}'"
            )
        assert calls["compact_features"] == f"curl -X POST {LOCAL['compact_features']}"
        assert [one.what for one in told if "never run" in one.what] == [
            f"model_evaluation of {USE_CASE} has never run"
        ]

    def test_what_failed_is_a_fault_all_the_same(self, place):
        """Somebody ran it, and has to know."""
        place.failed("predict", NOW.date(), "MissingTable")

        found = place.checked(check_runs, addresses=LOCAL)

        assert [(one.severity, "missing_table" in one.what) for one in found] == [
            ("error", True)
        ]

    def test_information_is_told_and_is_no_failure(self):
        """In words and as JSON, with exit status 0."""
        one = Finding(
            check="runs",
            severity="info",
            what="predictions has never run",
            advice="curl -X POST http://127.0.0.1:9001",
        )
        report = Report(place="p", as_of="d", checks=["runs"], information=[one])

        assert report.status == 0
        assert "INFO    runs: predictions has never run\n" in str(report)
        assert "What to do: curl -X POST http://127.0.0.1:9001" in str(report)
        assert str(report).endswith("runs: nothing is wrong.")
        assert report.fields()["information"] == [asdict(one)]


def _receive(place: Place, at: datetime, **further: Any) -> None:
    """Store a registration that was received at a moment."""
    from tests.events import registration

    event = registration(
        user_id="secret-user",
        event_id=uuid.uuid4().hex,
        event_time=at.isoformat(),
        **further,
    )
    rows = rows_of([event], received_at=at)
    place.warehouse.append(tables.STREAM_EVENTS, rows, job_id=uuid.uuid4().hex)


def _score(place: Place, at: datetime) -> None:
    place.warehouse.execute(
        "INSERT INTO inference_log (use_case, inference_id, event_id, user_id,"
        " event_time, event_date, model_version, source, scored_at, scored_on)"
        " VALUES (@use_case, 'i', 'e', 'secret-user', @at, @day, 0, 'stream', @at,"
        " @day)",
        {"use_case": USE_CASE, "at": at, "day": at.date()},
    )


def _compacted(place: Place, until: datetime) -> None:
    place.ran("compact", NOW.date(), scope="stream")
    view = compact.view_of(place.warehouse, until)
    place.warehouse.replace_view(compact.VIEW, view)
    note = json.dumps({"watermark": until.isoformat(), "open_days": {}}).encode()
    place.overwrite(WATERMARK, note)


# Faults: each puts one in, and says what must be found. -------------------------------


def _rebuilt(place: Place, name: str, *, columns: str = "*", layout: str = "") -> None:
    """Make a table anew from its own rows."""
    place.rebuilt.add(name)
    rows = of_all_days(f"SELECT {columns} FROM {name}")
    asking = "OPTIONS (require_partition_filter = TRUE)" if layout else ""
    place.warehouse.execute(f"CREATE TABLE rebuilt AS {rows}")
    place.warehouse.drop(name)
    place.warehouse.execute(
        f"CREATE TABLE {name} {layout} {asking} AS SELECT * FROM rebuilt"
    )
    place.warehouse.drop("rebuilt")


_PREDICTIONS = "PARTITION BY as_of CLUSTER BY use_case, user_id"


def unasked_days(place: Place) -> str:
    place.warehouse.execute(
        "ALTER TABLE stream_events SET OPTIONS (require_partition_filter = FALSE)"
    )
    return r"tables: stream_events can be queried without saying which days are meant"


def missing_table(place: Place) -> str:
    place.warehouse.drop("postcode_index")
    return r"tables: missing in \w+: postcode_index"


def missing_column(place: Place) -> str:
    _rebuilt(
        place,
        "ma_predictions_history",
        columns="* EXCEPT (percentile)",
        layout=_PREDICTIONS,
    )
    return r"tables: ma_predictions_history lacks the column percentile \(INT64\)"


def wrong_type(place: Place) -> str:
    _rebuilt(
        place,
        "ma_predictions_history",
        columns="* REPLACE (CAST(percentile AS STRING) AS percentile)",
        layout=_PREDICTIONS,
    )
    return r"tables: ma_predictions_history.percentile is STRING, and INT64 is written"


def no_postcodes(place: Place) -> str:
    place.warehouse.execute("DELETE FROM postcode_index WHERE TRUE")
    return (
        "tables: postcode_index is empty: socioeconomic_idx, which first_day_churn "
        "reads, is null"
    )


def unpartitioned(place: Place) -> str:
    _rebuilt(place, "ma_predictions_history")
    return r"tables: ma_predictions_history is not partitioned, and not partitioned by"


def another_view(place: Place) -> str:
    query = f"SELECT * FROM `{place.workplace.ga4_dataset}.events_*`"
    place.warehouse.replace_view("ga_events", query)
    return "views: the view ga_events is not that of this version"


def missing_days(place: Place) -> str:
    for day in (date(2026, 2, 26), date(2026, 2, 27)):
        place.drop_export(day)
    return (
        "export: days of the export are missing: 2 within the lookback of 7 days: "
        "2026-02-26, 2026-02-27"
    )


def late_export(place: Place) -> str:
    for day in (date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)):
        place.drop_export(day)
    return "export: the newest day of the export is 2026-02-28: 3 days are late"


def changed_export(place: Place) -> str:
    name = f"{place.workplace.ga4_dataset}.events_20260303"
    with place.workplace.bigquery.client() as client:
        table = client.get_table(name)
        schema = [
            bigquery.SchemaField("user_first_touch_timestamp", "STRING")
            if one.name == "user_first_touch_timestamp"
            else one
            for one in table.schema
            if one.name != "traffic_source"
        ]
        client.delete_table(name)
        client.create_table(bigquery.Table(f"{place.settings.project}.{name}", schema))
        client.insert_rows_json(client.get_table(name), [{"event_name": "page_view"}])
    return (
        "export: the export's schema has changed: (traffic_source.source is missing|"
        "user_first_touch_timestamp is STRING instead of INT64|"
        "traffic_source.medium is missing)"
    )


def altered_model(place: Place) -> str:
    place.overwrite(f"models/{USE_CASE}/0/model.joblib", b"other bytes")
    return (
        f"champions: {USE_CASE}: the champion, version 0, has a model whose bytes are "
        "not those that were recorded"
    )


def flipped_model(place: Place) -> str:
    place.flip(f"models/{USE_CASE}/0/model.joblib")
    return (
        f"champions: {USE_CASE}: the champion, version 0, has a model whose bytes are "
        "not those that were recorded"
    )


def lost_preprocessor(place: Place) -> str:
    place.artifacts.delete(f"models/{USE_CASE}/0/preprocessor.joblib")
    return f"champions: {USE_CASE}: the champion, version 0, has lost its preprocessor"


def unrecorded(place: Place) -> str:
    place.change(
        f"models/{USE_CASE}/champion.json", lambda pointer: {**pointer, "version": 7}
    )
    return (
        f"champions: {USE_CASE}: the champion, version 7, is not recorded in "
        "ma_model_training_metadata"
    )


def damaged_pointer(place: Place) -> str:
    place.overwrite(f"models/{USE_CASE}/champion.json", b"{")
    return f"champions: {USE_CASE}: the pointer models/{USE_CASE}/champion.json is dam"


def no_champion(place: Place) -> str:
    place.artifacts.delete(f"models/{USE_CASE}/champion.json")
    return f"champions: {USE_CASE}: no model serves"


def old_champion(place: Place) -> str:
    place.promoted(NOW - timedelta(days=60))
    return f"champions: {USE_CASE}: version 0 has served for 60 days"


def other_libraries(place: Place) -> str:
    place.warehouse.execute(
        "UPDATE ma_model_training_metadata SET libraries = @libraries WHERE TRUE",
        {"libraries": json.dumps({"scikit-learn": "0.1"})},
    )
    return f"champions: {USE_CASE}: .* other libraries than .* scikit-learn 0.1 there"


def missed_run(place: Place) -> str:
    place.artifacts.delete(f"runs/{USE_CASE}/predict/{MONDAY}.json")
    place.ran("predict", MONDAY - timedelta(days=7))
    return (
        f"runs: predictions of {USE_CASE} was missed: it was due on 2026-03-02 17:00, "
        "and the last that succeeded is 2026-02-23"
    )


def failed_run(place: Place) -> str:
    place.warehouse.execute("DELETE FROM ma_model_evaluation WHERE TRUE")
    place.failed("evaluate", MONDAY, "SchemaError")
    return f"runs: model_evaluation of {USE_CASE} for 2026-03-02 failed: schema$"


def failed_repeat(place: Place) -> str:
    place.failed("predict", MONDAY, "DataCorruption")
    return (
        f"runs: predictions of {USE_CASE} for 2026-03-02 failed: DataCorruption; what "
        "a run for that date has left before is there"
    )


def damaged_lease(place: Place) -> str:
    place.flip(f"runs/{USE_CASE}/train/2026-03-01.json")
    return f"runs: model_training of {USE_CASE}: the lease of 2026-03-01 is damaged"


def stuck_run(place: Place) -> str:
    place.begin("train", date(2026, 3, 1), at=NOW - timedelta(days=3))
    return f"runs: model_training of {USE_CASE} for 2026-03-01 is stuck"


def lost_predictions(place: Place) -> str:
    place.warehouse.execute("DELETE FROM ma_predictions_history WHERE TRUE")
    return (
        f"runs: {USE_CASE}: the run of 2026-03-02 is done, and ma_predictions_history "
        "ends with nothing"
    )


def missing_subscription(place: Place) -> str:
    with _subscriber(place) as subscriber:
        subscriber.delete_subscription(
            subscription=_path(place, "events-stream-features")
        )
    return "topics: the subscription events-stream-features is missing"


def waiting_dead_letters(place: Place) -> str:
    with _publisher(place) as publisher:
        topic = f"projects/{place.settings.project}/topics/dead-letters"
        publisher.publish(topic=topic, messages=[{"data": b"secret-user"}] * 3)
    return "topics: 3 messages wait in dead-letters-replay"


def unscored_events(place: Place) -> str:
    _receive(place, NOW - timedelta(minutes=10))
    _compacted(place, NOW - timedelta(hours=11))
    return f"stream: {USE_CASE}: events came until 2026-03-04 11:50, and none"


def lagging_scores(place: Place) -> str:
    _receive(place, NOW - timedelta(minutes=10))
    _score(place, NOW - timedelta(minutes=70))
    _compacted(place, NOW - timedelta(hours=11))
    return f"stream: {USE_CASE}: scores are 60 minutes behind the events"


def old_watermark(place: Place) -> str:
    _receive(place, NOW - timedelta(days=6))
    _compacted(place, NOW - timedelta(days=5))
    return "stream: the compaction is 5 days behind"


def dead_letters(place: Place) -> str:
    at = NOW - timedelta(hours=1)
    for number in range(3):
        place.warehouse.execute(
            "INSERT INTO dead_letters (message_id, reason, raw, received_at,"
            " received_on) VALUES (@id, 'bad_amount', b'secret-user', @at, @day)",
            {"id": f"m{number}", "at": at, "day": at.date()},
        )
    return (
        "stream: 3 events became dead letters since 2026-03-03 12:00 UTC: bad_amount 3"
    )


def _subscriber(place: Place) -> Any:
    endpoint = place.settings.pubsub_endpoint
    return open_client(SubscriberClient, SubscriberGrpcTransport, endpoint=endpoint)


def _publisher(place: Place) -> Any:
    endpoint = place.settings.pubsub_endpoint
    return open_client(PublisherClient, PublisherGrpcTransport, endpoint=endpoint)


def _path(place: Place, name: str) -> str:
    return f"projects/{place.settings.project}/subscriptions/{name}"


CHANGE_EXPORT = {missing_days, late_export, changed_export}

# Faults that hide none of the others.
TOGETHER = (
    (
        missing_days,
        missing_table,
        missing_column,
        another_view,
        altered_model,
        missed_run,
        missing_subscription,
        dead_letters,
    ),
    (
        wrong_type,
        changed_export,
        lost_preprocessor,
        failed_run,
        failed_repeat,
        waiting_dead_letters,
        lagging_scores,
    ),
    (late_export, unpartitioned, other_libraries, stuck_run, old_watermark),
    (unrecorded, lost_predictions, unscored_events, unasked_days, no_postcodes),
    (flipped_model, damaged_lease),
    (damaged_pointer,),
    (no_champion,),
    (old_champion,),
)


@pytest.mark.long
class TestFaults:
    @pytest.mark.parametrize(
        "faults", TOGETHER, ids=lambda faults: "-".join(one.__name__ for one in faults)
    )
    def test_are_named_each(self, faulty, faults):
        """Whatever is wrong is found, with what to do, and nothing else is."""
        wanted = [fault(faulty) for fault in faults]
        report = faulty.examine()
        found = [f"{check}: {what}" for check, what in told(report)]

        assert [one for one in wanted if not any(re.match(one, f) for f in found)] == []
        assert [f for f in found if not any(re.match(one, f) for one in wanted)] == []
        assert report.status == 1
        assert all(len(one.advice) > 10 for one in report.findings)
        assert "secret-user" not in json.dumps(report.fields())


class TestTables:
    def test_may_have_their_columns_in_another_order(self, place):
        """What writes names its columns, so that one added at the end is no fault."""
        _rebuilt(
            place,
            "ma_predictions_history",
            columns="* EXCEPT (use_case, percentile), percentile, use_case",
            layout=_PREDICTIONS,
        )
        row = {
            "use_case": USE_CASE,
            "user_id": "bo",
            "as_of": MONDAY,
            "probability": 0.25,
            "percentile": 7,
            "model_version": 3,
        }
        rows = record(row, tables.PREDICTIONS_HISTORY)
        job = uuid.uuid4().hex
        place.warehouse.append(tables.PREDICTIONS_HISTORY, rows, job_id=job)

        assert told(place.examine()) == []
        [found] = place.warehouse.rows(
            "SELECT * FROM ma_predictions_history"
            " WHERE as_of >= '2026-01-01' AND user_id = 'bo'"
        )
        assert {name: found[name] for name in row} == row

    def test_get_advice_by_what_set_up_adds(self, place):
        """Set-up adds a column that may be null, and no required one."""
        _rebuilt(
            place,
            "ma_predictions_history",
            columns="* EXCEPT (percentile, model_version)",
            layout=_PREDICTIONS,
        )
        found = place.checked(check_tables)
        advice = {one.what.split()[4]: one.advice for one in found}

        assert advice["percentile"].startswith("run deploy/setup.sh")
        assert "`make down && make up`" in advice["percentile"]
        assert advice["model_version"].startswith("copy the rows")

        setup.prepare(place.warehouse, place.artifacts, place.settings)
        found = place.checked(check_tables)
        assert [one.what.split()[4] for one in found] == ["model_version"]

    def test_need_postcodes_where_they_are_read(self, place):
        """A use case that reads no postcode is not told of their table."""
        no_postcodes(place)
        cards = [usecases.load("card_fraud")]

        assert place.checked(check_tables, use_cases=cards) == []


class TestRuns:
    def test_that_failed_are_told_by_the_word_of_the_documents(self, place):
        """What errors.md does not know is looked for in the log."""
        place.failed("evaluate", MONDAY, "SchemaError")
        place.failed("predict", MONDAY, "ZeroDivisionError")
        predicted, evaluated = place.checked(check_runs)

        assert "failed: schema;" in evaluated.what
        assert evaluated.advice.startswith(
            "docs/errors.md says what to do about schema"
        )
        assert "failed: ZeroDivisionError;" in predicted.what
        assert predicted.advice.startswith("see the log of predictions of that run")

    def test_that_failed_again_have_been_done_all_the_same(self, place):
        """A repeat overwrites the lease of its date, and not what it has published."""
        place.failed("predict", MONDAY, "SchemaError")
        repeat, *others = place.checked(check_runs)
        assert (repeat.severity, others) == (WARNING, [])

        later = place.checked(check_runs, now=NOW + timedelta(days=7))
        [missed] = [one for one in later if "predictions" in one.what and one != repeat]
        assert missed.what.endswith("and the last that succeeded is 2026-03-02")

    def test_that_wait_for_the_export_have_not_failed(self, place):
        """They are called again, and go on in the end."""
        place.failed("predict", MONDAY, "ExportLate")
        [waiting, *_] = place.checked(check_runs)

        assert waiting.severity == WARNING
        assert "waits for the newest day of the export" in waiting.what

    def test_that_failed_and_published_nothing_are_errors(self, place):
        """The last that succeeded is that of the week before."""
        place.ran("predict", MONDAY - timedelta(days=7))
        place.failed("predict", MONDAY, "SchemaError")
        place.warehouse.execute("DELETE FROM ma_predictions_history WHERE TRUE")
        failed = place.checked(check_runs)[0]
        assert (failed.severity, failed.what) == (
            ERROR,
            f"predictions of {USE_CASE} for 2026-03-02 failed: schema",
        )

        later = place.checked(check_runs, now=NOW + timedelta(days=7))
        assert any(
            one.what.endswith("and the last that succeeded is 2026-02-23")
            for one in later
        )


class TestUnforeseen:
    def test_errors_of_one_check_keep_no_other_from_being_told(self, place, capsys):
        """Named with type and message; what was found decides the exit status."""
        place.overwrite(WATERMARK, b"{")
        assert place.run("--json") == 2
        report = json.loads(capsys.readouterr().out)
        assert [one["check"] for one in report["failed"]] == ["views"]
        assert report["failed"][0]["why"].startswith("JSONDecodeError: Expecting")
        assert report["checks"] == [*CHECKS]

        place.warehouse.drop("postcode_index")
        assert place.run() == 1
        written = capsys.readouterr().out
        assert "missing in" in written
        assert "Could not be examined:\n  views: JSONDecodeError" in written


class TestCommand:
    def test_prints_json_of_what_it_says(self, place, capsys):
        """The same findings for a program, and the status of a fault."""
        place.warehouse.drop("postcode_index")
        status = place.run("--json")
        report = json.loads(capsys.readouterr().out)

        assert (status, report["status"]) == (1, 1)
        [finding] = report["findings"]
        assert finding["check"] == "tables"
        assert finding["severity"] == "error"
        assert "postcode_index" in finding["what"]
        assert "deploy/setup.sh" in finding["advice"]

    def test_expects_the_view_of_the_consent_that_is_asked(self, place, capsys):
        """A view that leaves out whoever did not consent is right, and is not."""
        export = f"{place.workplace.project}.{place.workplace.ga4_dataset}"
        text = consent.events_view(export, require="true")
        place.warehouse.replace_view(consent.VIEW, text)

        found = {}
        for require in ("true", "false"):
            place.run("--json", PROPENSITY_REQUIRE_CONSENT=require)
            report = json.loads(capsys.readouterr().out)
            found[require] = [one["check"] for one in report["findings"]]

        assert found == {"true": [], "false": ["views"]}

    def test_says_what_is_wrong_with_the_settings(self, healthy, capsys):
        """A setting that stops every function is found without asking anybody."""
        status = healthy.run(PROPENSITY_NO_SUCH_SETTING="1")

        assert status == 1
        written = capsys.readouterr().out
        assert "unknown setting PROPENSITY_NO_SUCH_SETTING" in written
        assert re.match(
            r"the settings of this environment, 20\S+ \d\d:\d\d UTC\n", written
        )

    def test_looks_at_what_has_a_damaged_pointer(self, place, capsys):
        """Whatever use case the settings name: the other is to serve, and does not."""
        place.flip(f"models/{USE_CASE}/champion.json")
        place.run(PROPENSITY_USE_CASE="ga4_purchase")

        assert "champion.json is damaged: the bytes of gs://" in capsys.readouterr().out

    def test_says_how_a_date_is_written(self, healthy, capsys):
        """Whoever writes another is told."""
        assert main(["doctor", "--as-of", "soon"]) == 2
        assert "'soon' is no date as YYYY-MM-DD" in capsys.readouterr().err

    def test_says_that_it_could_not_examine(self, healthy, capsys):
        """Services that do not answer are no finding: nothing is known of them."""
        status = healthy.run(
            "--json",
            BIGQUERY_EMULATOR_HOST="http://127.0.0.1:9",
            PROPENSITY_RETRY_DEADLINE_S="1",
        )
        report = json.loads(capsys.readouterr().out)

        assert status == 2
        assert {"tables", "views", "export"} <= {
            one["check"] for one in report["failed"]
        }
        assert "Traceback" not in json.dumps(report)

    def test_refuses_what_it_does_not_know(self, healthy, capsys):
        """A use case or a function of no such name is told, and nothing is examined."""
        assert healthy.run("--use-case", "no_such_use_case") == 2
        assert "no_such_use_case" in capsys.readouterr().err

    def test_wants_an_export_where_a_use_case_reads_one(self, healthy):
        """Settings that do not go together are told."""
        settings = replace(healthy.settings, ga4_dataset="")
        ga4 = usecases.load("ga4_purchase")
        exam = healthy.examination(settings=settings, use_cases=[ga4])
        check_settings(exam)

        [found] = exam.report.findings
        assert "PROPENSITY_GA4_DATASET is not set, and ga4_purchase" in found.what


class Google:
    """Answers what an account may do, as Google Cloud does: all but what is denied."""

    def __init__(self) -> None:
        self.denied: set[tuple[str, str]] = set()
        self.asked: dict[str, list[str]] = {}
        google = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                query = parse_qs(urlsplit(self.path).query)
                self.reply(query["permissions"])

            def do_POST(self) -> None:  # noqa: N802
                length = int(self.headers["Content-Length"])
                self.reply(json.loads(self.rfile.read(length))["permissions"])

            def reply(self, asked: list[str]) -> None:
                path = urlsplit(self.path).path
                google.asked[path] = asked
                resource = path.removesuffix("/iam/testPermissions").rpartition("/")[2]
                resource = resource.partition(":")[0]
                given = [one for one in asked if (resource, one) not in google.denied]
                body = json.dumps({"permissions": given} if given else {}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        url = f"http://127.0.0.1:{self._server.server_port}"
        self.services = Services(*[f"{url}/{n}" for n in "pbsum"])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def google() -> Iterator[Google]:
    made = Google()
    yield made
    made.close()


def _examined(function: str, google: Google) -> Examination:
    settings = Settings(project="p", bucket="the-bucket", ga4_dataset="analytics_1")
    exam = Examination(
        settings=settings,
        now=NOW,
        use_cases=[usecases.load(USE_CASE)],
        zone=ZoneInfo("Etc/UTC"),
        function=function,
    )
    check_permissions(exam, google.services)
    return exam


class TestPermissions:
    def test_that_are_there_are_no_finding(self, google):
        """Every function's rights are asked for, on what functions.toml names."""
        for one in functions.load():
            assert _examined(one.target, google).report.findings == []
        asked = google.asked[
            "/b/p/datasets/propensity/tables/inference_log:testIamPermissions"
        ]

        assert set(asked) == {*READS_TABLE}
        assert google.asked["/u/p/topics/scores:testIamPermissions"] == [
            "pubsub.topics.publish"
        ]

    def test_that_are_missing_are_named(self, google):
        """What the account lacks, on what, and what to do."""
        google.denied = {
            ("ma_predictions_table", "bigquery.tables.getData"),
            ("p", "bigquery.jobs.create"),
        }
        found = [one.what for one in _examined("get_proba", google).report.findings]

        assert found == [
            "the account of get_proba lacks bigquery.jobs.create on project p",
            "the account of get_proba lacks bigquery.tables.getData on table "
            "ma_predictions_table",
        ]

    def test_of_an_examination_are_asked_for_without_a_function(self, google):
        """Whoever examines needs to read tables, objects and topics."""
        google.denied = {("the-bucket", "storage.objects.list")}
        [found] = _examined("", google).report.findings

        assert found.what == (
            "this account lacks storage.objects.list on bucket the-bucket"
        )

    def test_on_single_prefixes_are_not_claimed(self, google):
        """A right that holds for some objects cannot be seen on the bucket."""
        exam = _examined("score", google)

        assert "single prefixes" in exam.report.not_checked[0].why


class TestExport:
    def test_looks_back_as_far_as_what_reads_it(self, place):
        """A use case that lives on the stream alone has no say in it."""
        place.drop_export(date(2026, 2, 27))
        names = ("ga4_purchase", "card_fraud")
        found = place.checked(
            check_export, use_cases=[usecases.load(name) for name in names]
        )

        [missing] = [one for one in found if "missing" in one.what]
        assert "1 within the lookback of 60 days: 2026-02-27" in missing.what

    def test_takes_a_streamed_day_for_a_day(self, place):
        """A day that has an intraday table alone is no gap, and is looked at."""
        export = place.workplace.ga4_dataset
        with place.workplace.bigquery.client() as client:
            client.query_and_wait(
                f"CREATE TABLE {export}.events_intraday_20260227 AS "
                f"SELECT * EXCEPT (geo) FROM {export}.events_20260227"
            )
            place.drop_export(date(2026, 2, 27))
            found = place.checked(check_export)
            client.delete_table(f"{export}.events_intraday_20260227")

        [changed] = found
        assert "geo.country is missing in the tables of 2026-02-27" in changed.what

    def test_in_another_location_is_an_error_that_names_both(self, healthy):
        """Whoever runs doctor learns it before a run does."""
        settings = replace(healthy.settings, location="europe-west2")
        [found] = healthy.checked(check_export, settings=settings)

        assert found.severity == ERROR
        assert "is in US" in found.what
        assert "europe-west2" in found.what

    def test_knows_every_column_that_the_view_reads(self):
        """EXPORT_COLUMNS are those of ga_events.sql, no more and no less."""
        tree = sqlglot.parse_one(statement("ga_events"), dialect="bigquery")
        lists = {"p": "event_params", "i": "items"}
        found = set()
        for column in tree.find_all(exp.Column, exp.Dot):
            if isinstance(column.parent, exp.Dot):
                continue
            head, *rest = column.sql(dialect="bigquery").split(".")
            found.add(".".join([lists.get(head, head), *rest]))
        found -= {"_TABLE_SUFFIX", "table_suffix", "table_name"}
        found -= {"daily.*", "streamed.*"}
        found -= {*lists.values()}

        assert found == {*EXPORT_COLUMNS}


class TestSchedules:
    @pytest.mark.parametrize(
        ("cron", "zone", "due"),
        [
            ("0 8 1 * *", "Etc/UTC", datetime(2026, 3, 1, 8, tzinfo=UTC)),
            ("0 15 * * 1", "Etc/UTC", datetime(2026, 3, 2, 15, tzinfo=UTC)),
            ("30 1 * * *", "Etc/UTC", datetime(2026, 3, 4, 1, 30, tzinfo=UTC)),
            ("30 12 * * *", "Etc/UTC", datetime(2026, 3, 3, 12, 30, tzinfo=UTC)),
            ("0 21 * * *", "Asia/Tokyo", datetime(2026, 3, 4, 12, tzinfo=UTC)),
            ("0 15 * * 0", "Etc/UTC", datetime(2026, 3, 1, 15, tzinfo=UTC)),
        ],
    )
    def test_came_due_last(self, cron, zone, due):
        """By the schedule's own clock, and never after now."""
        found = last_due(cron, NOW, ZoneInfo(zone))

        assert found.astimezone(UTC) == due

    def test_of_every_function_can_be_told(self):
        """What functions.toml says is of the form that is understood."""
        for one in functions.load():
            if one.schedule:
                assert last_due(one.schedule.cron, NOW, ZoneInfo("UTC")) <= NOW

    def test_of_another_form_is_refused(self):
        """A schedule that is not understood is no reason to say that all is well."""
        with pytest.raises(ValueError, match="schedule"):
            last_due("*/5 * * * *", NOW, ZoneInfo("UTC"))
