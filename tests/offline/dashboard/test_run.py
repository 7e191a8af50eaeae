"""
The command, specified on the emulators: what it reads, and where it writes.

Rows are those that the functions write, in the tables as they are set up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from commands.cli import main
from commands.exits import Exit
from offline.dashboard.reading import SOURCES, Reading, Window, read
from offline.dashboard.run import known, run
from propensity import tables
from propensity.errors import RequestError
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.versions import Registry
from propensity.settings import Settings
from tests.clocks import ManualClock
from tests.conftest import Workplace
from tests.functions.conftest import entered
from tests.offline.dashboard import rows
from tests.offline.dashboard.rows import AS_OF as DAY
from tests.offline.dashboard.rows import NOW, WEEK, WINDOW
from tests.rows import rows_of

# Whatever a page is about, it is not about one of these.
SOMEBODY = "somebody-4711"


class Site:
    """A workplace with tables, and rows of everything."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self.environment = workplace.environment
        self.settings = Settings.from_environment(self.environment)
        self.warehouse = Warehouse.open(self.settings)
        for table in tables.TABLES:
            self.warehouse.create(table)
        with entered(self.environment):
            self.artifacts = Artifacts.open(self.settings)
        self._read: dict[Window, list[Reading]] = {}

    def append(self, table: Any, *added: dict[str, Any]) -> None:
        """Append rows; columns that a test does not name are null."""
        self.warehouse.write(table, rows_of(table, added))

    def read(self, window: Window = WINDOW) -> list[Reading]:
        """What all statements give of a window, read once: tests write elsewhere."""
        if window not in self._read:
            self._read[window] = [*read(self.warehouse, window)]
        return self._read[window]

    def rows(self, name: str, window: Window = WINDOW) -> list[dict[str, Any]]:
        """What a statement gives."""
        [reading] = [r for r in self.read(window) if r.name == name]
        return [dict(row) for row in reading.rows]

    def run(self, *arguments: str) -> int:
        with entered(self.environment):
            return main(["dashboard", *arguments])

    def fill(self) -> None:
        """Give every table a row or two that the dashboard shows."""
        # Columns of a statement that its table lacks are left out.
        self.append(
            tables.TRAINING_METADATA,
            rows.version(0, training_date=DAY - 5 * WEEK, as_of=DAY - 5 * WEEK),
            rows.version(
                1,
                use_case="card_fraud",
                training_date=DAY - 60 * WEEK,
                as_of=None,
                alert_threshold=0.5,
                review_cost=Decimal(5),
            ),
        )
        self.append(
            tables.EVALUATION,
            *(rows.evaluation(n, model_version=0) for n in (1, 2, 40)),
        )
        self.append(
            tables.PUBLICATIONS,
            *(rows.publication(n, model_version=0, **rows.PROMISE) for n in (0, 40)),
        )
        counts = [{"value": "0.25", "users": 30}, {"value": "0.5", "users": 10}]
        before = [{"value": "0.125", "users": 99}]
        self.append(
            tables.DRIFT,
            rows.drift("score", "probability", counts=counts),
            rows.drift("score", "probability", written_at=NOW - WEEK, counts=before),
        )
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
            {**event, "event_id": "1", "postcode": "AB1"},
            # The same again, an hour later.
            {**event, "event_id": "1", "received_at": at + timedelta(hours=1)},
            {
                **event,
                "event_id": "2",
                "postcode": "CD2",
                "socioeconomic_idx": 0.5,
                "is_late": True,
            },
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
        self.append(
            tables.AUDIENCE_LEDGER,
            rows.delivered(
                "rejected",
                user_id=SOMEBODY,
                request="r",
                reason=f"{SOMEBODY} is unknown",
                recorded_at=NOW,
            ),
        )
        self.append(tables.AUDIENCE_LIFT, rows.lift(verdict="too_few"))


@pytest.fixture(scope="module")
def site(module_workplace) -> Iterator[Site]:
    """A deployment with rows; tests read it, and write elsewhere."""
    deployment = Site(module_workplace)
    deployment.fill()
    yield deployment
    deployment.warehouse.close()
    deployment.artifacts.close()


class TestStatements:
    def test_read_the_weeks_of_the_window_alone(self, site):
        """Newest first; a week of forty weeks ago is not shown in 26."""
        weeks = [row["week"] for row in site.rows("evaluations")]
        longer = Window(as_of=DAY, weeks=50, now=NOW)

        assert weeks == [DAY - WEEK, DAY - 2 * WEEK]
        assert len(site.rows("evaluations", longer)) == 3

    def test_read_trainings_of_a_year_more(self, site):
        """A champion may be older than the weeks that are shown."""
        names = [row["use_case"] for row in site.rows("versions")]
        assert names == ["card_fraud", "ga4_purchase"]

    def test_read_publications_of_the_window(self, site):
        """With what each promised and billed."""
        [row] = site.rows("publications")

        assert row["as_of"] == DAY
        assert row["value_promised"] == rows.PROMISE["value_promised"]
        assert row["bytes_billed"] == 30 * 1024**2

    def test_take_the_newest_run_of_a_publication(self, site):
        """A run that was repeated has left the rows of both for a moment."""
        assert [(row["value"], row["users"]) for row in site.rows("scores")] == [
            ("0.25", 30),
            ("0.5", 10),
        ]
        assert len(site.rows("drift")) == 1

    def test_count_events_by_hour_and_those_that_had_come_before(self, site):
        """Also where the second came in another hour; older days are left out."""
        first, second = site.rows("stream")

        assert (first["received"], first["duplicates"], first["late"]) == (2, 0, 1)
        assert (first["postcodes"], first["unknown_postcodes"]) == (2, 1)
        assert first["wait_p50_ms"] == 2_000
        assert (second["received"], second["duplicates"]) == (1, 1)
        assert second["hour"] - first["hour"] == timedelta(hours=1)

    def test_count_scores_and_letters_once(self, site):
        """A redelivery repeats its id, and nothing is a score while nothing serves."""
        (scored,) = site.rows("latency")
        (alerted,) = site.rows("alerts")

        assert (scored["scores"], scored["latency_p99_ms"]) == (2, 120.0)
        assert (alerted["scored"], alerted["alerts"]) == (2, 1)
        letters = {row["reason"]: row["messages"] for row in site.rows("dead_letters")}
        assert letters == {"bad_value": 1, "malformed_json": 1}

    def test_count_members_and_what_arrived(self, site):
        """By group, and by status."""
        (chosen,) = site.rows("audiences")
        (sent,) = site.rows("deliveries")
        (lift,) = site.rows("lift")

        assert (chosen["members"], chosen["held_out"]) == (2, 1)
        assert (sent["status"], sent["users"]) == ("rejected", 1)
        assert lift["verdict"] == "too_few"

    def test_give_the_same_by_the_text_that_is_shown(self, site):
        """With its parameters as values. Where tables are is what the emulator is told
        beside it: it has no system variables."""
        for reading in site.read():
            lines = reading.text.splitlines()
            assert lines[1] == f"SET @@dataset_id = '{site.settings.dataset}';"
            shown = "\n".join(lines[2:])

            assert site.warehouse.table(shown).to_pylist() == list(reading.rows), (
                reading.name
            )

    def test_are_bounded_by_dates(self):
        """Each names a first day and a last one, or moments."""
        for source in SOURCES:
            assert {"since", "until"} <= {*source.parameters(WINDOW)}
            text = source.text
            assert "@since" in text
            assert "@until" in text


class TestCommand:
    def test_writes_a_folder(self, site, tmp_path, capsys):
        """Every page, and says which to open; again replaces what is there. No id of a
        user is in one: neither from a table of users, nor in words of a receiver."""
        folder = tmp_path / "new" / "site"
        for _ in range(2):
            assert site.run("--out", str(folder), "--as-of", str(DAY)) == Exit.DONE
        output = capsys.readouterr().out

        names = {file.name for file in folder.iterdir()}
        assert "use-case-ga4_purchase.html" in names
        assert f"Open {folder / 'index.html'}" in output
        assert f"{len(names)} pages" in output
        for file in folder.iterdir():
            assert SOMEBODY not in file.read_text(), file.name

    def test_writes_a_bucket(self, site, capsys):
        """Under a prefix, as pages that a browser shows; again replaces them."""
        place = f"gs://{site.settings.bucket}/shown/here"
        for _ in range(2):
            assert site.run("--out", f"{place}/", "--as-of", str(DAY)) == Exit.DONE

        assert f"Open {place}/index.html" in capsys.readouterr().out
        names = site.artifacts.names("shown/here/")
        assert "shown/here/sql.html" in names
        with site.workplace.storage.client() as client:
            blob = client.bucket(site.settings.bucket).get_blob(names[0])
            assert blob.content_type.startswith("text/html")

    def test_says_what_a_dry_run_would_read_and_write(self, site, tmp_path, capsys):
        """And does neither."""
        folder = tmp_path / "site"
        assert site.run("--out", str(folder), "--dry-run") == Exit.DONE
        output = capsys.readouterr().out

        for source in SOURCES:
            assert source.file in output
        assert f"{folder}/index.html" in output
        assert "Nothing was read or written." in output
        assert not folder.exists()

    def test_answers_a_program(self, site, tmp_path, capsys):
        """Sizes, bytes billed by statement, and the page to open."""
        assert site.run("--out", str(tmp_path), "--json") == Exit.DONE
        answer = json.loads(capsys.readouterr().out)

        assert answer["first"] == str(tmp_path / "index.html")
        assert {*answer["statements"]} == {source.name for source in SOURCES}
        assert answer["pages"]["index.html"] == (tmp_path / "index.html").stat().st_size

    def test_knows_what_serves(self, site, tmp_path):
        """By the champion's pointer; what it cannot read it says."""
        registry = Registry(site.artifacts, "ga4_purchase")
        registry.promote(0, model_sha256="0" * 64, at=NOW, instead_of=None)
        assert site.run("--out", str(tmp_path), "--as-of", str(DAY)) == Exit.DONE

        page = (tmp_path / "use-case-ga4_purchase.html").read_text()
        assert "Version 0 serves" in page

    def test_names_no_champion_of_a_use_case_that_was_removed(self, site):
        """Its pointer is in the bucket still, and serves nobody."""
        registry = Registry(site.artifacts, "of_last_year")
        registry.promote(0, model_sha256="0" * 64, at=NOW, instead_of=None)

        facts = known(
            ["of_last_year", "ga4_purchase"], site.artifacts, settings=site.settings
        )

        removed = facts["of_last_year"]
        assert (removed.has_folder, removed.champion) == (False, None)
        assert facts["ga4_purchase"].has_folder

    @pytest.mark.parametrize("out", ["gs://", "gs:///x", "gs://-x/y", "FILE"])
    def test_refuses_a_place_before_it_reads(self, site, out, tmp_path, capsys):
        """A file is no folder, and a bucket has a name."""
        file = tmp_path / "a-file"
        file.write_text("mine")

        assert site.run("--out", out.replace("FILE", str(file))) == Exit.FAILED
        assert "propensity dashboard: " in capsys.readouterr().err
        assert file.read_text() == "mine"

    def test_needs_a_place(self, site):
        """Without --local there is no folder that is meant."""
        assert site.run() == Exit.UNKNOWN

    def test_of_a_folder_that_cannot_be_made_says_so(self, site, tmp_path):
        """As where a file is in the way."""
        (tmp_path / "file").write_text("")
        with entered(site.environment), pytest.raises(RequestError, match="written to"):
            run(str(tmp_path / "file" / "below"), clock=ManualClock(NOW))


class TestMissing:
    def test_tables_are_sentences(self, workplace, environment, tmp_path):
        """In a dataset without a table every page is written, and says so."""
        written = run(str(tmp_path), clock=ManualClock(NOW))

        assert {*written.missing} == {source.name for source in SOURCES}
        assert "Could not be read" in str(written)
        assert "What could not be read" in (tmp_path / "index.html").read_text()


def test_window_of_a_day_ends_with_it():
    """The stream's last moment is that day's, and its first a week of days before."""
    window = Window(as_of=date(2026, 3, 3), weeks=2, now=NOW)

    assert window.days == {"since": date(2026, 2, 17), "until": date(2026, 3, 3)}
    assert window.hours["since"] == datetime(2026, 2, 25, tzinfo=UTC)
    assert window.hours["until"] == NOW
