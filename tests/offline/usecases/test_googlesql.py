"""Google's own reading of a statement, specified."""

from __future__ import annotations

import pytest

from offline.usecases import googlesql

TABLES = {
    "t": {"user_id": "STRING", "n": "INT64", "moment": "TIMESTAMP", "day": "DATE"}
}


class TestColumns:
    def test_columns_have_the_types_that_bigquery_gives_them(self):
        """Of a query, with parameters, by name."""
        assert googlesql.columns(
            "SELECT user_id, SUM(n) / 2 AS half, [day] AS days FROM t "
            "WHERE moment < @until GROUP BY user_id, day",
            TABLES,
            {"until": "TIMESTAMP"},
        ) == {"user_id": "STRING", "half": "FLOAT64", "days": "ARRAY<DATE>"}

    @pytest.mark.parametrize("function", ["MAX_BY", "min_by"])
    def test_columns_of_aggregates_have_the_type_of_the_value(self, function):
        sql = f"SELECT {function}(STRUCT(n AS a), day).a AS x FROM t"

        assert googlesql.columns(sql, TABLES, {}) == {"x": "INT64"}
        with pytest.raises(googlesql.Refused, match="Unrecognized name: visits"):
            googlesql.columns(sql.replace("day", "visits"), TABLES, {})

    @pytest.mark.parametrize(
        ("sql", "message"),
        [
            # The emulator takes these.
            ("moment < day", "for operator < for argument types: TIMESTAMP, DATE"),
            ("user_id + 1 > 0", "for operator +, Argument types: STRING, INT64"),
            ("COUNT_IF(n > 1) > 0", "Did you mean countif?"),
            ("n::FLOAT64 > 1", 'Expected end of input but got ":"'),
            (r"REGEXP_CONTAINS(user_id, '\d')", r"Illegal escape sequence: \d"),
            ("CAST(n AS INT32) > 1", "Type not found: INT32"),
            ("n > @days", "Query parameter 'days' not found"),
            ("n IN (SELECT n FROM others)", "Table not found: others"),
        ],
    )
    def test_a_statement_that_bigquery_refuses_has_its_line(self, sql, message):
        """In BigQuery's own words."""
        with pytest.raises(googlesql.Refused) as refused:
            googlesql.columns(f"SELECT\n  user_id\nFROM t\nWHERE {sql}", TABLES, {})

        assert message in str(refused.value)
        assert refused.value.line == 4

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT CONTAINS_SUBSTR(user_id, 'a') FROM t",
            "SELECT `my-project`.crm.tidy(user_id) FROM t",
            "SELECT * FROM ML.PREDICT(MODEL m, TABLE t)",
        ],
    )
    def test_columns_are_not_known_where_bigquery_alone_knows(self, sql):
        """Its own functions and models are no mistakes."""
        assert googlesql.columns(sql, TABLES, {}) == {}
