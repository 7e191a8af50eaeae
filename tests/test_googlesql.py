"""
Statements, specified by Google: its own analyzer takes them, and its reference
implementation has the same rows of them as the emulator here.
"""

from __future__ import annotations

import contextlib
import re
from datetime import date
from pathlib import Path

import pytest

from offline.usecases.googlesql import Refused, tables_of
from propensity import tables, usecases
from propensity.gcp.columns import type_of_parameter
from propensity.privacy import consent
from propensity.settings import Settings
from propensity.statements import statement
from tests import shop
from tests.googlesql import TABLES, columns, parameters_of, plain, rows
from tests.usecases.first_day_churn import players
from tests.usecases.ga4_purchase import exports

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[1]
SHARED = [*ROOT.glob("propensity/*/*.sql")]
OFFLINE = [
    *ROOT.glob("offline/*.sql"),
    *ROOT.glob("offline/[!u]*/*.sql"),
    *ROOT.glob("local/*/*.sql"),
]
AS_OF = date(2026, 3, 3)
LATER = date(2026, 5, 1)
SETTINGS = Settings(project="p")
# Others are parts, which statements include.
_STATEMENT = re.compile(
    r"(--[^\n]*\n|\s)*(BEGIN|CREATE|DELETE|EXPORT|INSERT|MERGE|SELECT|UPDATE|WITH)\b"
)
VIEWS = ("ga_events", "stream_features")
# The end of another statement, or of a table that is named when it runs.
IN_PART = {
    *("ga_events_daily", "ga_events_intraday"),
    *("audience_sums", "export_day", "features_of_totals"),
    *("delete_rows_about", "rows_about"),
}


@pytest.fixture(scope="module")
def relations():
    """Columns of all tables and views, by name."""
    known = dict(TABLES)
    texts = {view: statement(view) for view in VIEWS}
    texts["ga_events"] = consent.events_view("p.export", require="false")
    for view, text in texts.items():
        named = {
            name: TABLES[end]
            for name in tables_of(text)
            for end in TABLES
            if name.endswith(f".{end}")
        }
        known[view] = columns(text, {**known, **named}, {})
    return known


def texts(name: str) -> dict[str, str]:
    """Return the statements of a use case, and all that it shares with others."""
    use_case = usecases.load(name)
    names = {file.stem for file in (usecases.FOLDER / name).glob("*.sql")}
    if use_case.reads_export:
        names |= {file.stem for file in SHARED}
    found = {one: use_case.statement(one) for one in names - {*VIEWS} - IN_PART}
    if use_case.reads_export:
        found |= {
            file.stem: statement(file.stem, own=file.parent)
            for file in OFFLINE
            if file.stem not in IN_PART
        }
    return {one: text for one, text in found.items() if _STATEMENT.match(text)}


class TestStatements:
    @pytest.mark.parametrize("name", usecases.names())
    def test_are_taken_by_googles_own_analyzer(self, relations, name):
        """Its syntax, names, functions and types: of queries, DML and scripts."""
        window = usecases.load(name).window(SETTINGS, [AS_OF])
        types = {key: type_of_parameter(key, value) for key, value in window.items()}
        refused = {}
        for one, text in texts(name).items():
            parameters = {**parameters_of(text), **types}
            try:
                columns(text, relations, parameters)
            except Refused as error:
                refused[one] = str(error)

        assert refused == {}

    @pytest.mark.parametrize("table", tables.TABLES, ids=lambda one: one.name)
    def test_make_the_tables(self, relations, table):
        """DDL with partitions, clusters and options."""
        columns(table.ddl(), relations, {})

    def test_that_are_wrong_are_refused(self, relations):
        """It is asked indeed: of a name, a function and a type."""
        for wrong, said in (
            ("SELECT n_visits FROM ga_events", "Unrecognized name: n_visits"),
            ("SELECT COUNT_IF(TRUE)", "Function not found: COUNT_IF"),
            (
                "SELECT 1 FROM ga_events WHERE event_time > @days",
                "No matching signature",
            ),
        ):
            with pytest.raises(Refused, match=said):
                columns(wrong, relations, {"days": "INT64"})


class TestRows:
    """The same rows to the last digit, of data with everything that is read wrong."""

    def test_of_an_export_are_those_of_the_reference(self, module_workplace):
        """The view, features, labels, amounts and training rows of the traps."""
        tables_loaded = shop.shards(exports.traps())
        shop.load_shards(module_workplace, tables_loaded)
        export = exports.Export(module_workplace).prepare()
        view = consent.events_view(export.settings.export, require="false")
        known = {}
        for name in tables_of(view):
            if name.endswith("events_2*"):
                known[name] = TABLES["events_2*"], _with_suffix(tables_loaded)
            elif name.endswith("INFORMATION_SCHEMA.TABLES"):
                names = [[table, "BASE TABLE"] for table, _ in tables_loaded]
                known[name] = TABLES["INFORMATION_SCHEMA.TABLES"], names
        events = rows(view, known, {})
        use_case = exports.USE_CASE
        window = use_case.window(export.settings, [exports.AS_OF], today=LATER)
        known["ga_events"] = (
            columns(view, {name: one[0] for name, one in known.items()}, {}),
            [[*row.values()] for row in events],
        )

        with contextlib.closing(export.warehouse) as warehouse:
            found = _rows(warehouse, f"SELECT * FROM {consent.VIEW}", {})
            # A digest of JSON, which nothing but equal events of one run are told by.
            assert _told(events, without="event_digest") == _told(
                found, without="event_digest"
            )
            for name in ("features", "labels", "converter_amounts", "training_rows"):
                _check_same(warehouse, use_case.statement(name), known, window)

    def test_of_a_stream_are_those_of_the_reference(self, module_workplace, emulators):
        """Features, labels and training rows of players who do what is rare."""
        place = players.Stream(module_workplace, emulators.address("pubsub"), {})
        with contextlib.closing(place):
            for table in (tables.STREAM_EVENTS, tables.STREAM_FEATURES_DAILY):
                place.warehouse.create(table)
            place.store(
                *(
                    players.accepted([one], received_at=received)
                    for one, received in players.traps()
                ),
                players.accepted(players.large_amounts(), received_at=players.MIDNIGHT),
            )
            every = tables.STREAM_EVENTS.every_partition
            stored = _rows(
                place.warehouse, f"SELECT * FROM stream_events WHERE {every}", {}
            )
            known = {
                "stream_events": (
                    TABLES["stream_events"],
                    [[row[name] for name in TABLES["stream_events"]] for row in stored],
                ),
                "stream_features_daily": (TABLES["stream_features_daily"], []),
            }
            use_case = players.USE_CASE
            window = use_case.window(
                place.settings, [players.AS_OF], today=players.LATER
            )
            for name in ("features", "labels", "training_rows"):
                _check_same(place.warehouse, use_case.statement(name), known, window)


def _check_same(warehouse, sql, known, window):
    """Check that a statement has rows, and those of the reference implementation."""
    given = {**window, "maximum_rows": 100_000}
    expected = rows(sql, known, given)

    assert expected, sql
    assert _told(_rows(warehouse, sql, given)) == _told(expected), sql


def _with_suffix(shards):
    """Return the rows of daily tables, with the day that each table is named by."""
    columns = [name for name in TABLES["events_2*"] if name != "_TABLE_SUFFIX"]
    return [
        [*(plain(row[name]) for name in columns), table.removeprefix("events_2")]
        for table, rows in shards
        for row in rows.to_pylist()
    ]


def _rows(warehouse, sql, parameters):
    given = {name: value for name, value in parameters.items() if f"@{name}" in sql}
    return [plain(row) for row in warehouse.table(sql, given).to_pylist()]


def _told(rows, *, without: str = ""):
    """Return rows in one order."""
    return sorted(
        repr({name: value for name, value in row.items() if name != without})
        for row in rows
    )
