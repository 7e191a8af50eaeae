"""Forgetting, specified: of a user nothing is left, of all others everything."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands.cli import main
from local.exports import ga4_export
from offline import forget as program
from propensity import suppression, usecases
from propensity.cli.answers import Exit
from propensity.clock import SYSTEM
from propensity.errors import RequestError, RunInProgress, SettingsError
from propensity.ga4.view import events_view
from propensity.gcp.warehouse import Warehouse
from propensity.registry import index
from propensity.registry.leases import leased
from propensity.registry.versions import parquet_of
from propensity.runs import digest, digest_state, setup
from propensity.runs.model_files import pseudonymise
from propensity.settings import Settings
from propensity.spreadsheet import csv_of
from propensity.streaming.features import compact
from propensity.suppression import suppressed_list
from propensity.table_files.ids import users_of
from propensity.tables import every as tables
from propensity.tables.audiences import AUDIENCE_REQUESTS
from propensity.tables.export import CONVERSIONS, USER_DAYS
from propensity.tables.export_names import VIEW
from propensity.tables.stream import (
    DEAD_LETTERS,
    INFERENCE_LOG,
    TRUTH_EVENTS,
)
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
from tests.support.deployment import KEY, Deployment, entered
from tests.support.rows import append_rows

DAY = date(2026, 3, 1)


def fill(site: Deployment, *users: str, times: int = 2) -> None:
    """Put rows of users, else two of both, into every table that has users."""
    for table, source in tables.holding_users().items():
        rows = []
        for user in users or (GONE, KEPT):
            values = {}
            if source == "message_id":
                raw = json.dumps({"user_id": user, "event_type": "unheard"})
                values = {"raw": raw.encode(), "attributes": json.dumps({"from": user})}
            elif source == "recipients":
                values = {source: [{"user_id": user, "address": None}]}
            rows += times * [row_of(table, user, **values)]
        site.append(table, *rows)


def counts(site: Deployment) -> set[int]:
    """Return how many rows the tables that have users have."""
    return {site.count(table.stored) for table in tables.holding_users()}


def of_persons(site: Deployment, *events: shop.Row) -> Settings:
    """Load an export; return settings under which its users are persons."""
    shop.load(site, events)
    settings = replace(
        site.settings, ga4_dataset=site.ga4_dataset, user_column="person"
    )
    text = events_view(settings.export, require="false")
    site.warehouse.replace_view(VIEW, text)
    return settings


@pytest.fixture(scope="module")
def shared(new_deployment) -> Deployment:
    """All tables, and a bucket that keeps what is overwritten."""
    made = new_deployment(PROPENSITY_SUPPRESSION_KEY=KEY, PROPENSITY_USE_CASE=USE_CASE)
    made.bucket.versioning_enabled = True
    return made


@pytest.fixture
def site(shared, monkeypatch) -> Deployment:
    """The same without a row or an object, and its settings in the environment."""
    shared.empty()
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    return shared


class TestTables:
    def test_tables_have_no_row_of_the_user_afterwards(self, site):
        """Two rows of each go, and those of a user whose id begins alike stay. A
        second run finds nothing, and adds nothing to the list; a dry run counts, and
        writes nothing."""
        fill(site)
        tried = forget(site, is_dry=True)
        assert counts(site) == {4}
        assert site.count("suppressed_users") == 0
        report = forget(site)

        holders = tables.holding_users()
        assert before(report) == before(tried) == {one.stored: 2 for one in holders}
        # Its users are in a list of each row.
        assert AUDIENCE_REQUESTS in holders
        assert {place["after"] for place in report["places"]} == {report["left"]} == {0}
        assert counts(site) == {2}
        [row] = site.rows("SELECT DISTINCT user_id FROM stream_events")
        assert row["user_id"] == KEPT
        assert {*before(forget(site)).values()} == {0}
        assert site.count("suppressed_users") == 1

    def test_the_digest_of_the_export_is_searched_for_browsers_and_user_ids(self, site):
        """Before a login a browser has events without a user id. Where one of several
        use cases that read it is named, it is not searched, and the report says so."""
        table = USER_DAYS
        known = row_of(table, GONE, user_pseudo_id="a browser")
        unknown = row_of(table, "", user_id=None, user_pseudo_id=GONE)
        site.append(table, known, unknown, row_of(table, KEPT, user_pseudo_id="other"))
        report = forget(site, use_case="ga4_purchase")
        assert site.count("ga_user_days") == 3
        assert "is not searched: other use cases read it" in " ".join(report["notes"])
        forget(site)

        [row] = site.rows("SELECT user_id FROM ga_user_days")
        assert row["user_id"] == KEPT

    def test_a_user_of_another_property_is_forgotten_there_alone(self, site, uk):
        """Where its use case is named: an id may be another person's elsewhere. Where
        none is named, both are."""
        for warehouse in (site.warehouse, uk):
            append_rows(warehouse, USER_DAYS, [row_of(USER_DAYS, GONE)])
        named = f"ga_user_days{uk.settings.export_suffix}"
        loaded = {"shop_uk": usecases.load("shop_uk")}
        assert program.browsers_of(site.warehouse, [GONE], loaded) == ["british"]
        report = program.run(site.settings, [GONE], use_case="shop_uk")

        assert before(report)[named] == 1
        assert report["ga4_events"] == 2
        assert f"ga_digested_days{uk.settings.export_suffix} AS d" in str(report)
        assert (site.count(named), site.count("ga_user_days")) == (0, 1)
        forget(site)
        assert site.count("ga_user_days") == 0

    @pytest.fixture
    def uk(self, site, tmp_path) -> Iterator[Warehouse]:
        """Another property, in whose export the user has a browser; a use case is of
        it."""
        name = f"{site.ga4_dataset}_uk"
        site.warehouse.create_dataset(name)
        rows = [shop.event("british", DAY, user_id=GONE) for _ in range(2)]
        ga4_export.load_tables(site.warehouse.client, name, shop.shards(rows))
        with own_use_cases.in_folder(tmp_path / "own") as folder:
            own_use_cases.write_instance(
                folder, "shop_uk", ga4_dataset=name, user_column="person"
            )
            settings = usecases.load("shop_uk").settings(site.settings)
            warehouse = site.warehouse.for_run(settings)
            setup.prepare_export(warehouse, settings)
            yield warehouse

    def test_letters_of_another_use_case_stay_where_one_is_named(self, site):
        """Those that name no use case go: nobody knows whose they are."""
        texts = {"own": f', "use_case": "{USE_CASE}"', "unknown": ""}
        texts["others"] = ', "use_case": "ga4_value"'
        for message, text in texts.items():
            raw = f'{{"who": "{GONE}"{text}}}'.encode()
            letter = row_of(DEAD_LETTERS, message, raw=raw, attributes="{}")
            site.append(DEAD_LETTERS, letter | {"message_id": message})
        forget(site, use_case=USE_CASE)
        [row] = site.rows(
            "SELECT message_id FROM dead_letters WHERE received_on > '1970-01-01'"
        )

        assert row["message_id"] == "others"

    def test_lists_of_another_use_case_keep_who_is_another_person_there(self, site):
        """Their files have a column that says of whom they are."""
        lists = {}
        for use_case in (USE_CASE, OTHER):
            name = f"audiences/{use_case}/best/2026-03-02/k"
            lists[use_case] = [f"{name}.csv", f"{name}.parquet"]
            cells = csv_of(["user_id"], [[GONE], ["bob"]])
            site.artifacts.create(f"{name}.csv", cells)
            rows = pa.table({"user_id": [GONE, "bob"]})
            site.artifacts.create(f"{name}.parquet", parquet_of(rows))
        report = forget(site, use_case=USE_CASE)

        assert before(report)[f"audiences/{USE_CASE}"] == 2
        assert before(report).get(f"audiences/{OTHER}", 0) == 0
        for name in lists[USE_CASE]:
            assert GONE not in str(site.read(name))
        for name in lists[OTHER]:
            assert GONE in str(site.read(name))
        forget(site)
        for name in lists[OTHER]:
            assert GONE not in str(site.read(name))

    def test_a_truth_that_arrives_meanwhile_is_removed(self, site, monkeypatch):
        """Afterwards nothing says any more whose it is."""
        log = INFERENCE_LOG
        truths = TRUTH_EVENTS
        site.append(log, row_of(log, GONE, event_id="e7"))
        execute = Warehouse.execute

        def late(warehouse, sql, parameters=None):
            done = execute(warehouse, sql, parameters)
            if "inference_log" in sql and done:
                site.append(truths, row_of(truths, GONE, event_id="e7"))
            return done

        monkeypatch.setattr(Warehouse, "execute", late)
        report = forget(site)

        assert site.count("truth_events") == report["left"] == 0


def test_a_damaged_file_ends_no_search(site, capsys):
    """The indexes and the second search still come."""
    fill(site)
    broken = EXPORT.replace("run=a", "run=b")
    site.artifacts.create(broken, parquet(GONE)[:-40])
    site.artifacts.create(EXPORT, parquet(GONE, KEPT))
    status = main(["forget", GONE, "--json"])
    report = json.loads(capsys.readouterr().out)

    assert counts(site) == {2}
    assert users_in(site.read(EXPORT)) == [KEPT]
    assert status == Exit.LEFT_OVER
    assert (report["left"], report["unreadable"]) == (1, [broken])


def test_a_file_that_cannot_be_read_any_more_is_kept(site, monkeypatch):
    """The search has read it, and others are in it."""
    site.artifacts.create(EXPORT, parquet(GONE, KEPT))
    reads = [program.parquet_without]

    def once(*given: Any) -> Any:
        if not reads:
            raise OSError
        return reads.pop()(*given)

    monkeypatch.setattr(program, "parquet_without", once)
    report = forget(site)

    assert users_in(site.read(EXPORT)) == [GONE, KEPT]
    assert (report["left"], report["unreadable"]) == (1, [EXPORT])


# The export has such ids: longer than a lookup takes, with control characters.
ODD = ["a" * 5000, "nul\0", "'; --", 'a "b" \\u00e9']
SNAPSHOT = "models/x/0/dataset/rows.parquet"
ALONE = SCORES.replace("run=a", "run=b")
OTHERS = SCORES.replace("run=a", "run=c")
GENERATIONS = EXPORT.replace("run=a", "run=generations")
DELETED = EXPORT.replace("run=a", "run=deleted")


def of_all_types() -> dict[str, pa.Table]:
    """Files with an id in the first row: data frames write ids as large strings or as
    categories; and a number may be an id, outside of training sets."""
    files = []
    for kind in (pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())):
        ids = pa.array([GONE, KEPT, None]).cast(kind)
        files.append(pa.table({"user_id": ids, "n": [1, 2, 3]}))
    columns = [pa.array([GONE, KEPT, None]), pa.array([1, 2, 3])]
    user = pa.StructArray.from_arrays(columns, ["user_id", "age"])
    users = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3]), user)
    files.append(pa.table({"users": users, "n": [1, 2, 3]}))
    for kind in (pa.int64(), pa.float64()):
        files.append(pa.table({"user_id": pa.array([7, 8, 9], kind)}))
    return {EXPORT.replace("run=a", f"run={n}"): rows for n, rows in enumerate(files)}


def test_whatever_form_a_user_has_one_run_removes_it(site, monkeypatch):
    """
    Rows, dead letters, truths, indexes, and Parquet at any depth, in older generations
    too; in several statements, as BigQuery takes 10 MB of parameters.

    A file without the user keeps its bytes and its generation, as have rows of a
    training, whose numbers are no ids.
    """
    monkeypatch.setattr(program, "AT_ONCE", 2)
    fill(site, KEPT, *ODD, times=1)
    log = INFERENCE_LOG
    for user, event_id in ((GONE, "e7"), (KEPT, "e8")):
        site.append(log, row_of(log, user, event_id=event_id))
    for event_id in ("e7", "e8", GONE):
        site.append(TRUTH_EVENTS, row_of(TRUTH_EVENTS, GONE, event_id=event_id))
    for raw in (b'{"user_id": "player-1"', b'[{"who": "player-1"}]'):
        letter = row_of(DEAD_LETTERS, GONE, raw=raw, attributes="{}")
        site.append(DEAD_LETTERS, letter)
    create = site.artifacts.create
    create(EXPORT, parquet(GONE, KEPT, GONE, *ODD))
    create(SCORES, parquet(KEPT, GONE))
    create(ALONE, parquet(GONE, GONE))
    create(GENERATIONS, parquet(GONE, KEPT))
    site.artifacts.overwrite(GENERATIONS, parquet(KEPT, GONE))
    create(DELETED, parquet(GONE))
    site.artifacts.delete(DELETED)
    for name, rows in of_all_types().items():
        create(name, parquet_of(rows))
    numbers = pa.table({"user_id": [KEPT, GONE, KEPT], "n": [1, 2, 3]})
    unchanged = {
        OTHERS: create(OTHERS, parquet(KEPT)),
        SNAPSHOT: create(SNAPSHOT, parquet_of(pseudonymise(numbers))),
    }
    index.store_index(site.warehouse, site.artifacts, USE_CASE, days=60)
    places = site.traces(ODD[-1])
    assert {"ma_predictions_table", "dead_letters", EXPORT} <= places
    assert any(name.startswith("indexes/") for name in places)

    users = users_of([GONE, "7", *ODD], None)
    report = forget(site, *users)

    assert report["left"] == 0
    assert site.traces(ODD[-1]) == set()
    assert site.count("dead_letters") == 1
    assert site.traces(KEPT) >= {"ma_predictions_table", EXPORT, SCORES}
    truths = site.rows("SELECT event_id FROM truth_events WHERE event_id LIKE 'e_'")
    assert truths == [{"event_id": "e8"}]
    assert users_in(site.read(EXPORT)) == users_in(site.read(SCORES)) == [KEPT]
    assert site.artifacts.find(ALONE) is None
    for name, generation in unchanged.items():
        assert site.artifacts.read(name).generation == generation
    for name, rows in of_all_types().items():
        left = pq.read_table(io.BytesIO(site.read(name))).to_pylist()
        assert left == rows.to_pylist()[1:], rows.schema
    every = site.artifacts.generations("exports/")
    [kept] = [one for one in every if one.name == GENERATIONS]
    stored = site.artifacts.find(kept.name, generation=kept.generation)
    assert users_in(stored.data) == [KEPT]
    assert DELETED not in {one.name for one in every}


class TestCommand:
    def test_forgetting_needs_the_key_of_the_functions_or_the_word_that_it_has_none(
        self, site
    ):
        """Without the list they would come back: that is settled before all else. Under
        another key an empty list would get a user whom no function knows."""
        fill(site)
        suppressed_list.publish(site.warehouse, site.artifacts)
        for key in ("", "x" * 32):
            with pytest.raises(SettingsError):
                program.run(replace(site.settings, suppression_key=key), [GONE])
        assert counts(site) == {4}
        keyless = replace(site.settings, suppression_key="")
        program.run(keyless, [GONE], is_suppressing=False)

        assert counts(site) == {2}
        assert site.count("suppressed_users") == 0

    @pytest.mark.parametrize("run", [compact, digest])
    def test_nobody_is_forgotten_while_a_run_may_bring_the_user_back(self, site, run):
        """It may have read the user before: the command says so, and is run again."""
        with (
            leased(site.artifacts, run.SCOPE, run.KIND, clock=SYSTEM.now),
            pytest.raises(RunInProgress),
        ):
            forget(site)

        assert forget(site)["left"] == 0

    def test_a_user_is_taken_off_the_list_again(self, site, capsys):
        """Who comes back of their own will is taken in again. Lookups, which read the
        list in the bucket, know of both. The answers name nobody, and the first one
        says when to forget once more."""

        def lists() -> list[suppression.Suppressed]:
            of_lookups = suppressed_list.read_published(
                site.artifacts, site.settings, table=pytest.fail
            )
            return [suppression.read_suppressed(site.warehouse), of_lookups]

        assert main(["forget", GONE, "--json"]) == Exit.DONE
        text = capsys.readouterr().out
        again = datetime.fromisoformat(json.loads(text)["run_again_at"])
        assert GONE not in text
        assert again > datetime.now(UTC)
        assert all(one.covers(GONE, USE_CASE) for one in lists())

        assert main(["forget", GONE, "--allow-again", "--json"]) == Exit.DONE
        assert json.loads(capsys.readouterr().out)["entries_removed"] == 1
        assert not any(lists())

    def test_forgetting_needs_no_folder_of_a_use_case_to_be_right(self, site, tmp_path):
        """It is named, because its own tables and audiences are not known."""
        fill(site)
        with own_use_cases.in_folder(tmp_path / "own") as folder:
            own_use_cases.write_broken(folder)
            report = forget(site)

        assert (report["left"], counts(site)) == (0, {2})
        assert any("broken/usecase.toml" in note for note in report["notes"])

    def test_a_person_goes_and_comes_back_with_the_browsers(self, site):
        """
        Of an old purchase as well, which the digest has when the export does not.

        Of a browser that the export has no more, nobody can tell whose it was.
        """
        persons = [shop.event(f"b{n}", DAY, user_id="ann") for n in range(1, 4)]
        settings = of_persons(site, *persons)
        old = {"user_pseudo_id": "b0", "export_day": date(2024, 6, 1)}
        site.append(CONVERSIONS, row_of(CONVERSIONS, "ann", **old))
        program.run(settings, ["ann"])
        suppressed = suppression.read_suppressed(site.warehouse)
        assert all(suppressed.covers(f"b{n}", USE_CASE) for n in range(4))

        table = f"`{settings.export}.events_{DAY:%Y%m%d}`"
        site.warehouse.execute(f"DELETE FROM {table} WHERE user_pseudo_id = 'b3'")
        answer = program.allow_again(settings, ["ann"])
        suppressed = suppression.read_suppressed(site.warehouse)

        assert answer["entries_removed"] == 3
        stay = [suppressed.covers(f"b{n}", USE_CASE) for n in range(4)]
        assert stay == [True, False, False, True]

    def test_the_report_says_whom_it_found_by_line(self, site):
        """Not by id: a report is kept. Ids that are written otherwise find nobody, and
        it says so; a dead letter that names somebody finds them."""
        fill(site, "u1", "-NxYz", "Ana@X.de")
        letter = row_of(DEAD_LETTERS, "u9", raw=b'{"who": "u9"}', attributes="{}")
        site.append(DEAD_LETTERS, letter)
        ids = "u1\n\n'-NxYz\nana@x.de\nU1\nu2\n\u200bu1\nu1.0\n-NxYz\nu9\n"
        users = users_of(["-"], stdin_of(ids))
        report = program.run(site.settings, users, is_dry=True)

        assert (report["users"], report["found"]) == (9, 3)
        said = "6 of 9 ids are in no table: lines 3, 4, 5, 6, 7, 8. Compare"
        assert report["notes"][0].startswith(said)


def test_an_export_is_cleared_by_its_owner_and_not_digested_again(emulated):
    """Its events are counted, and the statement has project and dataset. Only a
    day that somebody else has changed as well is digested, before or after. The loop of
    its script is BigQuery's own: here each table has its statement."""
    site = emulated.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
    site.prepare()
    days = [date(2026, 3, n) for n in (1, 2, 3)]
    events = [shop.event(user, day) for user in (GONE, KEPT) for day in days]
    shop.load(site, events)
    settings = site.settings
    setup.prepare_export(site.warehouse, settings)
    with (
        entered(site.environment),
        contextlib.closing(Warehouse.open(settings)) as warehouse,
    ):
        state = digest_state.read_state(warehouse, today=date.max)
        read = list(state.tables.values())
        digest.replace_days(warehouse, read, state.rules, run_id="r")
        export = f"`{settings.export}.events_202603"
        for day in ("02", "03"):
            more = f"INSERT INTO {export}01` SELECT * FROM {export}{day}`"
            warehouse.execute(more)
        report = program.run(settings, [GONE])
        warehouse.execute(unrolled(report["ga4_statement"], 3), {"user_ids": [GONE]})
        state = digest_state.read_state(warehouse, today=date.max)

    assert report["ga4_events"] == 5
    assert f"{settings.export}.INFORMATION_SCHEMA.TABLES" in report["ga4_statement"]
    assert GONE not in str(report)
    due = [table.day for table in state.due(days[0], days[-1])]
    assert due == days[:1]
    users = site.rows("SELECT DISTINCT user_pseudo_id AS u FROM ga_user_days")
    assert users == [{"u": KEPT}]


def unrolled(script: str, days: int) -> str:
    """Return the script with the statement of each daily table in place of its loop."""
    [delete] = re.findall("'(DELETE[^']*)'", script)
    deletes = ""
    for day in range(1, days + 1):
        of_day = delete.replace("%s", f"events_2026030{day}")
        deletes += of_day.replace("@ids", "@user_ids") + ";\n"
    return re.sub("(?s)FOR day IN.*END FOR;", deletes, script)


def stdin_of(written: str, encoding: str = "utf-8") -> Any:
    """Return a list of users, in a terminal of another locale."""
    return io.TextIOWrapper(io.BytesIO(written.encode(encoding)), "latin-1")


@pytest.mark.parametrize(
    "written", ["\ufeffJürgen\r\n\nanna\r\n", "Jürgen\ranna\rJürgen"]
)
def test_users_are_lines_of_standard_input(written):
    """In UTF-8, whatever the locale of the terminal is, each once."""
    assert list(users_of(["-"], stdin_of(written))) == ["Jürgen", "anna"]


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("\ufeffemail\nana@x.de\n", "line 1 of the list is the header"),
        ('u1\n"u2"\n', "line 2 of the list has quotation marks"),
        ("u0\nu1;a@x.de\n", "line 2 of the list has several columns"),
    ],
    ids=repr,
)
def test_a_list_from_a_spreadsheet_is_refused_by_line(written, problem):
    """Such as its header, and ids in quotation marks. As an argument an id may be
    anything."""
    with pytest.raises(RequestError, match=problem):
        users_of(["-"], stdin_of(written))
    assert users_of(["a,b", '"'], None) == {"a,b": 1, '"': 2}


def test_nobody_and_users_in_another_encoding_than_utf_8_are_refused():
    """None of them would be found: Python passes other bytes as halves of pairs.
    Standard input may be closed, as in a job that nobody watches."""
    with pytest.raises(RequestError, match="UTF-8"):
        users_of(["-"], stdin_of("Jürgen\n", "utf-16"))
    with pytest.raises(RequestError, match="UTF-8"):
        users_of(["J\udcfcrgen"], None)
    with pytest.raises(RequestError, match="there is no user id"):
        users_of(["-"], None)
