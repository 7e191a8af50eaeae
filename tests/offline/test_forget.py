"""Forgetting, specified: of a user nothing is left, of all others everything."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.cloud.storage import Blob

from commands.answers import Exit
from commands.cli import main
from offline import forget as program
from offline.forget import users_of
from propensity import suppression
from propensity.clock import SYSTEM
from propensity.errors import RunInProgress, SettingsError
from propensity.ga4.view import events_view
from propensity.gcp.warehouse import Warehouse
from propensity.gcp.writes import Appends
from propensity.learning.card import nameless
from propensity.registry import index, suppressed
from propensity.registry.leases import leased
from propensity.runs import compact
from propensity.schema import Table
from propensity.tables import every as tables
from propensity.usecases.declaration import VIEW
from tests import shop
from tests.deployment import KEY, Deployment, entered
from tests.functions.streaming import new_deployment

GONE, KEPT = "player-1", "player-11"
OTHER = "ga4_purchase"
EXPORT = "exports/stream_events/date=2026-03-01/run=a/part-000000000000.parquet"
SCORES = "exports/inference_log/date=2026-03-01/run=a/part-000000000000.parquet"
USE_CASE = "first_day_churn"
NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)


def row_of(table: Table, user: str, **values: Any) -> dict[str, Any]:
    """A row about a user: what must be there, and what a test says."""
    kinds = {"INT64": 1, "FLOAT64": 0.5, "BOOL": True, "DATE": NOW.date()}
    row = {
        column.name: {**kinds, "TIMESTAMP": NOW, "STRING": column.name}[column.type]
        for column in table.columns
        if column.required or column.name == "user_id"
    }
    own = {
        "user_id": user,
        "event_id": f"event of {user}",
        "message_id": f"message of {user}",
        "use_case": USE_CASE,
    }
    return {**row, **{name: of for name, of in own.items() if name in row}, **values}


def parquet_of(rows: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(rows, file)
    return file.getvalue()


def parquet(*users: str, use_case: str = USE_CASE) -> bytes:
    """A file with a row for each user."""
    table = tables.STREAM_EVENTS
    rows = [row_of(table, user, use_case=use_case) for user in users]
    return parquet_of(pa.Table.from_pylist(rows, schema=table.arrow_schema()))


def users_in(data: bytes) -> list[str]:
    return pq.read_table(io.BytesIO(data))["user_id"].to_pylist()


def append(site: Deployment, table: Table, *rows: dict[str, Any]) -> None:
    """Store rows, as the stream does."""
    given = pa.RecordBatch.from_pylist(list(rows), schema=table.arrow_schema())
    asyncio.run(Appends(site.settings).append(table, given))


def fill(site: Deployment, *users: str, times: int = 2) -> None:
    """Put rows of users, else two of both, into every table that has users."""
    for table, source in tables.holding_users().items():
        rows = []
        for user in users or (GONE, KEPT):
            values = {}
            if source == "raw":
                raw = json.dumps({"user_id": user, "event_type": "unheard"})
                values = {"raw": raw.encode(), "attributes": json.dumps({"from": user})}
            rows += times * [row_of(table, user, **values)]
        append(site, table, *rows)


def counts(site: Deployment) -> dict[str, int]:
    """Rows of every table that has users."""
    each = (
        f"(SELECT '{table.stored}' AS name, COUNT(*) AS n FROM {table.stored})"
        for table in tables.holding_users()
    )
    return {row["name"]: row["n"] for row in site.rows(" UNION ALL ".join(each))}


def forget(site: Deployment, *users: str, **how: Any) -> dict[str, Any]:
    return program.run(site.settings, users or (GONE,), **how)


def before(report: dict[str, Any]) -> dict[str, int]:
    return {place["where"]: place["before"] for place in report["places"]}


@pytest.fixture(scope="module")
def shared(emulators) -> Iterator[Deployment]:
    """All tables, and a bucket that keeps what is overwritten."""
    extra = {"PROPENSITY_SUPPRESSION_KEY": KEY}
    with new_deployment(emulators, **extra) as made:
        yield made


@pytest.fixture
def site(shared, monkeypatch) -> Deployment:
    """The same without a row or an object, and its settings in the environment."""
    shared.empty()
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    return shared


# As the export has ids: longer than a lookup takes, with control characters.
ODD = ["a" * 5000, "two\nlines", "nul\0", " ", "'; --"]
SNAPSHOT = "models/x/0/dataset/rows.parquet"
ALONE, OTHERS = (SCORES.replace("run=a", f"run={run}") for run in "bc")
GENERATIONS, DELETED = (
    EXPORT.replace("run=a", f"run={run}") for run in ("generations", "deleted")
)


def of_all_types() -> dict[str, pa.Table]:
    """Files with an id in the first row: data frames write ids as large strings or as
    categories; and a number may be an id, outside of training sets."""
    files = []
    for kind in (
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.binary_view(),
        pa.dictionary(pa.int8(), pa.string()),
    ):
        ids = pa.array([GONE, KEPT, None]).cast(kind)
        files.append(pa.table({"user_id": ids, "n": [1, 2, 3]}))
    for kind in (pa.string(), pa.binary()):
        ids = [pa.array([GONE, KEPT, None]).cast(kind), pa.array([1, 2, 3])]
        user = pa.StructArray.from_arrays(ids, ["user_id", "age"])
        lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3]), user)
        for column in ({"user": user}, {"users": lists}, {"user_id": lists}):
            files.append(pa.table({**column, "n": [1, 2, 3]}))
    for kind in (pa.int64(), pa.float64()):
        files.append(pa.table({"user_id": pa.array([7, 8, 9], kind)}))
    return {EXPORT.replace("run=a", f"run={n}"): rows for n, rows in enumerate(files)}


@pytest.fixture(scope="module")
def forgotten(emulators) -> Iterator[tuple[Deployment, dict[str, Any], dict[str, int]]]:
    """A deployment with users in many forms, after they were forgotten: with the
    report, and generations of objects before."""
    log, truths, letters = (
        tables.INFERENCE_LOG,
        tables.TRUTH_EVENTS,
        tables.DEAD_LETTERS,
    )
    users = users_of([GONE, "7", *ODD], None)
    with new_deployment(emulators, PROPENSITY_SUPPRESSION_KEY=KEY) as made:
        append(made, log, row_of(log, GONE, event_id="e7"))
        append(made, log, row_of(log, KEPT, event_id="e8"))
        for event_id in ("e7", "e8", GONE):
            append(made, truths, row_of(truths, GONE, event_id=event_id))
        for raw in (b'{"user_id": "player-1"', b'[{"who": "player-1"}]'):
            append(made, letters, row_of(letters, GONE, raw=raw, attributes="{}"))
        rows = (row_of(tables.STREAM_EVENTS, user) for user in (*ODD, KEPT))
        append(made, tables.STREAM_EVENTS, *rows)
        create = made.artifacts.create
        create(EXPORT, parquet(GONE, KEPT, GONE))
        create(SCORES, parquet(KEPT, GONE))
        create(ALONE, parquet(GONE, GONE))
        create(GENERATIONS, parquet(GONE, KEPT))
        made.artifacts.overwrite(GENERATIONS, parquet(KEPT, GONE))
        create(DELETED, parquet(GONE))
        made.artifacts.delete(DELETED)
        assert len(made.artifacts.generations(DELETED)) == 1
        for name, rows in of_all_types().items():
            create(name, parquet_of(rows))
        numbers = pa.table({"user_id": [KEPT, GONE, KEPT], "n": [1, 2, 3]})
        generations = {
            OTHERS: create(OTHERS, parquet(KEPT)),
            SNAPSHOT: create(SNAPSHOT, parquet_of(nameless(numbers))),
        }
        with entered(made.environment):
            report = forget(made, *users)
        yield made, report, generations


class TestForms:
    """Whatever has the user: all is removed by one run."""

    def test_truths_are_removed_by_the_user_s_events(self, forgotten):
        """A truth names no user: its event does, while it is there."""
        [left] = forgotten[0].rows("SELECT event_id FROM truth_events")

        assert left["event_id"] == "e8"

    def test_dead_letters_are_removed_however_they_name_the_user(self, forgotten):
        """Cut or nested."""
        assert forgotten[0].count("dead_letters") == 0

    def test_ids_are_removed_as_the_export_has_them(self, forgotten):
        [row] = forgotten[0].rows("SELECT DISTINCT user_id FROM stream_events")

        assert row["user_id"] == KEPT

    def test_the_bucket_has_files_without_the_user(self, forgotten):
        """Exports are written again; a file of nobody else is deleted; one without
        the user keeps its bytes and its generation, as have rows of a training, whose
        numbers are no ids."""
        site, report, generations = forgotten
        read = {name: site.artifacts.find(name) for name in (EXPORT, SCORES, ALONE)}

        assert users_in(read[EXPORT].data) == users_in(read[SCORES].data) == [KEPT]
        assert read[ALONE] is None
        for name, generation in generations.items():
            assert site.artifacts.read(name).generation == generation
        counted = [
            (place["what"], place["before"])
            for place in report["places"]
            if place["where"] == "exports/inference_log"
        ]
        assert counted == [("objects", 2)]
        assert report["left"] == 0

    def test_the_bucket_has_no_generation_with_the_user(self, forgotten):
        """A bucket with versioning keeps what is overwritten and deleted: not this."""
        site = forgotten[0]
        every = site.artifacts.generations("exports/")
        [left] = [one for one in every if one.name == GENERATIONS]

        stored = site.artifacts.find(left.name, generation=left.generation)
        assert users_in(stored.data) == [KEPT]
        assert not {ALONE, DELETED} & {one.name for one in every}

    def test_a_file_loses_the_user_whatever_the_type_and_depth_of_its_ids(
        self, forgotten
    ):
        for name, rows in of_all_types().items():
            data = forgotten[0].read(name)
            left = pq.read_table(io.BytesIO(data)).to_pylist()
            assert left == rows.to_pylist()[1:], rows.schema


class TestTables:
    def test_tables_have_no_row_of_the_user_afterwards(self, site):
        """Two rows of each go, and those of a user whose id begins alike stay. A
        second run finds nothing, and adds nothing to the list; a dry run counts, and
        writes nothing."""
        fill(site)
        tried = forget(site, is_dry=True)
        assert {*counts(site).values()} == {4}
        assert site.count("suppressed_users") == 0
        report = forget(site)

        holders = tables.holding_users()
        assert before(report) == before(tried) == {one.stored: 2 for one in holders}
        assert {place["after"] for place in report["places"]} == {0}
        assert report["left"] == 0
        assert {*counts(site).values()} == {2}
        each = (
            f"(SELECT DISTINCT user_id FROM {table.stored})"
            for table, source in holders.items()
            if source == "user_id"
        )
        rows = site.rows(" UNION ALL ".join(each))
        assert {row["user_id"] for row in rows} == {KEPT}
        assert {*before(forget(site)).values()} == {0}
        assert site.count("suppressed_users") == 1

    def test_tables_lose_what_another_run_has_left(self, site):
        """Interrupted after some tables, the next run removes the rest."""
        fill(site)
        site.warehouse.execute(f"DELETE FROM truth_events WHERE event_id != '{KEPT}'")
        site.warehouse.execute(f"DELETE FROM inference_log WHERE user_id = '{GONE}'")

        assert forget(site)["left"] == 0
        assert site.count("stream_events") == 2

    def test_tables_keep_other_use_cases_where_one_is_named(self, site):
        """Rows of that use case go; the list has the user in it alone."""
        table = tables.STREAM_EVENTS
        append(site, table, row_of(table, GONE), row_of(table, GONE, use_case=OTHER))
        forget(site, use_case=USE_CASE)
        [row] = site.rows("SELECT use_case FROM stream_events")
        listed = suppression.read(site.warehouse)

        assert row["use_case"] == OTHER
        assert listed.covers(GONE, USE_CASE)
        assert not listed.covers(GONE, OTHER)

    def test_a_truth_that_arrives_while_its_event_is_removed_is_removed_as_well(
        self, site, monkeypatch
    ):
        """Afterwards nothing says any more whose it is."""
        log, truths = tables.INFERENCE_LOG, tables.TRUTH_EVENTS
        append(site, log, row_of(log, GONE, event_id="e7"))
        execute = Warehouse.execute

        def late(warehouse, sql, parameters=None):
            done = execute(warehouse, sql, parameters)
            if "inference_log" in sql and done:
                append(site, truths, row_of(truths, GONE, event_id="e7"))
            return done

        monkeypatch.setattr(Warehouse, "execute", late)
        report = forget(site)

        assert site.count("truth_events") == report["left"] == 0

    def test_tables_may_be_of_more_users_than_one_statement_takes(
        self, site, monkeypatch
    ):
        """BigQuery takes 10 MB of parameters; each row counts once all the same."""
        fill(site)
        monkeypatch.setattr(program, "AT_ONCE", 2)
        report = forget(site, "nobody", GONE, KEPT)

        assert {*before(report).values()} == {4}
        assert report["left"] == 0
        assert {*counts(site).values()} == {0}


class TestBucket:
    def test_the_ids_alone_are_read_of_a_large_file_without_the_user(
        self, site, monkeypatch
    ):
        """And once by both searches: reading what is kept for years is billed."""
        large = np.random.default_rng(1).integers(0, 1 << 60, (40, 20_000))
        rows = {f"x{n}": column for n, column in enumerate(large)}
        file = parquet_of(pa.table({"user_id": [KEPT] * 20_000, **rows}))
        site.artifacts.create(EXPORT, file)
        read = Counter[str]()
        download = Blob.download_as_bytes

        def counted(blob, **how):
            data = download(blob, **how)
            read[blob.name] += len(data)
            return data

        monkeypatch.setattr(Blob, "download_as_bytes", counted)
        assert forget(site)["left"] == 0
        assert read[EXPORT] < len(file) / 5

    def test_rows_of_no_use_case_stay_where_one_use_case_forgets(self, site):
        rows = pa.table(
            {
                "user_id": [GONE, "bob", GONE, "cyd"],
                "use_case": [USE_CASE, None, None, "other"],
            }
        )
        site.artifacts.create(EXPORT, parquet_of(rows))
        forget(site, use_case=USE_CASE)

        assert users_in(site.artifacts.read(EXPORT).data) == ["bob", GONE, "cyd"]

    def test_files_that_are_no_parquet_are_named_and_end_no_search(self, site, capsys):
        """Defect: a traceback, with the indexes and the second search still to come, at
        each further try."""
        fill(site)
        broken = {EXPORT.replace("run=a", f"run={run}") for run in "bcd"}
        for name, data in zip(broken, (b"", b"PAR1", parquet(GONE)[:-40]), strict=True):
            site.artifacts.create(name, data)
        site.artifacts.create(EXPORT, parquet(GONE, KEPT))
        status = main(["forget", GONE, "--json"])
        report = json.loads(capsys.readouterr().out)

        assert {*counts(site).values()} == {2}
        assert users_in(site.artifacts.read(EXPORT).data) == [KEPT]
        assert status == Exit.LEFT_OVER
        assert (report["left"], {*report["unreadable"]}) == (3, broken)

        for name in broken:
            [kept] = site.artifacts.generations(name)
            site.artifacts.delete(name, generation=kept.generation)
        assert main(["forget", GONE]) == Exit.DONE


def test_after_forgetting_nothing_has_the_users_in_any_form(site):
    """Tables, Parquet, JSON and SQLite, older generations too."""
    users = ("gone.1", "Ana é/1", 'quoted "id" \\u00e9')
    fill(site, KEPT, *users, times=1)
    for name in (EXPORT, SCORES):
        site.artifacts.create(name, parquet(*users, KEPT))
        site.artifacts.overwrite(name, parquet(KEPT, *users, *users))
    index.publish(site.warehouse, site.artifacts, USE_CASE, days=60)
    for user in users:
        before = site.traces(user)
        assert {"ma_predictions_table", "dead_letters", EXPORT, SCORES} <= before
        assert any(name.startswith("indexes/") for name in before)

    report = forget(site, *users)

    assert report["left"] == 0
    assert site.traces(*users) == set()
    assert site.traces(KEPT) >= {"ma_predictions_table", EXPORT, SCORES}


class TestCommand:
    def test_forgetting_needs_a_key_or_the_word_that_it_goes_without(self, site):
        """Without the list they would come back: that is settled before all else."""
        fill(site)
        keyless = replace(site.settings, suppression_key="")
        with pytest.raises(SettingsError):
            program.run(keyless, [GONE])
        assert {*counts(site).values()} == {4}
        program.run(keyless, [GONE], is_suppressing=False)

        assert {*counts(site).values()} == {2}
        assert site.count("suppressed_users") == 0

    def test_forgetting_takes_the_key_of_the_functions_alone(self, site):
        """Under another key an empty list would get a user whom no function knows, and
        all would stop."""
        suppressed.publish(site.warehouse, site.artifacts)
        fill(site)
        with pytest.raises(SettingsError):
            program.run(replace(site.settings, suppression_key="x" * 32), [GONE])

        assert site.count("suppressed_users") == 0
        assert {*counts(site).values()} == {4}

    def test_forgetting_waits_for_no_compaction(self, site):
        """One that is under way could write what it had read: run it again later."""
        with (
            leased(site.artifacts, compact.SCOPE, compact.KIND, clock=SYSTEM.now),
            pytest.raises(RunInProgress),
        ):
            forget(site)

    def test_forgetting_names_nobody_and_takes_users_off_the_list_again(
        self, site, capsys
    ):
        """Who comes back of their own will is taken in again."""
        fill(site)
        assert main(["forget", GONE, "--json"]) == Exit.DONE
        text = capsys.readouterr().out
        assert GONE not in text
        again = json.loads(text)["run_again_at"]
        assert datetime.fromisoformat(again) > datetime.now(UTC)
        assert suppression.read(site.warehouse).covers(GONE, USE_CASE)

        assert main(["forget", GONE, "--allow-again", "--json"]) == Exit.DONE
        assert json.loads(capsys.readouterr().out)["entries_removed"] == 1
        assert not suppression.read(site.warehouse)

    def test_forgetting_says_how_the_export_is_cleared_by_its_owner(self, site):
        """Events of the export are counted; the statement has project and dataset."""
        place = site.workplace
        shop.load(place, [shop.event(GONE, date(2026, 3, 1)) for _ in range(3)])
        settings = replace(site.settings, ga4_dataset=place.ga4_dataset)
        export = f"{settings.project}.{settings.ga4_dataset}"
        text = events_view(export, require="false")
        site.warehouse.replace_view(VIEW, text)
        report = program.run(settings, [GONE])

        assert report["ga4_events"] == 3
        assert f"{export}.INFORMATION_SCHEMA.TABLES" in report["ga4_statement"]
        assert GONE not in str(report)
