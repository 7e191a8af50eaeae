"""Arrays in the BigQuery emulator: their aggregates and fields are as in BigQuery."""

from __future__ import annotations

from decimal import Decimal

import pytest
from google.cloud import bigquery

Scalar = bigquery.ScalarQueryParameter

# Of an array, an empty one, one that is NULL, and one of elements without a value.
ROWS = """
CREATE TABLE t AS
SELECT
  1 AS id,
  [
    STRUCT('a' AS key, STRUCT(3 AS n, NUMERIC '1.5' AS amount) AS value),
    ('b', (4, NUMERIC '2.5')),
    ('a', (5, NULL)),
    (NULL, (7, NUMERIC '0.1'))
  ] AS params,
  'b' AS p,
  2 AS n
UNION ALL SELECT 2, [], 'a', 0
UNION ALL SELECT 3, NULL, 'a', 0
UNION ALL SELECT 4, [STRUCT('a', STRUCT(NULL, NULL)), (NULL, (NULL, NULL))], 'a', 0
"""
OF_ELEMENTS = [
    ("MAX(p.value.n)", [7, None, None, None]),
    ("MIN(p.value.amount)", [Decimal("0.1"), None, None, None]),
    ("SUM(p.value.n)", [19, None, None, None]),
    ("SUM(IF(p.value.n > t.n + 1, p.value.n, NULL))", [16, None, None, None]),
    ("SUM(p.value.amount * p.value.amount)", [Decimal("8.51"), None, None, None]),
    ("COUNT(DISTINCT p.key)", [2, 0, 0, 1]),
    ("COUNT(*)", [4, 0, 0, 2]),
    ("COUNT(p.value.n)", [4, 0, 0, 0]),
    ("SUM(DISTINCT p.value.n)", [19, None, None, None]),
    ("MAX(UPPER(p.key))", ["B", None, None, "A"]),
]
# "p" and "n" are columns of the table as well.
FILTERED = [
    ("p.key = 'a'", [5, None, None, None]),
    ("p.key = @key", [4, None, None, None]),
    ("p.key = t.p", [4, None, None, None]),
    ("p.value.n > n", [7, None, None, None]),
    ("p.key IS NULL", [7, None, None, None]),
    ("p.key = 'a' AND p.value.amount IS NOT NULL", [3, None, None, None]),
    (
        "EXISTS (SELECT 1 FROM UNNEST(params) AS q WHERE q.value.n = p.value.n + 3)",
        [4, None, None, None],
    ),
]


@pytest.fixture(scope="module")
def warehouse(shared):
    shared.rows(ROWS)
    return shared


class TestAggregates:
    @pytest.mark.parametrize(("aggregate", "answer"), OF_ELEMENTS)
    def test_are_of_all_elements(self, warehouse, aggregate, answer):
        """NULL without any, but for counts; NULL among them is left out."""
        rows = warehouse.rows(
            f"SELECT (SELECT {aggregate} FROM UNNEST(params) AS p) FROM t ORDER BY id"
        )

        assert [value for (value,) in rows] == answer

    @pytest.mark.parametrize(("condition", "answer"), FILTERED)
    def test_are_of_the_elements_of_a_condition(self, warehouse, condition, answer):
        """A name is the element's before it is of the row around it."""
        rows = warehouse.rows(
            "SELECT (SELECT MAX(p.value.n) FROM UNNEST(params) AS p "
            f"WHERE {condition}) FROM t ORDER BY id",
            [Scalar("key", "STRING", "b")],
        )

        assert [value for (value,) in rows] == answer

    def test_are_values_of_their_type(self, warehouse):
        """So that what is calculated with one is exact."""
        largest = "(SELECT MAX(p.value.amount) FROM UNNEST(params) AS p)"

        rows = warehouse.rows(
            f"SELECT {largest} / 3, "
            "2 * (SELECT COUNT(DISTINCT p.key) FROM UNNEST(params) AS p) "
            "FROM t WHERE id = 1"
        )

        assert rows == [(Decimal("0.833333333"), 4)]

    def test_may_be_conditions_themselves(self, warehouse):
        """In a WHERE, and as what another one is compared with."""
        rows = warehouse.rows(
            "SELECT id FROM t WHERE n IN (SELECT COUNT(DISTINCT p.key) FROM "
            "UNNEST(params) AS p) AND (SELECT MAX(p.value.n) FROM UNNEST(params) AS p "
            "WHERE p.value.n < (SELECT MAX(q.value.n) FROM UNNEST(params) AS q)) = 5"
        )

        assert rows == [(1,)]


# "n" is a column of the table as well.
OF_FIELDS = [
    ("SELECT value.n FROM UNNEST(params) WHERE key = 'b'", [4, None, None, None]),
    ("SELECT value.n FROM UNNEST(t.params) WHERE key = t.p", [4, None, None, None]),
    ("SELECT p.value.n FROM UNNEST(params) AS p WHERE key = 'b'", [4] + [None] * 3),
    ("SELECT COUNT(*) FROM UNNEST(params) WHERE value.n > n", [4, 0, 0, 0]),
    ("SELECT MAX(IF(key IS NULL, value.n, n)) FROM UNNEST(params)", [7, None, None, 0]),
    (
        "SELECT EXISTS (SELECT 1 FROM UNNEST(params) WHERE key = 'b')",
        [True] + [False] * 3,
    ),
]


class TestFields:
    @pytest.mark.parametrize(("query", "answer"), OF_FIELDS)
    def test_are_columns_of_the_elements(self, warehouse, query, answer):
        """Of elements with and without a name, before columns of the row around."""
        rows = warehouse.rows(f"SELECT ({query}) FROM t ORDER BY id")

        assert [value for (value,) in rows] == answer

    @pytest.mark.parametrize(
        ("join", "answer"),
        [
            (", UNNEST(params)", [(1, 4), (4, 2)]),
            ("CROSS JOIN UNNEST(t.params)", [(1, 4), (4, 2)]),
            ("LEFT JOIN UNNEST(params)", [(1, 4), (2, 1), (3, 1), (4, 2)]),
            (", UNNEST(params) WHERE key = 'a'", [(1, 2), (4, 1)]),
            (", UNNEST(params) AS q WHERE key = 'a'", [(1, 2), (4, 1)]),
            (", UNNEST(params) AS params WHERE params.key = 'a'", [(1, 2), (4, 1)]),
            (", UNNEST(params) WITH OFFSET AS o WHERE o = 1", [(1, 1), (4, 1)]),
        ],
    )
    def test_are_columns_of_a_join(self, warehouse, join, answer):
        """A row without elements is left out, or stays by LEFT JOIN."""
        query = f"SELECT id, COUNT(*) FROM t {join} GROUP BY id ORDER BY id"

        assert warehouse.rows(query) == answer

    def test_of_elements_that_are_called_as_the_column(self, warehouse):
        """The name is the element's; a query before has the column."""
        query = (
            "WITH u AS (SELECT id, params FROM t WHERE id = 1) "
            "SELECT params FROM u, UNNEST(params) AS params WHERE params.key = 'b'"
        )

        [(element,)] = warehouse.rows(query)
        assert element["value"]["n"] == 4

    def test_of_an_array_of_values_are_none(self, warehouse):
        """They are counted all the same."""
        query = "WITH u AS (SELECT [1, 2] AS ns) SELECT COUNT(*) FROM u, UNNEST(ns)"

        assert warehouse.rows(query) == [(2,)]
