"""
doctor, specified: what is healthy is left in peace, what is wrong is named.

Everything is examined on the emulators: tables, objects, topics and a daily export as
they are in a deployment. A fault is put in by hand, and nothing else may be found.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from google.cloud import bigquery
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from commands.cli import main
from deploy import functions
from local.exports import sources as loading
from local.stack import topics as local_topics
from offline import load_model
from offline.doctor import checks
from offline.doctor.report import Examination, Finding, Report
from offline.doctor.run import CHECKS, examine
from offline.doctor.runs import last_due
from propensity import usecases
from propensity.errors import SettingsError
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.clients import open_client
from propensity.gcp.warehouse import Warehouse
from propensity.registry.versions import Registry
from propensity.runs import setup
from propensity.runs.sources import described
from propensity.settings import Settings
from propensity.usecases.sources import Source
from tests import shop
from tests.conftest import Workplace, new_workplace
from tests.functions.conftest import entered
from tests.functions.streaming import USE_CASE

pytestmark = pytest.mark.runs

# A Wednesday, at noon: the week's runs were on Monday, the month's on the first.
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
MONDAY = date(2026, 3, 2)
FIRST = NOW.date() - timedelta(days=35)
EXPORT = [FIRST + timedelta(days=n) for n in range((NOW.date() - FIRST).days)]
LOCAL = {
    function.target: f"http://127.0.0.1:{9000 + number}"
    for number, function in enumerate(functions.load())
}


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

    def prepare(self) -> None:
        """Create everything, and let it have run when it was due."""
        setup.prepare(self.warehouse, self.artifacts, self.settings)
        load_model.load(self.warehouse, self.artifacts, self.settings)
        self.promoted(NOW - timedelta(days=3))
        self.create_topics()
        self.ran("train", date(2026, 3, 1))
        for kind in ("predict", "evaluate"):
            self.ran(kind, MONDAY)

    def drop_export(self, day: date) -> None:
        """Remove a day of the export."""
        name = f"{self.workplace.ga4_dataset}.events_{day:%Y%m%d}"
        with self.workplace.bigquery.client() as client:
            client.delete_table(name)
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

    def examine(self, **changed: Any) -> Report:
        """Run every check."""
        with entered(self.environment):
            return examine(
                Examination(
                    **{
                        "settings": self.settings,
                        "warehouse": self.warehouse,
                        "artifacts": self.artifacts,
                        "now": NOW,
                        "use_cases": [usecases.load(USE_CASE)],
                        "zone": ZoneInfo("Etc/UTC"),
                        **changed,
                    }
                )
            )

    def run(self, *arguments: str, **extra: str) -> int:
        """Run the command."""
        with entered({**self.environment, **extra}):
            return main(["doctor", "--as-of", "2026-03-03", *arguments])

    def publisher(self) -> Any:
        endpoint = self.settings.pubsub_endpoint
        return open_client(PublisherClient, PublisherGrpcTransport, endpoint=endpoint)

    def subscriber(self) -> Any:
        endpoint = self.settings.pubsub_endpoint
        return open_client(SubscriberClient, SubscriberGrpcTransport, endpoint=endpoint)

    def subscription(self, name: str) -> str:
        return f"projects/{self.settings.project}/subscriptions/{name}"

    def close(self) -> None:
        self.warehouse.close()
        self.artifacts.close()


def export(workplace: Workplace) -> str:
    """Load the export into a workplace; return its dataset."""
    shop.load(workplace, [shop.event("ana", day) for day in EXPORT])
    return workplace.ga4_dataset


@pytest.fixture
def place(emulators, bigquery_emulator) -> Iterator[Place]:
    """A healthy deployment of a test's own, with topics of its own project."""
    workplace = new_workplace(emulators, bigquery_emulator)
    storage = emulators.state.folder / "storage"
    deployment = Place(
        replace(
            workplace,
            environment={
                **workplace.environment,
                "PROPENSITY_GA4_DATASET": export(workplace),
            },
        ),
        emulators.address("pubsub"),
        storage,
    )
    deployment.prepare()
    yield deployment
    with deployment.subscriber() as subscriber:
        # What waits there would be found by the next test.
        subscriber.delete_subscription(
            subscription=deployment.subscription("dead-letters-replay")
        )
    deployment.close()


def findings_of(report: Report) -> list[tuple[str, str]]:
    """Return what was found, and that nothing failed."""
    assert report.failed == {}
    return [(finding.check, finding.what) for finding in report.findings]


def missing_table(place: Place) -> str:
    place.warehouse.drop("postcode_index")
    return r"rights: missing in \w+: postcode_index"


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


def view_in_the_export(place: Place) -> str:
    name = f"{place.settings.project}.{place.workplace.ga4_dataset}.events_2026_recent"
    view = bigquery.Table(name)
    view.view_query = f"SELECT * FROM `{place.workplace.ga4_dataset}.events_20260303`"
    with place.workplace.bigquery.client() as client:
        client.create_table(view)
    return "export: in .*events_2026_recent"


def flipped_model(place: Place) -> str:
    place.flip(f"models/{USE_CASE}/0/model.joblib")
    return (
        f"champions: {USE_CASE}: the champion, version 0, cannot be loaded: "
        ".*(is not what was recorded|bytes)"
    )


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
    return (
        f"champions: {USE_CASE}: no model serves: version 0 was promoted, and since "
        f"then models/{USE_CASE}/champion.json was deleted"
    )


def old_champion(place: Place) -> str:
    place.promoted(NOW - timedelta(days=60))
    return f"champions: {USE_CASE}: version 0 has served for 60 days"


def missed_run(place: Place) -> str:
    place.artifacts.delete(f"runs/{USE_CASE}/predict/{MONDAY}.json")
    place.ran("predict", MONDAY - timedelta(days=7))
    return (
        f"runs: predictions of {USE_CASE} was missed: it was due on 2026-03-02 17:00, "
        "and the last run is that of 2026-02-23"
    )


def damaged_lease(place: Place) -> str:
    place.flip(f"runs/{USE_CASE}/train/2026-03-01.json")
    return f"runs: model_training of {USE_CASE}: the lease of 2026-03-01 is damaged"


def stuck_run(place: Place) -> str:
    place.begin("train", date(2026, 3, 1), at=NOW - timedelta(days=3))
    return f"runs: model_training of {USE_CASE} for 2026-03-01 is stuck"


def waiting_dead_letters(place: Place) -> str:
    with place.publisher() as publisher:
        topic = f"projects/{place.settings.project}/topics/dead-letters"
        publisher.publish(topic=topic, messages=[{"data": b"secret-user"}] * 3)
    return "dead letters: 3 messages wait in dead-letters-replay"


def dead_letters(place: Place) -> str:
    at = NOW - timedelta(hours=1)
    for number in range(3):
        place.warehouse.execute(
            "INSERT INTO dead_letters (message_id, reason, raw, received_at,"
            " received_on) VALUES (@id, 'bad_amount', b'secret-user', @at, @day)",
            {"id": f"m{number}", "at": at, "day": at.date()},
        )
    return (
        "dead letters: 3 messages of the last seven days became dead letters: "
        "bad_amount 3"
    )


TOGETHER = (
    (missing_days, missing_table, flipped_model, missed_run, dead_letters),
    (view_in_the_export, unrecorded, stuck_run, waiting_dead_letters),
    (late_export, damaged_lease, damaged_pointer),
    (no_champion,),
    (old_champion,),
)


class TestHealthy:
    def test_finds_nothing(self, place, capsys):
        """Every check ran and found nothing; the command exits with 0."""
        report = place.examine()
        status = place.run()
        written = capsys.readouterr()

        assert findings_of(report) == []
        assert report.checks == [*CHECKS]
        assert (report.status, status) == (0, 0), written.out
        assert written.out.rstrip().endswith("dead letters: nothing is wrong.")
        assert "looking at export" in written.err


class TestFaults:
    @pytest.mark.parametrize(
        "faults",
        TOGETHER,
        ids=lambda faults: "-".join(fault.__name__ for fault in faults),
    )
    def test_are_named_each(self, place, faults):
        """Whatever is wrong is found, with what to do, and nothing else is."""
        patterns = [fault(place) for fault in faults]
        report = place.examine()
        messages = [f"{check}: {what}" for check, what in findings_of(report)]

        for pattern in patterns:
            assert any(re.match(pattern, message) for message in messages), pattern
        for message in messages:
            assert any(re.match(pattern, message) for pattern in patterns), message
        assert report.status == 1
        assert all(len(finding.advice) > 10 for finding in report.findings)
        assert "secret-user" not in json.dumps(report.fields())


class TestRuns:
    def test_that_failed_are_told_by_the_word_of_the_documents(self, place):
        """What operate.md does not know is looked for in the log; a run that waits for
        the export has not failed."""
        place.failed("evaluate", MONDAY, "SchemaError")
        place.failed("predict", MONDAY, "ZeroDivisionError")
        place.failed("train", date(2026, 3, 1), "ExportLate")
        trained, predicted, evaluated = place.examine().findings

        assert "failed: schema" in evaluated.what
        assert evaluated.advice.startswith("docs/operate.md says what to do about sch")
        assert "failed: ZeroDivisionError" in predicted.what
        assert predicted.advice.startswith("see the log of predictions of that run")
        assert trained.severity == "warning"
        assert "waits for the newest day of the export" in trained.what

    def test_that_nothing_calls_are_information_locally(self, place):
        """With the call to make; what failed is a fault all the same."""
        for name in place.artifacts.names(f"runs/{USE_CASE}/evaluate/"):
            place.artifacts.delete(name)
        place.failed("predict", NOW.date(), "MissingTable")
        scheduled, local = place.examine(), place.examine(addresses=LOCAL)

        assert len(scheduled.findings) == 2
        assert [finding.what for finding in local.findings] == [
            f"predictions of {USE_CASE} for {NOW.date()} failed: missing_table"
        ]
        [information] = local.information
        assert "never run" in information.what
        assert information.advice.startswith(
            f"curl -X POST {LOCAL['model_evaluation']}"
        )

    @pytest.mark.parametrize(
        ("cron", "due"),
        [
            ("0 15 * * 1", datetime(2026, 3, 2, 15, tzinfo=UTC)),
            ("30 2 1 * *", datetime(2026, 3, 1, 2, 30, tzinfo=UTC)),
            ("0 4 * * *", datetime(2026, 3, 4, 4, tzinfo=UTC)),
        ],
    )
    def test_are_due_by_their_schedule(self, cron, due):
        assert last_due(cron, NOW, ZoneInfo("Etc/UTC")) == due


class TestCommand:
    def test_prints_json_of_what_it_says(self, place, capsys):
        """The same findings for a program, and the status of a fault."""
        place.warehouse.drop("postcode_index")
        status = place.run("--json")
        report = json.loads(capsys.readouterr().out)

        assert (status, report["status"]) == (1, 1)
        [finding] = report["findings"]
        assert (finding["check"], finding["severity"]) == ("rights", "error")
        assert "postcode_index" in finding["what"]
        assert "deploy/setup.sh" in finding["advice"]

    def test_goes_on_after_an_error_of_one_check(self, place, capsys, monkeypatch):
        """Named with type and message; what was found decides the exit status."""
        monkeypatch.setattr(checks.exported, "obstacles", lambda _: 1 // 0)
        assert place.run("--json") == 2
        report = json.loads(capsys.readouterr().out)

        assert report["failed"]["export"].startswith("ZeroDivisionError: integer")
        assert report["checks"] == [*CHECKS]

    def test_says_what_is_wrong_with_the_settings(self, place, capsys):
        """A setting that stops every function is found without asking anybody."""
        assert place.run(PROPENSITY_NO_SUCH_SETTING="1") == 1
        assert "unknown setting PROPENSITY_NO_SUCH" in capsys.readouterr().out

    def test_looks_at_what_has_a_damaged_pointer(self, place, capsys):
        """Whatever use case the settings name: the other is to serve, and does not."""
        damaged_pointer(place)
        place.run(PROPENSITY_USE_CASE="ga4_purchase")

        assert f"{USE_CASE}: the pointer" in capsys.readouterr().out

    def test_says_that_it_could_not_examine(self, place, capsys):
        """Services that do not answer are no finding: nothing is known of them."""
        status = place.run(
            "--json",
            BIGQUERY_EMULATOR_HOST="http://127.0.0.1:9",
            PROPENSITY_DEADLINE_S="1",
        )
        report = json.loads(capsys.readouterr().out)

        assert status == 2
        assert {"rights", "export"} <= report["failed"].keys()

    def test_refuses_what_it_does_not_know(self, place, capsys):
        """A use case or a function of no such name is told, and nothing is examined."""
        for option in ("--use-case", "--function"):
            assert place.run(option, "no_such_name") == 2
            assert "no_such_name" in capsys.readouterr().err

    def test_wants_an_export_where_a_use_case_reads_one(self, place):
        """Settings that do not go together are told."""
        settings = replace(place.settings, ga4_dataset="")
        ga4 = [usecases.load("ga4_purchase")]
        findings = place.examine(settings=settings, use_cases=ga4).findings

        assert "PROPENSITY_GA4_DATASET is not set, and ga4_pur" in findings[0].what


def test_information_is_no_failure():
    """In words and as JSON, with exit status 0."""
    finding = Finding(check="runs", severity="info", what="never run", advice="curl")
    report = Report(place="p", as_of="d", checks=["runs"], information=[finding])

    assert report.status == 0
    assert "INFO    runs: never run\n        What to do: curl" in str(report)
    assert str(report).endswith("runs: nothing is wrong.")
    assert report.fields()["information"][0]["what"] == "never run"


@pytest.mark.parametrize("stray", ["20241231", "20991231"])
def test_an_export_that_stopped_has_stopped_beside_a_table_that_lies_alone(
    place, stray
):
    """A clock that was wrong, or a test of the link, is neither its end nor its
    beginning."""
    expected = late_export(place)
    export = place.workplace.ga4_dataset
    with place.workplace.bigquery.client() as client:
        client.query_and_wait(
            f"CREATE TABLE {export}.events_{stray} AS "
            f"SELECT * FROM {export}.events_20260227 LIMIT 1"
        )
    found = [": ".join(one) for one in findings_of(place.examine())]

    assert [one for one in found if re.match(expected, one)] == found


LOYALTY = Source(
    name="loyalty",
    table="crm-project.doctored.loyalty",
    user_id="customer_id",
    valid_from="changed_at",
    columns={"points": "INT64"},
)


def test_sources_that_runs_could_not_read_are_named(place):
    """As a run would say it, before one does; another location is refused."""
    loading.load(place.warehouse.client, LOYALTY, loading.table_of(LOYALTY, []))

    def found(**changes: Any) -> str:
        source = replace(LOYALTY, **changes)
        use_case = replace(usecases.load(USE_CASE), sources=[source])
        report = place.examine(use_cases=[use_case])
        return "; ".join(
            what for check, what in findings_of(report) if check == "sources"
        )

    assert found() == ""
    assert "doctored.none" in found(table="crm-project.doctored.none")
    assert "points is INT64, wanted DATE" in found(columns={"points": "DATE"})
    assert "cannot be trained: its source loyalty" in found(valid_from="")
    settings = replace(place.settings, location="EU")
    with (
        contextlib.closing(Warehouse.open(settings)) as warehouse,
        pytest.raises(SettingsError, match="is in US, and queries run in EU"),
    ):
        described(warehouse, LOYALTY)
