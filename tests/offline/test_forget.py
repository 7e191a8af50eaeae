"""Forgetting, specified: of a user nothing is left, of all others everything."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from google.cloud.storage import Blob

from commands.answers import Exit
from commands.cli import main
from local.exports import ga4_export
from offline import forget as program
from propensity import suppression, usecases
from propensity.clock import SYSTEM
from propensity.errors import RequestError, RunInProgress, SettingsError
from propensity.ga4 import events_view
from propensity.gcp.warehouse import Warehouse
from propensity.registry import index, suppressed_list
from propensity.registry.leases import leased
from propensity.registry.versions import parquet_of
from propensity.runs import compact, digest, setup
from propensity.tables import every as tables
from propensity.tables.export import CONVERSIONS, USER_DAYS, VIEW
from propensity.tables.stream import INFERENCE_LOG, STREAM_EVENTS, TRUTH_EVENTS
from tests.functions.streaming import new_versioned_site
from tests.offline.forgetting import (
    EXPORT,
    GONE,
    KEPT,
    OTHER,
    SCORES,
    USE_CASE,
    before,
    forget,
    parquet,
    row_of,
    users_in,
)
from tests.support import own_use_cases, shop
from tests.support.deployment import KEY, Deployment
from tests.support.in_process import InProcess
from tests.support.rows import append_rows


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
        site.append(table, *rows)


def counts(site: Deployment) -> dict[str, int]:
    """Rows of every table that has users."""
    each = (
        f"(SELECT '{table.stored}' AS name, COUNT(*) AS n FROM {table.stored})"
        for table in tables.holding_users()
    )
    return {row["name"]: row["n"] for row in site.rows(" UNION ALL ".join(each))}


@pytest.fixture(scope="module")
def shared(emulators) -> Iterator[Deployment]:
    """All tables, and a bucket that keeps what is overwritten."""
    extra = {"PROPENSITY_SUPPRESSION_KEY": KEY}
    with new_versioned_site(emulators, **extra) as made:
        yield made


@pytest.fixture
def site(shared, monkeypatch) -> Deployment:
    """The same without a row or an object, and its settings in the environment."""
    shared.empty()
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    return shared


@pytest.fixture(scope="module")
def in_process() -> Deployment:
    return InProcess(PROPENSITY_SUPPRESSION_KEY=KEY)


@pytest.fixture
def tables_alone(in_process) -> Iterator[Deployment]:
    """Tables in this process, without an export and earlier generations of objects."""
    in_process.empty()
    with in_process.installed():
        yield in_process


class TestTables:
    def test_tables_have_no_row_of_the_user_afterwards(self, tables_alone):
        """Two rows of each go, and those of a user whose id begins alike stay. A
        second run finds nothing, and adds nothing to the list; a dry run counts, and
        writes nothing."""
        fill(tables_alone)
        tried = forget(tables_alone, is_dry=True)
        assert {*counts(tables_alone).values()} == {4}
        assert tables_alone.count("suppressed_users") == 0
        report = forget(tables_alone)

        holders = tables.holding_users()
        assert before(report) == before(tried) == {one.stored: 2 for one in holders}
        assert {place["after"] for place in report["places"]} == {0}
        assert report["left"] == 0
        assert {*counts(tables_alone).values()} == {2}
        each = (
            f"(SELECT DISTINCT user_id FROM {table.stored})"
            for table, source in holders.items()
            if source == "user_id"
        )
        rows = tables_alone.rows(" UNION ALL ".join(each))
        assert {row["user_id"] for row in rows} == {KEPT}
        assert {*before(forget(tables_alone)).values()} == {0}
        assert tables_alone.count("suppressed_users") == 1

    def test_the_digest_of_the_export_is_searched_for_browsers_and_user_ids(
        self, tables_alone
    ):
        """Before a login a browser has events without a user id."""
        table = USER_DAYS
        known = row_of(table, GONE, user_pseudo_id="a browser")
        unknown = row_of(table, "", user_id=None, user_pseudo_id=GONE)
        other = row_of(table, KEPT, user_pseudo_id="another browser")
        tables_alone.append(table, known, unknown, other)

        report = forget(tables_alone, use_case="ga4_purchase")
        assert tables_alone.count("ga_user_days") == 3
        assert report["left"] == 0
        assert "is not searched: other use cases read it" in " ".join(report["notes"])
        forget(tables_alone)

        [row] = tables_alone.rows("SELECT user_id FROM ga_user_days")
        assert row["user_id"] == KEPT

    def test_nobody_is_forgotten_while_a_run_digests(self, tables_alone):
        """It may have read the user before: the command says so, and is run again."""
        with (
            leased(tables_alone.artifacts, digest.SCOPE, digest.KIND, clock=SYSTEM.now),
            pytest.raises(RunInProgress, match="digest of ga4_export"),
        ):
            forget(tables_alone)

        assert forget(tables_alone)["left"] == 0

    def test_a_user_of_another_property_is_forgotten_there_alone(self, site, uk):
        """Where its use case is named: an id may be another person's elsewhere. Where
        none is named, both are."""
        for warehouse in (site.warehouse, uk):
            append_rows(warehouse, USER_DAYS, [row_of(USER_DAYS, GONE)])
        named = f"ga_user_days{uk.settings.export_suffix}"
        report = program.run(site.settings, [GONE], use_case="shop_uk")

        places = {place["where"]: place["before"] for place in report["places"]}
        assert places[named] == 1
        assert "ga_user_days" not in places
        assert report["ga4_events"] == 2
        assert uk.settings.export in report["ga4_statement"]
        assert f"ga_digested_days{uk.settings.export_suffix} AS d" in str(report)
        assert site.count(named) == 0
        assert site.count("ga_user_days") == 1
        forget(site)
        assert site.count("ga_user_days") == 0

    def test_a_person_of_another_property_has_the_browsers_of_that_one(self, site, uk):
        loaded = {"shop_uk": usecases.load("shop_uk")}

        assert program.browsers_of(site.warehouse, [GONE], loaded) == ["british"]

    @pytest.fixture
    def uk(self, site, tmp_path) -> Iterator[Warehouse]:
        """Another property, in whose export the user has a browser; a use case is of
        it."""
        name = f"{site.ga4_dataset}_uk"
        site.warehouse.create_dataset(name)
        day = date(2026, 3, 1)
        rows = [shop.event("british", day, user_id=GONE) for _ in range(2)]
        ga4_export.load_tables(site.warehouse.client, name, shop.shards(rows))
        with own_use_cases.in_folder(tmp_path / "own") as folder:
            own_use_cases.write_instance(
                folder, "shop_uk", ga4_dataset=name, user_column="person"
            )
            settings = usecases.load("shop_uk").settings(site.settings)
            warehouse = site.warehouse.for_run(settings)
            setup.prepare_export(warehouse, settings)
            yield warehouse

    def test_tables_keep_other_use_cases_where_one_is_named(self, tables_alone):
        """Rows of that use case go; the list has the user in it alone."""
        table = STREAM_EVENTS
        tables_alone.append(
            table, row_of(table, GONE), row_of(table, GONE, use_case=OTHER)
        )
        forget(tables_alone, use_case=USE_CASE)
        [row] = tables_alone.rows("SELECT use_case FROM stream_events")
        listed = suppression.read(tables_alone.warehouse)

        assert row["use_case"] == OTHER
        assert listed.covers(GONE, USE_CASE)
        assert not listed.covers(GONE, OTHER)

    def test_a_truth_that_arrives_meanwhile_is_removed(self, tables_alone, monkeypatch):
        """Afterwards nothing says any more whose it is."""
        log = INFERENCE_LOG
        truths = TRUTH_EVENTS
        tables_alone.append(log, row_of(log, GONE, event_id="e7"))
        execute = Warehouse.execute

        def late(warehouse, sql, parameters=None):
            done = execute(warehouse, sql, parameters)
            if "inference_log" in sql and done:
                tables_alone.append(truths, row_of(truths, GONE, event_id="e7"))
            return done

        monkeypatch.setattr(Warehouse, "execute", late)
        report = forget(tables_alone)

        assert tables_alone.count("truth_events") == report["left"] == 0

    def test_tables_may_be_of_more_users_than_one_statement_takes(
        self, tables_alone, monkeypatch
    ):
        """BigQuery takes 10 MB of parameters; each row counts once all the same."""
        fill(tables_alone)
        monkeypatch.setattr(program, "AT_ONCE", 2)
        report = forget(tables_alone, "nobody", GONE, KEPT)

        assert {*before(report).values()} == {4}
        assert report["left"] == 0
        assert {*counts(tables_alone).values()} == {0}


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

    def test_a_damaged_file_ends_no_search(self, site, capsys):
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
    def test_forgetting_needs_a_key_or_the_word_that_it_goes_without(
        self, tables_alone
    ):
        """Without the list they would come back: that is settled before all else."""
        fill(tables_alone)
        keyless = replace(tables_alone.settings, suppression_key="")
        with pytest.raises(SettingsError):
            program.run(keyless, [GONE])
        assert {*counts(tables_alone).values()} == {4}
        program.run(keyless, [GONE], is_suppressing=False)

        assert {*counts(tables_alone).values()} == {2}
        assert tables_alone.count("suppressed_users") == 0

    def test_forgetting_takes_the_key_of_the_functions_alone(self, tables_alone):
        """Under another key an empty list would get a user whom no function knows, and
        all would stop."""
        suppressed_list.publish(tables_alone.warehouse, tables_alone.artifacts)
        fill(tables_alone)
        with pytest.raises(SettingsError):
            program.run(
                replace(tables_alone.settings, suppression_key="x" * 32), [GONE]
            )

        assert tables_alone.count("suppressed_users") == 0
        assert {*counts(tables_alone).values()} == {4}

    def test_forgetting_waits_for_no_compaction(self, tables_alone):
        """One that is under way could write what it had read: run it again later."""
        with (
            leased(
                tables_alone.artifacts, compact.SCOPE, compact.KIND, clock=SYSTEM.now
            ),
            pytest.raises(RunInProgress),
        ):
            forget(tables_alone)

    def test_forgetting_names_nobody(self, tables_alone, capsys):
        """The answer says when to forget once more."""
        fill(tables_alone)
        assert main(["forget", GONE, "--json"]) == Exit.DONE
        text = capsys.readouterr().out
        again = json.loads(text)["run_again_at"]

        assert GONE not in text
        assert datetime.fromisoformat(again) > datetime.now(UTC)

    def test_a_user_is_taken_off_the_list_again(self, tables_alone, capsys):
        """Who comes back of their own will is taken in again. Lookups, which read the
        list in the bucket, know of both."""

        def lists() -> list[suppression.Suppressed]:
            of_lookups = suppressed_list.read(
                tables_alone.artifacts, tables_alone.settings, table=pytest.fail
            )
            return [suppression.read(tables_alone.warehouse), of_lookups]

        fill(tables_alone)
        assert main(["forget", GONE]) == Exit.DONE
        capsys.readouterr()
        assert all(one.covers(GONE, USE_CASE) for one in lists())

        assert main(["forget", GONE, "--allow-again", "--json"]) == Exit.DONE
        assert json.loads(capsys.readouterr().out)["entries_removed"] == 1
        assert not any(lists())

    def test_forgetting_needs_no_folder_of_a_use_case_to_be_right(
        self, tables_alone, tmp_path
    ):
        """
        Defect: with one wrong folder nobody was forgotten, nor suppressed.

        It is named, because its own tables and audiences are not known.
        """
        fill(tables_alone)
        with own_use_cases.in_folder(tmp_path / "own") as folder:
            (folder / "broken").mkdir()
            (folder / "broken" / "usecase.toml").write_text('title = "x"')
            report = forget(tables_alone)
            suppressed = suppression.read(tables_alone.warehouse)

        assert report["left"] == 0
        assert {*counts(tables_alone).values()} == {2}
        assert suppressed.covers(GONE, USE_CASE)
        assert any("broken/usecase.toml" in note for note in report["notes"])

    def test_a_person_who_comes_back_does_so_with_the_browsers(self, site):
        """
        Defect: the browsers stayed on the list for good.

        Of one that the export has no more, nobody can tell whose it was.
        """
        day = date(2026, 3, 1)
        persons = [shop.event(f"b{n}", day, user_id="ann") for n in range(3)]
        shop.load(site, persons)
        settings = replace(
            site.settings, ga4_dataset=site.ga4_dataset, user_column="person"
        )
        export = f"{settings.project}.{settings.ga4_dataset}"
        text = events_view(export, require="false")
        site.warehouse.replace_view(VIEW, text)
        program.run(settings, ["ann"])
        assert suppression.read(site.warehouse).covers("b2", USE_CASE)
        table = f"`{export}.events_{day:%Y%m%d}`"
        site.warehouse.execute(f"DELETE FROM {table} WHERE user_pseudo_id = 'b2'")
        answer = program.allow_again(settings, ["ann"])
        suppressed = suppression.read(site.warehouse)

        assert answer["entries_removed"] == 3
        assert [suppressed.covers(f"b{n}", USE_CASE) for n in range(3)] == [
            False,
            False,
            True,
        ]
        assert "stay on the list: 1" in answer["notes"][0]

    def test_a_person_is_forgotten_with_a_browser_of_an_old_purchase(self, site):
        """The digest has it for two years, and the export may have no such table."""
        shop.load(site, [shop.event("b1", date(2026, 3, 1), user_id="ann")])
        settings = replace(
            site.settings, ga4_dataset=site.ga4_dataset, user_column="person"
        )
        export = f"{settings.project}.{settings.ga4_dataset}"
        text = events_view(export, require="false")
        site.warehouse.replace_view(VIEW, text)
        old = row_of(
            CONVERSIONS, "ann", user_pseudo_id="b0", export_day=date(2024, 6, 1)
        )
        site.append(CONVERSIONS, old)
        program.run(settings, ["ann"])

        assert suppression.read(site.warehouse).covers("b0", USE_CASE)

    def test_an_id_on_thirty_browsers_a_month_takes_none_of_them_along(self, site):
        """It is nobody's in features, where two lookbacks count, and so it is here."""
        shop.load(site, [shop.event("b0", date(2026, 3, 1), user_id="guest")])
        settings = replace(
            site.settings, ga4_dataset=site.ga4_dataset, user_column="person"
        )
        export = f"{settings.project}.{settings.ga4_dataset}"
        text = events_view(export, require="false")
        site.warehouse.replace_view(VIEW, text)
        purchases = [
            row_of(
                CONVERSIONS,
                "guest",
                user_pseudo_id=f"b{month}-{number}",
                export_day=date(2026, month, 1),
            )
            for month in (1, 2)
            for number in range(30)
        ]
        site.append(CONVERSIONS, *purchases)
        program.run(settings, ["guest"])

        assert not suppression.read(site.warehouse).covers("b1-0", USE_CASE)

    def test_forgetting_says_how_the_export_is_cleared_by_its_owner(self, site):
        """Events of the export are counted; the statement has project and dataset."""
        shop.load(site, [shop.event(GONE, date(2026, 3, 1)) for _ in range(3)])
        settings = replace(site.settings, ga4_dataset=site.ga4_dataset)
        export = f"{settings.project}.{settings.ga4_dataset}"
        text = events_view(export, require="false")
        site.warehouse.replace_view(VIEW, text)
        report = program.run(settings, [GONE])

        assert report["ga4_events"] == 3
        assert f"{export}.INFORMATION_SCHEMA.TABLES" in report["ga4_statement"]
        assert GONE not in str(report)

    def test_an_export_that_was_cleared_is_not_digested_again(self, site):
        """Only a day that somebody else has changed as well, before or after."""
        days = [date(2026, 3, n) for n in (1, 2, 3)]
        events = [shop.event(user, day) for user in (GONE, KEPT) for day in days]
        shop.load(site, events)
        settings = replace(site.settings, ga4_dataset=site.ga4_dataset)
        setup.prepare_export(site.warehouse, settings)
        with contextlib.closing(Warehouse.open(settings)) as warehouse:
            state = digest.state_of(warehouse)
            tables = list(state.tables.values())
            digest.replace_days(warehouse, tables, state.rules, run_id="r")
            export = f"`{settings.export}.events_202603"
            warehouse.execute(f"INSERT INTO {export}01` SELECT * FROM {export}02`")
            report = program.run(settings, [GONE])
            warehouse.execute(report["ga4_statement"], {"user_ids": [GONE]})
            state = digest.state_of(warehouse)

        due = [table.day for table in state.due(days[0], days[-1])]
        assert due == days[:1]
        assert site.rows("SELECT DISTINCT user_pseudo_id AS u FROM ga_user_days") == [
            {"u": KEPT}
        ]


@pytest.mark.parametrize(
    "written",
    ["Jürgen\nanna", "\ufeffJürgen\r\n\nanna\r\n", "Jürgen\ranna\rJürgen"],
    ids=["Unix", "Windows", "old Mac"],
)
def test_users_are_lines_of_standard_input(written):
    """In UTF-8, whatever the locale of the terminal is, each once."""
    stdin = io.TextIOWrapper(io.BytesIO(written.encode()), "latin-1")
    assert list(program.users_of(["-"], stdin)) == ["Jürgen", "anna"]


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("user_id\nu1\n", "line 1 of the list is the header of a column"),
        ("User_Pseudo_ID\r\nu1\r\n", "line 1 of the list is the header"),
        ("\ufeffemail\nana@x.de\n", "line 1 of the list is the header"),
        ('u1\n"u2"\n', "line 2 of the list has quotation marks"),
        ('"\'-NxYz"\n', "line 1 of the list has quotation marks"),
        ("u1,a@x.de\n", "line 1 of the list has several columns"),
        ("u0\nu1;a@x.de\n", "line 2 of the list has several columns"),
        ("u1\ta@x.de\n", "line 1 of the list has several columns"),
        ("u1,\nu2,\n", "line 1 of the list has several columns"),
        ('user_id,email\nu1,"a@x.de"\n', "line 1 of the list has several columns"),
    ],
    ids=repr,
)
def test_a_list_from_a_spreadsheet_is_refused_by_line(written, problem):
    """Defect: its header was suppressed as a user, and nobody was found by the ids in
    quotation marks. As an argument an id may be anything."""
    stdin = io.TextIOWrapper(io.BytesIO(written.encode()))
    with pytest.raises(RequestError, match=problem):
        program.users_of(["-"], stdin)
    assert program.users_of(["a,b", '"'], None) == {"a,b": 1, '"': 2}


@pytest.mark.parametrize("is_dry", [True, False])
def test_the_report_says_whom_it_found_by_line(tables_alone, is_dry):
    """Not by id: a report is kept. Defect: of a list whose ids are written otherwise
    nobody was found, and the report was that of success."""
    fill(tables_alone, "u1", "u2", "-NxYz", "Ana@X.de")
    written = "u1\n\nu2 \n'-NxYz\nana@x.de\nU1\nu2\nu3\n\u200bu1\nu1.0\n-NxYz\nnull\n"
    users = program.users_of(["-"], io.TextIOWrapper(io.BytesIO(written.encode())))
    report = program.run(tables_alone.settings, users, is_dry=is_dry)

    assert report["users"] == 11
    assert report["found"] == 3
    assert report["notes"][0].startswith(
        "8 of 11 ids are in no table: lines 3, 4, 5, 6, 8, 9, 10, 12. Compare them"
    )


def test_users_in_another_encoding_than_utf_8_are_refused():
    """As PowerShell or an old editor does not: nobody would be found."""
    for encoding in ("utf-16", "latin-1"):
        stdin = io.TextIOWrapper(io.BytesIO("Jürgen\n".encode(encoding)))
        with pytest.raises(RequestError, match="UTF-8"):
            program.users_of(["-"], stdin)
    # Python passes other bytes as halves of pairs, which no table can hold.
    with pytest.raises(RequestError, match="UTF-8"):
        program.users_of(["J\udcfcrgen"], None)


def test_forgetting_nobody_is_refused():
    """Standard input may be closed, as in a job that nobody watches."""
    assert program.users_of(["anna"], None) == {"anna": 1}
    with pytest.raises(RequestError, match="there is no user id"):
        program.users_of(["-"], None)
