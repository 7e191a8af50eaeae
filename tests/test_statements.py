"""Statements: files, complete with what they include, that say which days they mean."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from propensity import folders, statements, usecases
from propensity.errors import UseCaseError
from propensity.statements import statement
from tests.support.programs import statements_in
from tests.support.rows import DAY_OF

ROOT = Path(__file__).parents[1]
SHARED = [ROOT / "propensity" / folder for folder in statements.FOLDERS]
NAMES = [name for folder in SHARED for name in statements_in(folder)]
OFFLINE = [
    ROOT / folder for folder in ("offline", "offline/doctor", "propensity/dashboard")
]
# Whoever reads it says which days are meant.
VIEWS = {f"{name}/predictions_history" for name in usecases.names()}
# Statements of a folder.
OWN = {
    "middle": "a,\n  -- include: inner.sql\nc",
    "inner": "b,",
    "event_sums": "own sums",
    "label_transactions": "of this folder",
}


@pytest.fixture
def own(tmp_path):
    """A folder of a use case's own statements; ``outer`` is given."""

    def write(outer: str):
        for name, text in {**OWN, "outer": outer}.items():
            (tmp_path / f"{name}.sql").write_text(text)
        return tmp_path

    return write


THEIRS = statement("labels", folder=folders.FOLDER / "ga4_purchase")


@pytest.mark.parametrize(
    ("outer", "complete"),
    [
        # A line stands for a file, and that may include another.
        ("SELECT\n-- include: middle.sql\nFROM t\n", "SELECT\na,\nb,\nc\nFROM t\n"),
        # Of another use case comes all that it includes, and nothing of this folder.
        ("-- include: ga4_purchase/labels.sql", THEIRS),
        # What the use case has of its own is before what is shared.
        ("-- include: event_sums.sql", "own sums\n"),
    ],
)
def test_a_statement_has_what_it_includes(own, outer, complete):
    assert statement("outer", folder=own(outer)) == complete


@cache
def every_statement() -> dict[str, str]:
    """All that are complete, by folder and name."""
    texts = {}
    for folder in [*map(folders.place, usecases.names()), *OFFLINE]:
        shared = [] if folder in OFFLINE else NAMES
        for name in {*shared, *statements_in(folder)}:
            with suppress(UseCaseError):
                texts[f"{folder.name}/{name}"] = statement(name, folder=folder)
    return {
        # A part of a statement is none; what it is a part of has it.
        name: text
        for name, text in texts.items()
        if re.match(r"(--.*\n|\s)*(SELECT|WITH|MERGE|DELETE|BEGIN|CREATE)\b", text)
    }


COMPARED = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In)
CHANGES = (exp.Delete, exp.Update, exp.Merge)


def unfiltered(sql: str) -> list[str]:
    """
    Return the tables of DAY_OF that a script reads, or changes rows of, unfiltered.

    A filter is a comparison of the partitioning column with something that no row has
    a part in, in the WHERE of the very SELECT or DELETE that names the table. BigQuery
    takes a little more than that.
    """
    if not any(name in sql for name in DAY_OF):
        return []
    # sqlglot has no grammar for these, which read nothing.
    sql = re.sub(r"\b(BEGIN|COMMIT) TRANSACTION;", "", sql)
    sql = re.sub(r"EXPORT DATA\s+OPTIONS\s*\([^)]*\)\s*AS", "", sql)
    found = []
    for tree in filter(None, sqlglot.parse(sql, read="bigquery")):
        for table in tree.find_all(exp.Table):
            scope = table.find_ancestor(exp.Insert, exp.Create, exp.Select, *CHANGES)
            is_target = isinstance(scope, exp.Insert | exp.Create)
            if table.name in DAY_OF and not is_target:
                found += [] if is_filtered(scope, DAY_OF[table.name]) else [table.name]
    return found


def is_filtered(scope: exp.Expression | None, column: str) -> bool:
    where = scope.args.get("where") if scope else None
    condition = where.this if where else exp.true()
    for one in condition.flatten() if isinstance(condition, exp.And) else [condition]:
        columns = [node.name for node in one.find_all(exp.Column)]
        is_first = isinstance(one.this, exp.Column)
        if isinstance(one, COMPARED) and is_first and columns == [column]:
            return True
    return False


@pytest.mark.parametrize("folder", [*usecases.names(), *(one.name for one in OFFLINE)])
def test_a_statement_says_which_days_of_a_large_table_it_means(folder):
    """Such a table refuses any other query, wherever it is named."""
    refused = {}
    for name, text in every_statement().items():
        if name.startswith(f"{folder}/") and name not in VIEWS:
            refused[name] = unfiltered(text)

    assert refused
    assert not any(refused.values()), refused
