"""What is no SQL of BigQuery's, specified: it is said before an emulator takes it."""

from __future__ import annotations

import pytest
import sqlglot

from offline.usecases import dialect


def spelled(sql: str) -> list[tuple[int, str]]:
    """Return lines and messages of what is spelled wrongly."""
    return [*dialect.spellings(sqlglot.tokenize(sql, dialect="bigquery"))]


def foreign(sql: str) -> list[tuple[int, str]]:
    """Return lines and messages of tables that are not read."""
    return [*dialect.foreign_tables(sqlglot.parse_one(sql, dialect="bigquery"))]


class TestSpellings:
    @pytest.mark.parametrize(
        ("sql", "message"),
        [
            ("SELECT {{ days }}", "no template is filled in, so {"),
            ("{% set days = 3 %} SELECT 1", "no template is filled in, so {%"),
            ("SELECT ${days}", "no template is filled in, so {"),
            ("SELECT COUNT(*) AS order", "it is written `order`"),
            ("SELECT 1 AS Hash", "it is written `Hash`"),
            ("SELECT day - INTERVAL '30 days'", "as in INTERVAL 30 DAY"),
            ("SELECT COUNT_IF(a > 1)", "has no function COUNT_IF: take COUNTIF"),
            ("SELECT datediff(a, b)", "has no function datediff: take DATE_DIFF"),
            ("SELECT a::FLOAT64", "CAST(… AS …)"),
            ("SELECT :days", "written @name, not with :"),
            ("SELECT ?", "written @name, not with ?"),
        ],
    )
    def test_are_those_of_bigquery(self, sql: str, message: str):
        """Each slip is said once, at its line, with what to write instead."""
        [(line, said)] = spelled(f"-- One row.\n{sql}")

        assert line == 2
        assert message in said

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT AS STRUCT 1 AS `order`, days[OFFSET(0)].group AS last",
            "SELECT CAST(a AS INTERVAL), CAST(a AS ARRAY<STRUCT<b INT64>>)",
            "SELECT '{a} :b ? c::d' -- {{ e }}",
            "SELECT DATE_SUB(a, INTERVAL @days DAY), INTERVAL '1-2' YEAR TO MONTH",
            "WITH days AS (SELECT IF(a, LENGTH(b), 1) AS len) SELECT r'[?:]' FROM days",
        ],
    )
    def test_that_are_right_are_none(self, sql: str):
        """Types after AS, quoted names, texts and comments."""
        assert spelled(sql) == []


class TestForeignTables:
    @pytest.mark.parametrize(
        ("table", "named"),
        [
            ("my_table", "my_table"),
            ("crm.users", "crm.users"),
            ("`their-project.crm.users`", "their-project.crm.users"),
            ("`{project}.analytics.ga_events`", "{project}.analytics.ga_events"),
        ],
    )
    def test_are_those_that_no_function_reads(self, table: str, named: str):
        """A team's own tables: said by line, and where events are."""
        [(line, said)] = foreign(
            f"SELECT a FROM ga_events, (SELECT 1), UNNEST(b)\nJOIN {table} USING (a)"
        )

        assert line == 2
        assert said.startswith(f"reads {named}, which the functions have no right to")

    def test_are_no_names_of_the_statement(self):
        """What WITH names, arrays of a row, and what the set-up makes."""
        assert (
            foreign(
                "WITH Days AS (SELECT [1] AS visits FROM ga_events) "
                "SELECT 1 FROM days AS d, d.visits AS v, UNNEST(@as_ofs) AS as_of "
                "JOIN stream_events USING (a) JOIN stream_features USING (a)"
            )
            == []
        )
