"""
The command, specified: what it reads, and where it writes.

Rows are those that the functions write, in the tables as they are set up.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from offline.dashboard import cases, reading
from offline.dashboard.reading import SQL, TITLES, Window
from offline.dashboard.run import run
from propensity import whole_files
from propensity.cli.answers import Exit
from propensity.learning.week_report import report_name
from propensity.registry.leases import leased
from propensity.registry.versions import Registry
from propensity.statements import statement
from tests.offline.dashboard.conftest import (
    CARDS,
    DAY,
    NOW,
    SOMEBODY,
    USE_CASE,
    WEEK,
    WINDOW,
    given,
    read,
    words,
)
from tests.support import own_use_cases
from tests.support.clocks import ManualClock
from tests.support.deployment import entered

SHOP = f"use-case-{USE_CASE}.html"
# The day before the newest week of the rows ended.
PAST = DAY - timedelta(days=1)


def weeks_of(rows: list[reading.Row]) -> list[date]:
    return [row["week"] for row in rows if row["use_case"] == USE_CASE]


class TestStatements:
    def test_statements_read_the_weeks_of_the_window_alone(self, deployment):
        """Newest first; a champion may be a year older than these."""
        longer = Window(as_of=DAY, weeks=50, until=DAY)

        assert weeks_of(given(deployment, "evaluations")) == [
            DAY - WEEK,
            DAY - 2 * WEEK,
        ]
        assert len(weeks_of(given(deployment, "evaluations", longer))) == 3
        assert {row["use_case"] for row in given(deployment, "versions")} == {
            CARDS,
            USE_CASE,
        }

    def test_statements_count_members_once(self, deployment):
        """A redelivery repeats its id; of a delivery the newest status counts, of a
        repeated publication the newest."""
        (score,) = [row for row in given(deployment, "drift") if row["kind"] == "score"]
        assert len(score["bins"]) == 1
        (chosen,) = given(deployment, "audiences")
        assert (chosen["members"], chosen["held_out"]) == (2, 1)
        (sent,) = given(deployment, "deliveries")
        assert (sent["accepted"], sent["rejected"], sent["pending"]) == (0, 1, 0)
        assert given(deployment, "dead_letters") == [
            {"reason": "bad_value", "messages": 1},
            {"reason": "malformed_json", "messages": 1},
        ]

    def test_statements_give_the_same_by_the_text_that_is_shown(self, deployment):
        """With its parameters as values. Where tables are is what the emulator is told
        beside it: it has no system variables."""
        for name in TITLES:
            text = reading.filled(
                statement(name, folder=SQL),
                WINDOW.parameters(name),
                deployment.warehouse,
            )
            _, dataset, *lines = text.splitlines()

            assert dataset == f"SET @@dataset_id = '{deployment.settings.dataset}';"
            rows = deployment.warehouse.table("\n".join(lines)).to_pylist()
            assert [reading.plain(row) for row in rows] == given(deployment, name), name

    def test_statements_have_nothing_of_after_a_past_day(self, deployment):
        """No week whose outcomes were not over, no lift of one, no publication."""
        window = Window(as_of=PAST, weeks=26, until=PAST)

        for name in ("evaluations", "lift"):
            assert weeks_of(given(deployment, name, window)) == [DAY - 2 * WEEK]
        assert given(deployment, "publications", window) == []


@pytest.fixture
def known(deployment, monkeypatch) -> None:
    """What is read is known: the test is about what is done with it."""
    readings = [*read(deployment).values()]
    monkeypatch.setattr("offline.dashboard.run.read", lambda *_, **__: readings)


class TestCommand:
    def test_the_dashboard_writes_a_folder(self, deployment, tmp_path, capsys):
        """Every page, and answers a program; again replaces what is there. No id of a
        user is in one: neither from a table of users, nor in words of a receiver."""
        registry = Registry(deployment.artifacts, USE_CASE)
        registry.promote(7, model_sha256="0" * 64, at=NOW, instead_of=None)
        folder = tmp_path / "new" / "site"
        command = ("dashboard", "--out", str(folder), "--as-of", str(DAY))
        for how in ((), ("--json",)):
            assert deployment.command(*command, *how) == Exit.DONE
        output, _, answer = capsys.readouterr().out.partition("{")

        names = {file.name for file in folder.iterdir()}
        assert "Model version 7 is live" in words((folder / SHOP).read_text())
        assert str(folder / "index.html") in output
        assert json.loads("{" + answer)["pages"].keys() == names
        for file in folder.iterdir():
            assert SOMEBODY not in file.read_text(), file.name

    def test_a_damaged_pointer_or_a_wrong_folder_hides_no_other_use_case(
        self, deployment, known, tmp_path, capsys
    ):
        deployment.artifacts.create(f"models/{CARDS}/champion.json", b"[]")
        words = ("dashboard", "--out", str(tmp_path / "out"), "--as-of", str(DAY))
        with own_use_cases.in_folder(tmp_path / "own") as folder:
            own_use_cases.write_broken(folder)
            assert deployment.command(*words, "--json") == Exit.DONE
        deployment.artifacts.delete(f"models/{CARDS}/champion.json")

        [wrong] = json.loads(capsys.readouterr().out)["wrong"]
        assert wrong.startswith("broken/usecase.toml")
        assert (tmp_path / "out" / SHOP).is_file()
        page = (tmp_path / "out" / f"use-case-{CARDS}.html").read_text()
        assert "champion.json" in page

    def test_the_dashboard_writes_a_bucket(self, deployment, known, capsys):
        """Under a prefix, as pages that a browser shows."""
        address = f"gs://{deployment.settings.bucket}/shown/here"
        words = ("dashboard", "--out", f"{address}/", "--as-of", str(DAY))
        assert deployment.command(*words) == Exit.DONE

        assert f"{address}/index.html" in capsys.readouterr().out
        names = deployment.artifacts.names("shown/here/")
        assert "shown/here/sql.html" in names
        blob = deployment.bucket.get_blob(names[0])
        assert blob.content_type.startswith("text/html")

    def test_the_dashboard_copies_reports_of_weeks_without_scripts(
        self, deployment, known, tmp_path
    ):
        """Under a policy of their own, before anything that a report says."""
        week = DAY - WEEK
        name = report_name("ga4_purchase", week)
        deployment.artifacts.overwrite(name, b"<p>a week", content_type="text/html")
        assert (
            deployment.command("dashboard", "--out", str(tmp_path), "--as-of", str(DAY))
            == Exit.DONE
        )

        (copy,) = tmp_path.glob("report-*.html")
        assert copy.read_text() == f"{cases.FIRST}<p>a week"
        assert f'href="{copy.name}"' in (tmp_path / SHOP).read_text()

    def test_the_dashboard_is_of_the_day_that_was_played(self, deployment, tmp_path):
        """Which may be of another year; dead letters are those of today."""
        played = DAY - 52 * WEEK
        name = deployment.settings.use_case
        with leased(deployment.artifacts, name, "predict", played, clock=lambda: NOW):
            pass
        with entered(deployment.environment):
            run(str(tmp_path), weeks=26, is_local=True, clock=ManualClock(NOW))

        page = words((tmp_path / "index.html").read_text())
        assert f"26 weeks up to {played:%-d %b %Y}" in page
        assert f"In the 7 days up to {DAY:%-d %b %Y}: bad_value" in page

    @pytest.mark.parametrize("out", ["gs://", "gs:///x", "gs://-x/y", "FILE"])
    def test_the_dashboard_refuses_a_place_before_it_reads(
        self, deployment, out, tmp_path, capsys
    ):
        """A file is no folder, and a bucket has a name."""
        file = tmp_path / "a-file"
        file.write_text("mine")

        assert (
            deployment.command("dashboard", "--out", out.replace("FILE", str(file)))
            == Exit.FAILED
        )
        assert "propensity dashboard: " in capsys.readouterr().err


def test_missing_tables_are_sentences(module_deployment, tmp_path):
    """In a dataset without a table every page is written, and says so."""
    with entered(module_deployment.environment):
        written = run(str(tmp_path), weeks=26, clock=ManualClock(NOW))

    assert {*written["missing"]} == {*TITLES}
    assert "What could not be read" in (tmp_path / "index.html").read_text()


def test_a_file_on_a_full_disk_stays_what_it_was(tmp_path, monkeypatch):
    """Defect: each run left what it had of a page, under a name of its own."""
    file = tmp_path / "new" / "index.html"
    whole_files.write_whole(file, b"old")
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        write(path, content[:1])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        whole_files.write_whole(file, b"new")

    assert list(file.parent.iterdir()) == [file]
    assert file.read_bytes() == b"old"
