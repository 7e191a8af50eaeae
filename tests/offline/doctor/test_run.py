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
from dataclasses import asdict, replace
from datetime import timedelta

import pytest

from offline.doctor import layout
from offline.doctor.champions import check_champions
from offline.doctor.layout import check_tables
from offline.doctor.report import ERROR, WARNING, Finding, Report
from offline.doctor.rights import check_settings
from offline.doctor.run import CHECKS
from offline.doctor.schedule import check_runs
from offline.doctor.stream import check_stream
from propensity import tables, usecases
from propensity.edges.columns import record
from propensity.privacy import consent
from propensity.runs import setup
from tests.conftest import new_workplace
from tests.functions.conftest import entered
from tests.functions.streaming import USE_CASE
from tests.offline.doctor.conftest import (
    LOCAL,
    MONDAY,
    NOW,
    Place,
    export,
    findings_of,
    prepared,
)
from tests.offline.doctor.faults import (
    CHANGE_EXPORT,
    PREDICTIONS,
    TOGETHER,
    compacted,
    no_postcodes,
    rebuild,
    received,
    scored,
)

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def shared_export(emulators, bigquery_emulator) -> str:
    """The dataset of an export that nobody changes."""
    return export(new_workplace(emulators, bigquery_emulator))


@pytest.fixture
def faulty(emulators, bigquery_emulator, shared_export, faults) -> Iterator[Place]:
    """A deployment of a test's own, with an export of its own if that is changed."""
    workplace = new_workplace(emulators, bigquery_emulator)
    is_changed = CHANGE_EXPORT & {*faults}
    source = export(workplace) if is_changed else shared_export
    with prepared(emulators, workplace, source) as place:
        yield place


class TestHealthy:
    def test_finds_nothing(self, healthy):
        """Every check ran, found nothing, and says what it cannot see here."""
        report = healthy.examine()

        assert findings_of(report) == []
        assert report.checks == [*CHECKS]
        assert report.status == 0
        assert {check.check for check in report.not_checked} == {
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
        received(place, NOW - timedelta(minutes=10))
        scored(place, NOW - timedelta(minutes=9))
        compacted(place, NOW - timedelta(hours=11))

        assert findings_of(place.examine()) == []


class TestLocally:
    """Nothing runs by a clock there."""

    def test_a_view_that_is_gone_is_a_fault(self, place):
        """Every run would fail; without an export there is none yet."""
        no_export = replace(place.settings, ga4_dataset="begins_tomorrow")
        place.warehouse.drop(consent.VIEW)
        findings, early = (
            place.checked(layout.check_views, addresses=LOCAL, settings=settings)
            for settings in (place.settings, no_export)
        )
        setup.prepare(place.warehouse, place.artifacts, place.settings)

        assert [(finding.severity, finding.advice) for finding in findings] == [
            (ERROR, layout.SET_UP)
        ]
        assert early == []

    def test_what_was_not_run_is_information(self, place):
        """With the call to make; by a schedule the same is a fault."""
        later = NOW + timedelta(days=60)
        received(place, later - timedelta(days=10))
        compacted(place, later - timedelta(days=9))
        for name in place.artifacts.names(f"runs/{USE_CASE}/evaluate/"):
            place.artifacts.delete(name)
        checks = (check_runs, check_champions, check_stream)

        scheduled = [
            finding.what
            for each in checks
            for finding in place.checked(each, now=later)
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
        information = [finding for report in reports for finding in report.information]
        assert {finding.severity for finding in information} == {"info"}
        assert "Scheduler" not in str([*map(str, reports)])
        assert sum("was missed" in finding for finding in scheduled) == 3
        calls = {
            finding.what.partition(" ")[0]: finding.advice
            for finding in information
            if "run" in finding.what
        }
        body = json.dumps({"use_case": USE_CASE, "as_of": str(later.date())})
        for target in ("model_training", "predictions", "model_evaluation"):
            assert calls[target] == (
                f"curl -X POST {LOCAL[target]} "
                f"-H 'Content-Type: application/json' -d '{body}'"
            )
        assert calls["compact_features"] == f"curl -X POST {LOCAL['compact_features']}"
        assert [
            finding.what for finding in information if "never run" in finding.what
        ] == [f"model_evaluation of {USE_CASE} has never run"]

    def test_what_failed_is_a_fault_all_the_same(self, place):
        """Somebody ran it, and has to know."""
        place.failed("predict", NOW.date(), "MissingTable")

        findings = place.checked(check_runs, addresses=LOCAL)

        assert [
            (finding.severity, "missing_table" in finding.what) for finding in findings
        ] == [("error", True)]

    def test_information_is_told_and_is_no_failure(self):
        """In words and as JSON, with exit status 0."""
        finding = Finding(
            check="runs",
            severity="info",
            what="predictions has never run",
            advice="curl -X POST http://127.0.0.1:9001",
        )
        report = Report(place="p", as_of="d", checks=["runs"], information=[finding])

        assert report.status == 0
        assert "INFO    runs: predictions has never run\n" in str(report)
        assert "What to do: curl -X POST http://127.0.0.1:9001" in str(report)
        assert str(report).endswith("runs: nothing is wrong.")
        assert report.fields()["information"] == [asdict(finding)]


@pytest.mark.long
class TestFaults:
    @pytest.mark.parametrize(
        "faults",
        TOGETHER,
        ids=lambda faults: "-".join(fault.__name__ for fault in faults),
    )
    def test_are_named_each(self, faulty, faults):
        """Whatever is wrong is found, with what to do, and nothing else is."""
        patterns = [fault(faulty) for fault in faults]
        report = faulty.examine()
        messages = [f"{check}: {what}" for check, what in findings_of(report)]

        for pattern in patterns:
            assert any(re.match(pattern, message) for message in messages), pattern
        for message in messages:
            assert any(re.match(pattern, message) for pattern in patterns), message
        assert report.status == 1
        assert all(len(finding.advice) > 10 for finding in report.findings)
        assert "secret-user" not in json.dumps(report.fields())


class TestTables:
    def test_may_have_their_columns_in_another_order(self, place):
        """What writes names its columns, so that one added at the end is no fault."""
        rebuild(
            place,
            "ma_predictions_runs",
            columns="* EXCEPT (use_case, run_id), run_id, use_case",
            layout=PREDICTIONS,
        )
        row = {
            "use_case": USE_CASE,
            "user_id": "bo",
            "as_of": MONDAY,
            "probability": 0.25,
            "run_id": "r",
        }
        rows = record(row, tables.SCORES)
        job = uuid.uuid4().hex
        place.warehouse.append(tables.SCORES, rows, job_id=job)

        assert findings_of(place.examine()) == []
        [stored] = place.warehouse.rows(
            "SELECT * FROM ma_predictions_runs"
            " WHERE as_of >= '2026-01-01' AND user_id = 'bo'"
        )
        assert {name: stored[name] for name in row} == row

    def test_get_advice_by_what_set_up_adds(self, place):
        """Set-up adds a column that may be null, and no required one."""
        rebuild(
            place,
            "ma_predictions_runs",
            columns="* EXCEPT (expected_value, run_id)",
            layout=PREDICTIONS,
        )
        findings = place.checked(check_tables)
        advice = {finding.what.split()[4]: finding.advice for finding in findings}

        assert advice["expected_value"].startswith("run deploy/setup.sh")
        assert "`make down && make up`" in advice["expected_value"]
        assert advice["run_id"].startswith("copy the rows")

    def test_need_postcodes_where_they_are_read(self, place):
        """A use case that reads no postcode is not told of their table."""
        no_postcodes(place)
        cards = [usecases.load("card_fraud")]

        assert place.checked(check_tables, use_cases=cards) == []


class TestRuns:
    def test_that_failed_are_told_by_the_word_of_the_documents(self, place):
        """What operate.md does not know is looked for in the log."""
        place.failed("evaluate", MONDAY, "SchemaError")
        place.failed("predict", MONDAY, "ZeroDivisionError")
        predicted, evaluated = place.checked(check_runs)

        assert "failed: schema;" in evaluated.what
        assert evaluated.advice.startswith(
            "docs/operate.md says what to do about schema"
        )
        assert "failed: ZeroDivisionError;" in predicted.what
        assert predicted.advice.startswith("see the log of predictions of that run")

    def test_that_failed_again_have_been_done_all_the_same(self, place):
        """A repeat overwrites the lease of its date, and not what it has published."""
        place.failed("predict", MONDAY, "SchemaError")
        repeat, *others = place.checked(check_runs)
        assert (repeat.severity, others) == (WARNING, [])

        later = place.checked(check_runs, now=NOW + timedelta(days=7))
        [missed] = [
            finding
            for finding in later
            if "predictions" in finding.what and finding != repeat
        ]
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
        place.warehouse.execute("DELETE FROM ma_publications WHERE TRUE")
        failed = place.checked(check_runs)[0]
        assert (failed.severity, failed.what) == (
            ERROR,
            f"predictions of {USE_CASE} for 2026-03-02 failed: schema",
        )

        later = place.checked(check_runs, now=NOW + timedelta(days=7))
        assert any(
            finding.what.endswith("and the last that succeeded is 2026-02-23")
            for finding in later
        )


class TestUnforeseen:
    def test_errors_of_one_check_keep_no_other_from_being_told(
        self, place, capsys, monkeypatch
    ):
        """Named with type and message; what was found decides the exit status."""
        monkeypatch.setattr(layout.compact, "view_of", lambda _: 1 // 0)
        assert place.run("--json") == 2
        report = json.loads(capsys.readouterr().out)
        assert [finding["check"] for finding in report["failed"]] == ["views"]
        assert report["failed"][0]["why"].startswith("ZeroDivisionError: integer")
        assert report["checks"] == [*CHECKS]

        place.warehouse.drop("postcode_index")
        assert place.run() == 1
        written = capsys.readouterr().out
        assert "missing in" in written
        assert "Could not be examined:\n  views: ZeroDivisionError" in written


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

        checks = {}
        for require in ("true", "false"):
            place.run("--json", PROPENSITY_REQUIRE_CONSENT=require)
            report = json.loads(capsys.readouterr().out)
            checks[require] = [finding["check"] for finding in report["findings"]]

        assert checks == {"true": [], "false": ["views"]}

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

    def test_says_that_it_could_not_examine(self, healthy, capsys):
        """Services that do not answer are no finding: nothing is known of them."""
        status = healthy.run(
            "--json",
            BIGQUERY_EMULATOR_HOST="http://127.0.0.1:9",
            PROPENSITY_DEADLINE_S="1",
        )
        report = json.loads(capsys.readouterr().out)

        assert status == 2
        assert {"tables", "views", "export"} <= {
            finding["check"] for finding in report["failed"]
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

        [finding] = exam.report.findings
        assert "PROPENSITY_GA4_DATASET is not set, and ga4_purchase" in finding.what
