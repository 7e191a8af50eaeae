"""Statements, specified by Google: its own analyzer takes all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from local.exports import ga4_schema
from offline.forget import about
from offline.usecases import googlesql
from offline.usecases.googlesql import Columns, Refused, tables_of
from propensity import folders, usecases
from propensity.audience.declared import Declared, DeclaredAudience
from propensity.ga4.shards import KINDS, PREFIXES
from propensity.ga4.view import events_view
from propensity.gcp.queries import type_of_parameter
from propensity.settings import Settings
from propensity.statements import (
    FOLDERS,
    Line,
    joined,
    lines_of,
    parameters_of,
    statement,
)
from propensity.tables import every
from tests.docs.pages import PAGES, blocks
from tests.support.programs import statements_in

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("analyzer")]

ROOT = Path(__file__).parents[1]
SHARED = {
    name for folder in FOLDERS for name in statements_in(ROOT / "propensity" / folder)
}
# The statements of local/exports are DuckDB's.
FOLDERS_OFFLINE = (
    "offline",
    "offline/doctor",
    "propensity/dashboard",
    "local/demos",
)
OFFLINE = {
    name: ROOT / folder
    for folder in FOLDERS_OFFLINE
    for name in statements_in(ROOT / folder)
}
OWN = {name for one in usecases.names() for name in statements_in(folders.place(one))}
AS_OF = date(2026, 3, 3)
# The dataset of queries on pages.
DATASET = "propensity."
SETTINGS = Settings(project="p")
# Python puts these together, and tests of their own have what comes of it.
PUT_TOGETHER = {
    "audience_away",
    "audience_members",
    "chosen_anew",
    "ga_events",
    "ga_events_shards",
    "ga_events_earlier",
    "source_as_of",
    "first_look_rows",
    "own_events",
    "own_events_as_of",
    "own_table",
    "reading_own_tables",
    "analytics_consent",
    "ads_consent",
    "meaningless_ids",
    "sampled_by",
    "remove_older_predictions",
    "export_day",
    "export_tables",
    "export_value",
    "export_int64",
    "export_numeric",
    "export_string",
    "readable",
    "without_members",
    "about_user_pseudo_id",
    "about_user_id",
    "about_message_id",
    "about_event_id",
    "forget_count",
    "forget_rows",
    "forget_count_within",
    "forget_rows_within",
    "nobody",
    "ma_audience_ledger",
    "ma_audience_lists",
    "forget_ga4_export",
}
# What a control group is drawn by, what a destination knows users by, and the others.
PARTS = {
    "drawn_by": "`user_id`",
    "own_columns": "TO_JSON_STRING(user_id)",
    "known_by": "LOWER(JSON_VALUE(attributes, '$.email'))",
    "order": "probability",
    "best_first": "probability",
    "consent": "IFNULL(JSON_VALUE(attributes, '$.consent'), '')",
}
# Statements that were analysed, with the types of their parameters.
TAKEN: set[tuple[str, str]] = set()
_TRANSACTION = re.compile(r"(BEGIN|COMMIT)( TRANSACTION)?", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")
_CREATE = re.compile(r"\bCREATE\b")


EVENTS = {one.name: one.sql_type for one in ga4_schema.COLUMNS}
EXPORT: dict[str, Columns] = {
    "events_20260303": EVENTS,
    **{
        f"{prefix}2*": {**EVENTS, "_TABLE_SUFFIX": "STRING"}
        for prefix in PREFIXES.values()
    },
    "__TABLES__": {
        "table_id": "STRING",
        "last_modified_time": "INT64",
        "size_bytes": "INT64",
        "row_count": "INT64",
    },
    "INFORMATION_SCHEMA.TABLES": {"table_name": "STRING", "table_type": "STRING"},
}


def columns(script: str, relations: dict[str, Columns], given: Columns) -> Columns:
    """
    Return the columns of a script's last statement by type.

    Raises:
        Refused: A statement is wrong, or the analyzer does not know a part of it.
    """
    return tables_and_columns(script, relations, given)[1]


def tables_and_columns(
    script: str, relations: dict[str, Columns], given: Columns
) -> tuple[dict[str, Columns], Columns]:
    """Return also what the script has created, beside the tables that there were."""
    known: dict[str, Columns] = dict(relations)
    found: Columns = {}
    for one in statements(script):
        resolved = googlesql.resolve(one, known, given)
        if resolved is None:
            raise Refused("it has what the analyzer does not know, and was not read")
        found = googlesql.output_of(resolved)
        # Statements read what those before them in the script have created. Parsing
        # takes long, so that it is done for few of them.
        if _CREATE.search(one):
            created = sqlglot.parse_one(one, read="bigquery")
            if isinstance(created, exp.Create) and created.expression:
                known[created.this.name] = found
    return known, found


def put_in(text: str) -> str:
    """Return a statement with columns that the program puts in."""
    for word, sql in PARTS.items():
        text = text.replace(f"`{word}`", sql)
    return text


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, but for the borders of a transaction."""
    start = 0
    for token in sqlglot.tokenize(script + ";", read="bigquery"):
        if token.token_type is sqlglot.TokenType.SEMICOLON:
            one = script[start : token.start]
            start = token.end + 1
            code = _COMMENT.sub("", one).strip()
            if code and not _TRANSACTION.fullmatch(code):
                yield one


@cache
def known_relations() -> dict[str, Columns]:
    """Columns of all tables and views, by name."""
    known = {**googlesql.deployment(), **EXPORT}
    text = events_view("p.export", require="false")
    known["ga_events"] = columns(text, named(text, known), {})
    days = statement("user_days_of_export")
    # The session of a trial has it.
    known["user_days"] = columns(days, known, parameters_of(days))
    # That of a delivery has what these make.
    chosen = {"chosen": lines_of("chosen_before")}
    for name, parts in (("audience_members", chosen), ("requests_due", {})):
        script = put_in(statement(name, **parts))
        known, _ = tables_and_columns(script, known, parameters_of(script))
    return known


@pytest.fixture(scope="module")
def relations() -> dict[str, Columns]:
    return known_relations()


def named(text: str, relations: dict[str, Columns]) -> dict[str, Columns]:
    """Return columns also by the names that a statement has, with their dataset."""
    whole = {
        name: relations[end]
        for name in tables_of(text)
        for end in relations
        if name.endswith(f".{end}")
    }
    return {**relations, **whole}


def written(name: str) -> dict[str, list[Line]]:
    """Return the statements of a use case, and those that it shares with others."""
    use_case = usecases.load(name)
    own = {*statements_in(folders.place(name))}
    known = own | SHARED if use_case.reads_export else own
    found = {one: use_case.lines(one) for one in known - PUT_TOGETHER}
    if use_case.reads_export:
        # With keys.sql, a use case draws its users before it computes features.
        found["training_rows_drawn"] = found["training_rows"]
        found["training_rows"] = lines_of("training_rows", folder=folders.place(name))
        found["audience_members"] = lines_of(
            "audience_members",
            folder=folders.place(name),
            chosen=lines_of("chosen_before"),
        )
        others = OFFLINE.keys() - PUT_TOGETHER
        found |= {one: lines_of(one, folder=OFFLINE[one]) for one in others}
    parts = {
        (line.file, line.statement)
        for one in found
        for line in found[one]
        if line.statement != one
    }
    return {
        one: text
        for one, text in found.items()
        if (text[0].file, text[0].statement) not in parts
    }


@pytest.mark.parametrize("name", usecases.names())
def test_statements_are_taken_by_googles_own_analyzer(relations, name):
    """Its syntax, names, functions and types: of queries, DML and scripts."""
    window = usecases.load(name).window(SETTINGS, [AS_OF])
    types = {key: type_of_parameter(key, value) for key, value in window.items()}
    refused = {}
    for one, found in written(name).items():
        text = put_in(joined(found))
        text = text.replace("`consent`", "TO_JSON_STRING(TRUE)")
        stored = "JSON_VALUE(m.attributes, '$.consent')"
        text = text.replace("`stored_consent`", stored)
        given = {**parameters_of(text), **types}
        # Use cases share statements.
        if (text, str(given)) in TAKEN:
            continue
        try:
            columns(text, relations, given)
        except Refused as error:
            refused[one] = str(error)
        TAKEN.add((text, str(given)))

    assert refused == {}


def test_a_choice_of_customers_who_were_away_is_taken_by_googles_own_analyzer(
    relations,
):
    use_case = usecases.load("ga4_purchase")
    declared = Declared(destination="csv", top=5, who="away", away_days=90)
    audience = DeclaredAudience("winback", Path("no files"), declared)
    choice = lines_of("chosen_anew")
    text = put_in(audience.statement("audience_members", use_case, chosen=choice))
    values = audience.parameters(use_case, SETTINGS, AS_OF)
    types = {key: type_of_parameter(key, value) for key, value in values.items()}

    assert "left_out" in columns(text, relations, {**parameters_of(text), **types})


@pytest.mark.parametrize("name", ["forget_count", "forget_rows"])
@pytest.mark.parametrize(
    "table", every.holding_users().items(), ids=lambda holder: holder[0].name
)
def test_what_forgets_a_user_is_taken_by_googles_own_analyzer(relations, table, name):
    """It is put together for each table with rows about users."""
    given = {"keys": "ARRAY<STRING>", "use_case": "STRING"}

    columns(about(*table, name), relations, given)


def test_the_statement_of_forgetting_is_valid(relations):
    """It is printed, for whoever owns the export, and never run by us."""
    script = statement(
        "forget_ga4_export",
        folder=ROOT / "offline",
        export_dataset="shop",
        own_dataset="own",
        forgotten_at="TIMESTAMP '2026-03-01 00:00:00.5+00'",
    )
    # The analyzer knows no datasets: a name is one word.
    script = re.sub(r"shop\.[\w.%]+", r"`\g<0>`", script.replace("own.", ""))
    before, loop, after = re.split(r"FOR day IN|END FOR;", script)
    tables, delete = re.findall(r"SELECT[^)]*\)|DELETE[^']*", loop)

    columns(tables, named(tables, relations), {})
    delete = delete.replace("%s", "events_20260303")
    columns(delete, named(delete, relations), {"ids": "ARRAY<STRING>"})
    columns(before + after, named(before, relations), {})


@pytest.mark.parametrize("name", ["export_stream_events", "export_inference_log"])
def test_an_export_to_parquet_is_taken_by_googles_own_analyzer(relations, name):
    """The script of a run ends with a statement for each day."""
    day = statement("export_day", target="gs://a/", day="DATE '2026-03-01'")
    script = f"{statement(name)};{day}"

    columns(script, relations, parameters_of(script))


@pytest.mark.parametrize(
    ("require", "kinds"), [("false", KINDS[:1]), ("both", KINDS)], ids=["one", "all"]
)
def test_the_view_of_the_export_is_taken_by_googles_own_analyzer(
    relations, require, kinds
):
    text = events_view("p.export", require=require, kinds=kinds)

    assert "table_suffix" in columns(text, named(text, relations), {})


@pytest.mark.parametrize("name", every.views("d"))
def test_views_of_tables_are_taken_by_googles_own_analyzer(relations, name):
    text = every.views("d")[name]

    assert columns(text, named(text, relations), {})


QUERIES = [
    sql.replace(DATASET, "")
    for page in PAGES
    for sql in blocks(page, "sql")
    if DATASET in sql
]


@pytest.mark.parametrize("sql", QUERIES)
def test_a_documented_query_is_taken_by_googles_own_analyzer(relations, sql):
    assert columns(sql, relations, {})


def test_a_statement_that_the_analyzer_cannot_read_is_refused(relations):
    with pytest.raises(Refused, match="was not read"):
        columns("SELECT SEARCH(user_id, 'a') AS x FROM ma_publications", relations, {})


def test_every_file_of_sql_is_read_by_googles_own_analyzer():
    """It is a statement, a part of one, or put together by Python."""
    read = set(PUT_TOGETHER)
    for name in usecases.names():
        for text in written(name).values():
            read |= {line.statement for line in text}

    assert read == {*SHARED, *OFFLINE, *OWN}
