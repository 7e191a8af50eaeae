"""Statements: files, complete with what they include, that say which days they mean."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from offline import forget
from propensity import folders, statements, usecases
from propensity.errors import UseCaseError
from propensity.statements import statement
from propensity.tables.every import holding_users
from tests.support.rows import DAY_OF

ROOT = Path(__file__).parents[1]
SHARED = [ROOT / "propensity" / folder for folder in statements.FOLDERS]
NAMES = [name for folder in SHARED for name in statements.names(folder)]
OFFLINE = [
    ROOT / "offline",
    ROOT / "offline/doctor",
    ROOT / "offline/dashboard",
    ROOT / "local/demos",
    ROOT / "local/exports",
]
PART = r"'\1 \g<0> \n'"
# Whoever reads it says which days are meant.
VIEWS = {f"{name}/predictions_history" for name in usecases.names()}
MENTIONS = "SELECT 1 -- include: part.sql\n-- include: part.sql and more\n"


@pytest.fixture
def own(tmp_path):
    """A folder of a use case's own statements."""

    def write(**texts: str):
        for name, text in texts.items():
            (tmp_path / f"{name}.sql").write_text(text)
        return tmp_path

    return write


class TestAStatement:
    def test_a_statement_stands_once(self):
        """A name is of one statement, in a folder that is searched."""
        assert len({*NAMES}) == len(NAMES)
        files = ROOT.glob("propensity/*/*.sql")
        assert {file.parent.name for file in files} == {*statements.FOLDERS}

    def test_a_statement_may_be_that_of_another_use_case(self, own):
        """With all that this one includes, and nothing of the folder that names it."""
        folder = own(
            labels="-- include: ga4_purchase/labels.sql",
            label_transactions="of this folder",
        )
        theirs = statement("labels", folder=folders.FOLDER / "ga4_purchase")

        assert statement("labels", folder=folder) == theirs

    @pytest.mark.parametrize(
        ("outer", "complete"),
        [
            # A line stands for a file, and that may include another.
            (
                "SELECT\n  -- include: middle.sql\nFROM t\n",
                "SELECT\na,\nb,\nc\nFROM t\n",
            ),
            # A part that two places share is in both, as it is written.
            ("-- include: part.sql\n-- include: part.sql", f"{PART}\n{PART}\n"),
            # A comment that only mentions another file stays one.
            (MENTIONS, MENTIONS),
        ],
    )
    def test_a_statement_has_what_it_includes(self, own, outer, complete):
        folder = own(
            outer=outer, middle="a,\n-- include: inner.sql\nc", inner="b,", part=PART
        )

        assert statement("outer", folder=folder) == complete

    def test_a_part_is_what_the_caller_gives(self, own):
        """For a word in backticks, or for an include, with its own file and lines."""
        folder = own(
            outer="SELECT *\nFROM `t`,\n(\n-- include: rows.sql\n)",
            inner="SELECT `c`\nFROM `t`",
        )
        inner = statements.lines("inner", folder=folder)
        lines = statements.lines("outer", folder=folder, t="x,\ny", rows=inner)

        assert [line.text for line in lines[:4]] == ["SELECT *", "FROM x,", "y,", "("]
        assert lines[4:-1] == inner

    def test_a_statement_is_the_use_case_s_own_before_the_shared_one(self, own):
        """Of itself, and of a part of what it shares."""
        folder = own(event_sums="own sums")

        assert statement("event_sums", folder=folder) == "own sums\n"
        assert statement("lookup", folder=folder) == statement("lookup")
        assert "own sums" in statement("stream_features", folder=folder)
        assert "own sums" not in statement("stream_features")

    def test_a_statement_has_lines_as_sql_has_them(self, own):
        """Defect: a text in quotes was cut in two at another character of Unicode."""
        folder = own(outer="SELECT 'a\u2028b\u2029c\x0cd'\n")

        assert statement("outer", folder=folder) == "SELECT 'a\u2028b\u2029c\x0cd'\n"

    def test_a_line_says_where_it_is_written(self, own):
        """An analyzer's errors name its file and number there."""
        folder = own(outer="SELECT\n-- include: inner.sql", inner="  1,\n  2;\n")

        assert statements.lines("outer", folder=folder) == [
            ("outer", f"{folder.name}/outer.sql", 1, "SELECT"),
            ("inner", f"{folder.name}/inner.sql", 1, "  1,"),
            ("inner", f"{folder.name}/inner.sql", 2, "  2"),
        ]

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("no_such_statement", r"no_such_statement\.sql"),
            ("outer", r"no_such_part\.sql"),
            ("one", r"two\.sql:1 includes itself"),
        ],
    )
    def test_a_statement_that_is_missing_or_includes_itself_is_named(
        self, own, name, told
    ):
        folder = own(
            outer="-- include: no_such_part.sql",
            one="-- include: two.sql",
            two="-- include: one.sql",
        )

        with pytest.raises(UseCaseError, match=told):
            statement(name, folder=folder)


@cache
def every_statement() -> dict[str, str]:
    """All that are complete, by use case and name; those of no use case once."""
    texts = {}
    for use_case in usecases.names():
        own = resources.files(usecases) / use_case
        for name in {*NAMES, *statements.names(own)}:
            with suppress(UseCaseError):
                texts[f"{use_case}/{name}"] = statement(name, folder=own)
    for folder in OFFLINE:
        for name in statements.names(folder):
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


class TestThePartitionFilter:
    """Large tables refuse a query that does not say which days it means."""

    @pytest.mark.parametrize("name", sorted({*every_statement()} - VIEWS))
    def test_the_partition_filter_is_in_every_statement(self, name):
        """Of every table that asks for one, wherever the statement names it."""
        assert unfiltered(every_statement()[name]) == []

    def test_the_partition_filter_is_in_what_forgets_a_user(self):
        for name in ("forget_count", "forget_found", "forget_rows"):
            for table, source in holding_users().items():
                assert unfiltered(forget.about(table, source, name)) == []

    def test_the_partition_filter_is_asked_for_by_what_grows(
        self,
    ):
        """Streams, their logs, and the history of all predictions."""
        assert set(DAY_OF) == {
            "stream_events",
            "inference_log",
            "truth_events",
            "dead_letters",
            "ma_predictions_runs",
            "ma_predictions_history",
        }
