"""forget_user, specified: of a user nothing is left, of all others everything."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands.cli import main
from offline import forget_report, forget_user
from offline.forget_report import Request
from propensity import tables
from propensity.concurrency import DaemonThreads
from propensity.errors import RunInProgress, SettingsError
from propensity.gcp.warehouse import Warehouse
from propensity.learning.card import nameless
from propensity.privacy import consent, suppression
from propensity.registry.versions import Registry
from propensity.runs import compact
from propensity.tables import TABLES
from tests import shop
from tests.offline.forgotten import (
    GONE,
    KEPT,
    OTHER,
    USE_CASE,
    append,
    counts,
    fill,
    forget,
    parquet,
    row_of,
    shared,
    site,
    users_in,
)

pytestmark = pytest.mark.runs

# Fixtures.
__all__ = ["shared", "site"]


@pytest.mark.long
class TestTables:
    def test_are_all_that_can_have_a_user(self):
        """Every table with a user's id, an event's, or bytes as they came; and what
        has neither is known to have neither."""
        without = {table.name for table in TABLES} - {
            table.name for table in tables.holding_users()
        }

        assert without == {
            "ma_model_training_metadata",
            "ma_model_evaluation",
            "ma_audience_lift",
            "ma_drift",
            "ma_preprocessors",
            "ma_publications",
            "postcode_index",
            "suppressed_users",
        }

    def test_have_no_row_of_the_user_afterwards(self, site):
        """Two rows of each go, and those of a user whose id begins alike stay."""
        fill(site)
        report = forget(site)

        assert {place.name: place.before for place in report.places} == {
            table.name: 2 for table in tables.holding_users()
        }
        assert {place.after for place in report.places} == {0}
        assert report.left == 0
        assert counts(site) == dict.fromkeys(counts(site), 2)
        for table, told_by in tables.holding_users().items():
            if told_by == "user_id":
                [row] = site.rows(f"SELECT DISTINCT user_id FROM {table.name}")
                assert row["user_id"] == KEPT

    def test_are_looked_at_again_in_vain(self, site):
        """A second run finds nothing, and adds nothing to the list."""
        fill(site)
        forget(site)
        again = forget(site)

        assert {place.before for place in again.places} == {0}
        assert site.count("suppressed_users") == 1

    def test_stay_as_they_are_in_a_dry_run(self, site):
        """It counts, and writes nothing, not even the list."""
        fill(site)
        before = counts(site)
        report = forget(site, is_dry=True)

        assert {place.before for place in report.places} == {2}
        assert {place.after for place in report.places} == {None}
        assert counts(site) == before
        assert site.count("suppressed_users") == 0

    def test_lose_what_another_run_has_left(self, site):
        """Interrupted after some tables, the next run removes the rest."""
        fill(site)
        site.warehouse.execute(f"DELETE FROM truth_events WHERE event_id != '{KEPT}'")
        site.warehouse.execute(f"DELETE FROM inference_log WHERE user_id = '{GONE}'")
        report = forget(site)

        assert report.left == 0
        assert site.count("stream_events") == 2

    def test_keep_other_use_cases_where_one_is_named(self, site):
        """Rows of that use case go; the list has the user in it alone."""
        append(
            site,
            tables.STREAM_EVENTS,
            row_of(tables.STREAM_EVENTS, GONE),
            row_of(tables.STREAM_EVENTS, GONE, use_case=OTHER),
        )
        forget(site, use_case=USE_CASE)
        [row] = site.rows("SELECT use_case FROM stream_events")
        listed = suppression.read(site.warehouse)

        assert row["use_case"] == OTHER
        assert listed.covers(GONE, USE_CASE)
        assert not listed.covers(GONE, OTHER)

    def test_lose_truths_by_the_user_s_events(self, site):
        """A truth names no user: its event does, while it is there."""
        append(
            site,
            tables.INFERENCE_LOG,
            row_of(tables.INFERENCE_LOG, GONE, event_id="e7"),
            row_of(tables.INFERENCE_LOG, KEPT, event_id="e8"),
        )
        for event_id in ("e7", "e8", GONE):
            row = row_of(tables.TRUTH_EVENTS, GONE, event_id=event_id)
            append(site, tables.TRUTH_EVENTS, row)
        forget(site)
        [left] = site.rows("SELECT event_id FROM truth_events")

        assert left["event_id"] == "e8"

    @pytest.mark.parametrize(
        "raw",
        [
            b'{"user_id": "\\u0070layer-1"}',
            b'{"user_id": "player-1"',
            b'[{"who": "player-1"}]',
        ],
    )
    def test_lose_dead_letters_however_they_name_the_user(self, site, raw):
        """Escaped, cut or nested."""
        table = tables.DEAD_LETTERS
        append(site, table, row_of(table, GONE, raw=raw, attributes="{}"))
        forget(site)

        assert site.count("dead_letters") == 0

    def test_may_be_of_more_users_than_one_statement_takes(self, site, monkeypatch):
        """BigQuery takes 10 MB of parameters: users are named in several statements,
        and each row counts once all the same."""
        asked: list[int] = []
        run = Warehouse._start

        def start(self, sql, parameters, **named):
            listed = [v for v in (parameters or {}).values() if isinstance(v, list)]
            asked.extend(map(len, listed))
            return run(self, sql, parameters, **named)

        fill(site)
        users = (*(f"nobody-{n}" for n in range(3)), GONE, KEPT)
        at_once = forget(site, *users, is_dry=True)
        monkeypatch.setattr(Warehouse, "_start", start)
        monkeypatch.setattr(forget_report, "AT_ONCE", 2)
        report = forget(site, *users)

        assert max(asked) == 2
        assert {place.name: place.before for place in report.places} == {
            place.name: place.before for place in at_once.places
        }
        assert {place.after for place in report.places} == {0}
        assert set(counts(site).values()) == {0}


@pytest.mark.long
class TestBucket:
    EXPORT = "exports/stream_events/date=2026-03-01/run=a/part-000000000000.parquet"
    SCORES = "exports/inference_log/date=2026-03-01/run=a/part-000000000000.parquet"

    def test_has_files_without_the_user(self, site):
        """Exports are written again; a file of nobody else is deleted."""
        alone = self.SCORES.replace("run=a", "run=b")
        site.artifacts.create(self.EXPORT, parquet(GONE, KEPT, GONE))
        site.artifacts.create(self.SCORES, parquet(KEPT, GONE))
        site.artifacts.create(alone, parquet(GONE))
        report = forget(site)

        assert users_in(site.artifacts.read(self.EXPORT).data) == [KEPT]
        assert users_in(site.artifacts.read(self.SCORES).data) == [KEPT]
        assert site.artifacts.find(alone) is None
        found = {
            (place.what, place.name): (place.before, place.after)
            for place in report.places
        }
        assert found["objects", "exports/stream_events/"] == (1, 0)
        assert found["objects", "exports/inference_log/"] == (2, 0)

    def test_has_no_generation_with_the_user(self, site):
        """A bucket with versioning keeps what is overwritten and deleted: not this."""
        site.artifacts.create(self.EXPORT, parquet(GONE, KEPT))
        first = site.artifacts.read(self.EXPORT)
        site.artifacts.replace(
            self.EXPORT, parquet(KEPT, GONE), generation=first.generation
        )
        site.artifacts.create(self.SCORES, parquet(GONE))
        site.artifacts.delete(self.SCORES)
        assert len(site.artifacts.generations("exports/inference_log/")) == 1
        forget(site)

        left = [
            site.artifacts.read_generation(generation)
            for generation in site.artifacts.generations("exports/")
        ]
        assert [users_in(data) for data in left] == [[KEPT]]

    def test_keeps_files_of_others_as_they_are(self, site):
        """What has no row of the user keeps its bytes and its generation."""
        generation = site.artifacts.create(self.EXPORT, parquet(KEPT))
        forget(site)

        assert site.artifacts.read(self.EXPORT).generation == generation

    def test_keeps_rows_of_other_use_cases_where_one_is_named(self, site):
        """In files as in tables."""
        site.artifacts.create(self.EXPORT, parquet(GONE, use_case=OTHER))
        forget(site, use_case=USE_CASE)

        assert users_in(site.artifacts.read(self.EXPORT).data) == [GONE]

    def test_has_snapshots_of_numbers(self, site):
        """The rows of a training have no ids, and are left alone."""
        rows = pa.table({"user_id": [KEPT, GONE, KEPT], "n": [1, 2, 3]})
        name, file = "models/x/0/dataset/rows.parquet", io.BytesIO()
        pq.write_table(nameless(rows), file)
        generation = site.artifacts.create(name, file.getvalue())
        forget(site)

        assert site.artifacts.read(name).generation == generation


class TestCommand:
    def test_needs_a_key_or_the_word_that_it_goes_without(self, site):
        """Without the list they would come back: that is settled before all else."""
        fill(site)
        keyless = replace(site.settings, suppression_key="")
        with pytest.raises(SettingsError):
            forget_user.forget(keyless, Request(user_ids=(GONE,), is_quiet=True))
        assert counts(site) == dict.fromkeys(counts(site), 4)
        asked = Request(user_ids=(GONE,), is_suppressing=False, is_quiet=True)
        forget_user.forget(keyless, asked)

        assert counts(site) == dict.fromkeys(counts(site), 2)
        assert site.count("suppressed_users") == 0

    def test_waits_for_no_compaction(self, site):
        """One that is under way could write what it had read: run it again later."""
        with (
            compact.alone(
                Registry(site.artifacts, compact.SCOPE),
                run_id="another",
                began_at=datetime.now(UTC),
                minutes=5,
                clock=lambda: datetime.now(UTC),
                threads=DaemonThreads(),
            ),
            pytest.raises(RunInProgress),
        ):
            forget(site)

    def test_tells_what_it_did_and_names_nobody(self, site, capsys):
        """Text for a person, JSON for a program; status 0 where nothing is left."""
        fill(site)
        status = main(["forget", GONE, "--json"])
        told = json.loads(capsys.readouterr().out)
        again = main(["forget", GONE])
        text = capsys.readouterr().out

        assert (status, again) == (0, 0)
        assert told["left"] == 0
        assert {place["before"] for place in told["places"]} == {2}
        assert "A second search found nothing." in text
        assert GONE not in json.dumps(told) + text
        assert datetime.fromisoformat(told["run_again_at"]) > datetime.now(UTC)

    def test_takes_users_off_the_list(self, site, capsys):
        """Who comes back of their own will is taken in again."""
        main(["forget", GONE])
        assert suppression.read(site.warehouse).covers(GONE, USE_CASE)
        status = main(["forget", GONE, "--allow-again"])

        assert status == 0
        assert "1 entries" in capsys.readouterr().out
        assert not suppression.read(site.warehouse)

    def test_reads_users_from_standard_input(self, site, monkeypatch):
        """A line each, once; a blank line is none, nor is a byte order mark part."""
        fill(site)
        lines = io.BytesIO(f"\ufeff{GONE}\n\n{GONE}\r\n".encode())
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(lines, "latin-1"))
        assert main(["forget", "-"]) == 0
        assert not any(place.before for place in forget(site, is_dry=True).places)

    def test_takes_ids_as_the_export_has_them(self, site):
        """Longer than a lookup takes, with control characters, a blank alone."""
        odd = ["a" * 5000, "two\nlines", "nul\0", " ", "'; --"]
        rows = (row_of(tables.STREAM_EVENTS, user) for user in (*odd, KEPT))
        append(site, tables.STREAM_EVENTS, *rows)

        assert main(["forget", *odd]) == 0
        [row] = site.rows("SELECT DISTINCT user_id FROM stream_events")
        assert row["user_id"] == KEPT

    def test_says_how_the_export_is_cleared_by_its_owner(self, site):
        """Events of the export are counted; the statement has project and dataset."""
        place = site.workplace
        shop.load(place, [shop.event(GONE, date(2026, 3, 1)) for _ in range(3)])
        settings = replace(site.settings, ga4_dataset=place.ga4_dataset)
        export = f"{settings.project}.{settings.ga4_dataset}"
        text = consent.events_view(export, require="false")
        site.warehouse.replace_view(consent.VIEW, text)
        asked = Request(user_ids=(GONE,), is_quiet=True)
        report = forget_user.forget(settings, asked)

        assert report.ga4_events == 3
        assert f"{export}.INFORMATION_SCHEMA.TABLES" in report.ga4_statement
        assert GONE not in str(report)
