"""
The command, specified on the emulators: what it reads, and where it writes.

Rows are those that the functions write, in the tables as they are set up.
"""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from commands.answers import Exit
from offline.dashboard import facts, reading
from offline.dashboard.reading import SQL, TITLES, Reading, Window
from offline.dashboard.run import run
from propensity.registry.leases import leased
from propensity.registry.versions import Registry
from propensity.runs.report import report_name
from propensity.statements import statement
from propensity.tables import every as tables
from tests.clocks import ManualClock
from tests.conftest import Workplace
from tests.functions.conftest import entered
from tests.offline.conftest import Deployment
from tests.offline.dashboard import rows
from tests.offline.dashboard.rows import AS_OF as DAY
from tests.offline.dashboard.rows import NOW, WEEK, WINDOW
from tests.offline.dashboard.test_pages import words

# Whatever a page is about, it is not about one of these.
SOMEBODY = "somebody-4711"
SHOP = "use-case-ga4_purchase.html"
# The day before the newest week of the rows ended.
PAST = DAY - timedelta(days=1)


class Site(Deployment):
    """A deployment with rows of everything."""

    def __init__(self, workplace: Workplace) -> None:
        super().__init__(workplace)
        self._read: dict[Window, dict[str, Reading]] = {}
        self.fill()

    def given(self, name: str, window: Window = WINDOW) -> list[reading.Row]:
        """What a statement gives; all of a window are read once."""
        if window not in self._read:
            readings = reading.read(self.warehouse, window)
            self._read[window] = {one.name: one for one in readings}
        return [*self._read[window][name].rows]

    def write(self, *arguments: str) -> int:
        return self.run("dashboard", *arguments)

    def fill(self) -> None:
        """Give every table a row or two that the dashboard shows."""
        first = DAY - 5 * WEEK
        cards = {"use_case": "card_fraud", "as_of": None}
        self.append(
            tables.TRAINING_METADATA,
            rows.version(0, training_date=first, as_of=first),
            rows.version(1, training_date=DAY - 60 * WEEK, **cards),
        )
        self.append(
            tables.EVALUATION,
            *(rows.evaluation(n, model_version=0) for n in (1, 2, 40)),
        )
        promise = {"value_promised": Decimal("14000.25"), "scored_at": NOW}
        billed = {"seconds": 48.0, "bytes_billed": 3 * 2**30, **promise}
        self.append(
            tables.PUBLICATIONS,
            *(rows.publication(n, model_version=0, **billed) for n in (0, 40)),
        )
        scored = {**rows.probabilities(), "written_at": NOW}
        self.append(tables.DRIFT, scored, {**scored, "written_at": NOW - WEEK})
        at = NOW - timedelta(hours=2)
        event = {
            "use_case": "first_day_churn",
            "user_id": SOMEBODY,
            "event_type": "new_registration",
            "event_time": at,
            "event_date": at.date(),
            "received_at": at,
            "received_on": at.date(),
            "published_at": at - timedelta(seconds=2),
        }
        older = {"received_at": at - 2 * WEEK, "received_on": at.date() - 2 * WEEK}
        self.append(
            tables.STREAM_EVENTS,
            {**event, "event_id": "1"},
            # The same again, an hour later.
            {**event, "event_id": "1", "received_at": at + timedelta(hours=1)},
            {**event, "event_id": "2", "is_late": True},
            {**event, "event_id": "3", **older},
        )
        scored = {
            "use_case": "card_fraud",
            "event_id": "1",
            "user_id": SOMEBODY,
            "event_time": at,
            "event_date": at.date(),
            "model_version": 1,
            "source": "stream",
            "scored_at": at,
            "scored_on": at.date(),
            "latency_ms": 120.0,
        }
        self.append(
            tables.INFERENCE_LOG,
            {**scored, "inference_id": "a", "probability": 0.9},
            # A redelivery repeats its id.
            {**scored, "inference_id": "a", "probability": 0.9},
            {**scored, "inference_id": "b", "probability": 0.1},
            # Came while nothing served.
            {**scored, "inference_id": "c", "model_version": -1},
        )
        letter = {"received_at": at, "received_on": at.date(), "raw": SOMEBODY.encode()}
        self.append(
            tables.DEAD_LETTERS,
            {**letter, "message_id": "1", "reason": "bad_value"},
            {**letter, "message_id": "1", "reason": "bad_value"},
            {**letter, "message_id": "2", "reason": "malformed_json"},
        )
        member = rows.members(probability=0.5)
        self.append(
            tables.AUDIENCE_MEMBERS,
            {**member, "user_id": SOMEBODY, "is_control": False},
            {**member, "user_id": "another", "is_control": True},
        )
        sent = rows.delivered(user_id=SOMEBODY, request="r", recorded_at=NOW)
        why = f"{SOMEBODY} is unknown"
        self.append(
            tables.AUDIENCE_LEDGER,
            {**sent, "status": "pending"},
            {**sent, "status": "rejected", "reason": why},
        )
        later = {"week": DAY - WEEK, "week_end": DAY, "status": "provisional"}
        self.append(
            tables.AUDIENCE_LIFT, rows.lift(verdict="too_few"), rows.lift(**later)
        )


@pytest.fixture(scope="module")
def site(new_deployment) -> Site:
    """A deployment with rows; tests read it."""
    return new_deployment(Site)


class TestStatements:
    def test_read_the_weeks_of_the_window_alone(self, site):
        """Newest first; a champion may be a year older than these."""
        weeks = [row["week"] for row in site.given("evaluations")]
        longer = Window(as_of=DAY, weeks=50, until=DAY)

        assert weeks == [DAY - WEEK, DAY - 2 * WEEK]
        assert len(site.given("evaluations", longer)) == 3
        assert [row["use_case"] for row in site.given("versions")] == [
            "card_fraud",
            "ga4_purchase",
        ]

    def test_give_the_distribution_of_the_newest_run(self, site):
        """Of a publication that was repeated."""
        (row,) = site.given("drift")
        assert row["bins"] == rows.probabilities()["bins"]

    def test_count_events_by_hour_and_those_that_had_come_before(self, site):
        """Also where the second came in another hour; older days are left out."""
        first, second = site.given("stream")

        assert (first["received"], first["duplicates"], first["late"]) == (2, 0, 1)
        assert first["wait_p50_ms"] == 2_000
        assert (second["received"], second["duplicates"]) == (1, 1)

    def test_count_scores_and_letters_once(self, site):
        """A redelivery repeats its id, and nothing is a score while nothing serves."""
        (scored,) = site.given("latency")

        assert (scored["scores"], scored["latency_p99_ms"]) == (2, 120.0)
        letters = {row["reason"]: row["messages"] for row in site.given("dead_letters")}
        assert letters == {"bad_value": 1, "malformed_json": 1}

    def test_count_members_and_what_arrived(self, site):
        """By group, and by the newest status."""
        (chosen,) = site.given("audiences")
        (sent,) = site.given("deliveries")

        assert (chosen["members"], chosen["held_out"]) == (2, 1)
        assert (sent["accepted"], sent["rejected"], sent["pending"]) == (0, 1, 0)

    def test_give_what_runs_billed(self, site):
        """Of the weeks that are shown, not of all trainings that may serve."""
        runs = {row["run"]: row["result"] for row in site.given("runs")}
        assert runs == {
            "training": "version 0, promoted",
            "evaluation": f"{DAY - 2 * WEEK} to {DAY - WEEK}",
            "publication": f"{DAY}, version 0",
        }
        assert max(row["bytes_billed"] or 0 for row in site.given("runs")) == 3 * 2**30

    @pytest.mark.parametrize("name", TITLES)
    def test_give_the_same_by_the_text_that_is_shown(self, site, name):
        """With its parameters as values. Where tables are is what the emulator is told
        beside it: it has no system variables."""
        expected = site.given(name)
        text = reading.filled(
            statement(name, own=SQL), WINDOW.parameters(name), site.warehouse
        )
        _, dataset, *lines = text.splitlines()

        assert dataset == f"SET @@dataset_id = '{site.settings.dataset}';"
        given = site.warehouse.table("\n".join(lines)).to_pylist()
        assert [reading.plain(row) for row in given] == expected

    def test_have_nothing_of_after_a_past_day(self, site):
        """No week whose outcomes were not over, no lift of one, no publication."""
        window = Window(as_of=PAST, weeks=26, until=PAST, is_past=True)

        for name in ("evaluations", "lift"):
            weeks = [row["week"] for row in site.given(name, window)]
            assert weeks == [DAY - 2 * WEEK]
        assert site.given("publications", window) == []


class TestCommand:
    def test_writes_a_folder(self, site, tmp_path, capsys):
        """Every page, and answers a program; again replaces what is there. No id of a
        user is in one: neither from a table of users, nor in words of a receiver."""
        folder = tmp_path / "new" / "site"
        for how in ((), ("--json",)):
            assert (
                site.write("--out", str(folder), "--as-of", str(DAY), *how) == Exit.DONE
            )
        output, _, answer = capsys.readouterr().out.partition("{")

        names = {file.name for file in folder.iterdir()}
        assert SHOP in names
        assert f"Open {folder / 'index.html'}" in output
        assert json.loads("{" + answer)["pages"].keys() == names
        for file in folder.iterdir():
            assert SOMEBODY not in file.read_text(), file.name

    def test_writes_a_bucket(self, site, capsys):
        """Under a prefix, as pages that a browser shows; again replaces them."""
        address = f"gs://{site.settings.bucket}/shown/here"
        for _ in range(2):
            assert site.write("--out", f"{address}/", "--as-of", str(DAY)) == Exit.DONE

        assert f"Open {address}/index.html" in capsys.readouterr().out
        names = site.artifacts.names("shown/here/")
        assert "shown/here/sql.html" in names
        with site.workplace.storage.client() as client:
            blob = client.bucket(site.settings.bucket).get_blob(names[0])
            assert blob.content_type.startswith("text/html")

    def test_copies_reports_of_weeks_without_scripts(self, site, tmp_path):
        """Under a policy of their own, before anything that a report says."""
        week = DAY - WEEK
        name = report_name("ga4_purchase", week)
        site.artifacts.overwrite(name, b"<p>a week", content_type="text/html")
        assert site.write("--out", str(tmp_path), "--as-of", str(DAY)) == Exit.DONE

        (copy,) = tmp_path.glob("report-*.html")
        assert copy.read_text() == f"{facts.FIRST}<p>a week"
        assert f'href="{copy.name}"' in (tmp_path / SHOP).read_text()

    def test_says_what_a_dry_run_would_read_and_write(self, site, tmp_path, capsys):
        """And does neither."""
        folder = tmp_path / "site"
        assert site.write("--out", str(folder), "--dry-run") == Exit.DONE
        output = capsys.readouterr().out

        assert all(f"  {name} " in output for name in TITLES)
        assert f"{folder}/index.html" in output
        assert not folder.exists()

    def test_shows_what_serves_and_what_served_on_a_past_day(self, site, tmp_path):
        """Today by the pointer; then by what had been promoted, also by a training
        that was run later for that day."""
        registry = Registry(site.artifacts, "ga4_purchase")
        registry.promote(7, model_sha256="0" * 64, at=NOW, instead_of=None)
        clock = ManualClock(NOW)
        with entered(site.environment):
            run(str(tmp_path), weeks=26, clock=clock)
            assert "Version 7 serves" in words((tmp_path / SHOP).read_text())
            run(str(tmp_path), weeks=26, as_of=PAST, clock=clock)
            assert "Version 0 serves" in words((tmp_path / SHOP).read_text())

    def test_of_a_local_state_is_of_the_day_that_was_played(self, site, tmp_path):
        """Which may be of another year; the stream is that of today."""
        played = DAY - 52 * WEEK
        name = site.settings.use_case
        with leased(site.artifacts, name, "predict", played, clock=lambda: NOW):
            pass
        with entered(site.environment):
            run(str(tmp_path), weeks=26, is_local=True, clock=ManualClock(NOW))

        page = words((tmp_path / "stream.html").read_text())
        assert f"26 weeks up to {played}" in page
        assert f"the last 7 days up to {DAY}" in page

    @pytest.mark.parametrize("out", ["gs://", "gs:///x", "gs://-x/y", "FILE"])
    def test_refuses_a_place_before_it_reads(self, site, out, tmp_path, capsys):
        """A file is no folder, and a bucket has a name."""
        file = tmp_path / "a-file"
        file.write_text("mine")

        assert site.write("--out", out.replace("FILE", str(file))) == Exit.FAILED
        assert "propensity dashboard: " in capsys.readouterr().err
        assert file.read_text() == "mine"


def test_missing_tables_are_sentences(workplace, environment, tmp_path):
    """In a dataset without a table every page is written, and says so."""
    written = run(str(tmp_path), weeks=26, clock=ManualClock(NOW))

    assert {*written.missing} == {*TITLES}
    assert "Could not be read" in str(written)
    assert "What could not be read" in (tmp_path / "index.html").read_text()
