"""
Texts in the BigQuery emulator, specified: read and cut as in BigQuery.

What is expected is what GoogleSQL's reference implementation answers.
"""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery

TEXTS = (
    *("12", " 7\n", "+5", "0x1F", "12.5", "1e3", ".5", "5.", "1_000", ""),
    *("true", "TRUE", "t", "yes", " true"),
    *("2025-06-01", "2025-6-1", "2025-06-31", "2025-06-01 10:00:00", " 2025-06-01"),
)
_WHOLE = {"12": 12, " 7\n": 7, "+5": 5}
_FRACTIONS = {**_WHOLE, "12.5": 12.5, "1e3": 1000, ".5": 0.5, "5.": 5}
READ = {
    "INT64": {**_WHOLE, "0x1F": 31},
    "FLOAT64": {text: float(number) for text, number in _FRACTIONS.items()},
    "NUMERIC": {text: Decimal(str(number)) for text, number in _FRACTIONS.items()},
    "BOOL": {"true": True, "TRUE": True},
    "DATE": dict.fromkeys(("2025-06-01", "2025-6-1"), datetime.date(2025, 6, 1)),
}
# A number in base 16 is one of FLOAT64 in BigQuery, too; here it is null.
APART = {"FLOAT64": {"0x1F"}}


class TestTexts:
    @pytest.mark.parametrize("kind", READ)
    def test_are_read_as_one_kind_or_are_null(self, shared, kind):
        """No text is read that BigQuery does not read, whatever DuckDB makes of it."""
        texts = [text for text in TEXTS if text not in APART.get(kind, ())]

        rows = shared.rows(
            f"SELECT text, SAFE_CAST(text AS {kind}) FROM UNNEST(@texts) AS text",
            [bigquery.ArrayQueryParameter("texts", "STRING", texts)],
        )

        assert {text: value for text, value in rows if value is not None} == READ[kind]

    @pytest.mark.parametrize(
        ("cast", "problem"),
        [
            ("CAST(text AS INT64)", "Bad int64 value: 12.5"),
            ("CAST('12.5' AS INT64)", "Bad int64 value: 12.5"),
            ("CAST(text AS BOOL)", "Bad bool value: 12.5"),
            ("CAST(text AS DATE)", "Invalid date: 12.5"),
            ("CAST(CONCAT(text, '_0') AS NUMERIC)", "Invalid NUMERIC value: 12.5_0"),
        ],
    )
    def test_that_cannot_be_read_fail_a_statement(self, shared, cast, problem):
        """A CAST that is not SAFE says which text, as BigQuery does."""
        with pytest.raises(BadRequest, match=problem):
            shared.rows(f"SELECT {cast} FROM UNNEST(['12.5']) AS text")

    def test_are_read_within_structs_and_of_aggregates(self, shared):
        """Where the kind of a value is known only as the statement runs."""
        assert shared.rows(
            "SELECT MAX(SAFE_CAST(one.text AS INT64)),"
            " SAFE_CAST(MAX(one.text) AS INT64)"
            " FROM UNNEST([STRUCT('7' AS text), STRUCT('12.5')]) AS one"
        ) == [(7, 7)]

    def test_are_cut_from_their_first_letter_on(self, shared):
        """A place before the first letter is the first letter."""
        assert shared.rows(
            "SELECT SUBSTR(text, 0, 2), SUBSTR(text, -5, 2), SUBSTR(text, -2)"
            " FROM UNNEST(['abc']) AS text"
        ) == [("ab", "ab", "bc")]


class TestNumbers:
    @pytest.mark.parametrize("half", [0.5, 1.5, 2.5, -0.5, -2.5])
    def test_of_any_origin_are_rounded_half_away_from_zero(self, shared, half):
        """Also those of an array of structs, whose type is known late."""
        away = int(half + (0.5 if half > 0 else -0.5))
        sql = """
            SELECT
              CAST(given AS INT64),
              (SELECT MAX(SAFE_CAST(p.value.d AS INT64)) FROM UNNEST(params) AS p)
            FROM (
              SELECT @half AS given, [STRUCT(STRUCT(@half AS d) AS value)] AS params
            )
        """

        rows = shared.rows(
            sql, [bigquery.ScalarQueryParameter("half", "FLOAT64", half)]
        )

        assert rows == [(away, away)]

    def test_with_fractions_become_the_nearest_money(self, shared):
        """Of all digits that a FLOAT64 has, beyond those that it is written with."""
        values = [123456789.123456789, 1e15, 9e28, -0.1, 1e30, float("nan")]

        rows = shared.rows(
            "SELECT SAFE_CAST(one AS NUMERIC), SAFE_CAST(s.d AS NUMERIC)"
            " FROM UNNEST(@values) AS one WITH OFFSET AS place,"
            " UNNEST([STRUCT(one AS d)]) AS s ORDER BY place",
            [bigquery.ArrayQueryParameter("values", "FLOAT64", values)],
        )

        nearest = ["123456789.123456791", "1e15", "89999999999999994049054375936"]
        money = [*map(Decimal, nearest), Decimal("-0.1"), None, None]
        assert rows == [*zip(money, money, strict=True)]


class TestParts:
    def test_of_a_second_are_without_the_seconds(self, shared):
        """EXTRACT of milli- and microseconds is below a second."""
        assert shared.rows(
            "SELECT EXTRACT(MILLISECOND FROM moment), EXTRACT(MICROSECOND FROM moment)"
            " FROM UNNEST([TIMESTAMP '2025-03-30 00:59:59.123456+00']) AS moment"
        ) == [(123, 123456)]


class TestSafe:
    def test_is_null_for_errors_within_arguments_whatever_they_are_named(self, shared):
        """A function that fails is NULL, of a column named s and of another call."""
        assert shared.rows(
            "SELECT SAFE.PARSE_TIMESTAMP('%Y-%m-%d', s.s), SAFE.PARSE_DATE('%Y', s.s)"
            " FROM UNNEST([STRUCT('x' AS s)]) AS s"
        ) == [(None, None)]
