"""
NUMERIC in the BigQuery emulator: exact, and rounded as in BigQuery.
"""

from __future__ import annotations

import random
from decimal import Context, Decimal
from fractions import Fraction

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery

Array = bigquery.ArrayQueryParameter
Scalar = bigquery.ScalarQueryParameter
# Numbers of this many digits fit in NUMERIC, counted in billionths.
DIGITS = 38
EXACT = Context(prec=2 * DIGITS)
LARGEST = Decimal("99999999999999999999999999999.999999999")
EDGES = (
    *(1, 3 * 10**9, 5 * 10**8, 1_000_000_005, 10**9, 10**28, 10**29),
    *(10**DIGITS - 1, 10**DIGITS // 2, 10**DIGITS - 10**9),
)


def random_numeric(rng: random.Random) -> Decimal:
    """A number of any size that NUMERIC has, of either sign, often on an edge."""
    units = rng.randrange(10 ** rng.randint(1, DIGITS))
    if rng.random() < 0.2:
        units = rng.choice(EDGES)
    return numeric(rng.choice((1, -1)) * units)


def numeric(units: int) -> Decimal:
    """Return a number of so many billionths."""
    return Decimal(units).scaleb(-9, EXACT)


def in_billionths(value: Decimal) -> int:
    return int(value.scaleb(9, EXACT))


def billionths(value: Fraction) -> int:
    """Round half away from zero to nine decimals."""
    size = abs(value) * 10**9
    return (1 if value >= 0 else -1) * int(size + Fraction(1, 2))


def towards_zero(value: Fraction) -> Fraction:
    return Fraction(int(value))


EXACTLY = {
    "a * b": lambda a, b: billionths(a * b),
    "a / b": lambda a, b: billionths(a / b),
    "DIV(a, b)": lambda a, b: billionths(towards_zero(a / b)),
    "MOD(a, b)": lambda a, b: billionths(a - b * towards_zero(a / b)),
    "a + b": lambda a, b: billionths(a + b),
    "a - b": lambda a, b: billionths(a - b),
}


class TestOperations:
    PAIRS = 500

    @pytest.mark.parametrize("operation", EXACTLY)
    def test_are_exact_over_the_whole_range(self, shared, operation):
        """Every result that fits 29 digits is the exact one, rounded half away."""
        rng = random.Random(operation)
        pairs, expected = [], []
        while len(pairs) < self.PAIRS:
            a, b = random_numeric(rng), random_numeric(rng)
            exact = EXACTLY[operation](Fraction(a), Fraction(b)) if b else 10**DIGITS
            if abs(exact) < 10**DIGITS:
                pairs.append((a, b))
                expected.append(exact)

        rows = shared.rows(
            f"SELECT {operation} FROM UNNEST(@a) AS a WITH OFFSET AS i "
            "JOIN UNNEST(@b) AS b WITH OFFSET AS j ON i = j ORDER BY i",
            [
                Array("a", "NUMERIC", [a for a, _ in pairs]),
                Array("b", "NUMERIC", [b for _, b in pairs]),
            ],
        )

        assert [in_billionths(value) for (value,) in rows] == expected

    @pytest.mark.parametrize(
        ("expression", "value"),
        [
            ("NUMERIC '1' / 3", "0.333333333"),
            ("NUMERIC '2' / 3", "0.666666667"),
            ("NUMERIC '-2' / 3", "-0.666666667"),
            ("2 / NUMERIC '3'", "0.666666667"),
            ("NUMERIC '0.000000001' / 2", "0.000000001"),
            ("NUMERIC '-0.000000001' / 2", "-0.000000001"),
            ("NUMERIC '0.000000001' * NUMERIC '0.5'", "0.000000001"),
            ("NUMERIC '0.000000001' * NUMERIC '0.499999999'", "0"),
            (
                "NUMERIC '99999999999999' * 1000000000000000",
                "99999999999999" + "0" * 15,
            ),
            ("NUMERIC '1.5' * 1.5", "2.25"),
            ("DIV(NUMERIC '-5.5', 3)", "-1"),
            (
                "DIV(NUMERIC '79228162514264337593543950336', 3)",
                "26409387504754779197847983445",
            ),
            ("MOD(NUMERIC '-5.5', 3)", "-2.5"),
            ("MOD(7, NUMERIC '2.5')", "2"),
            ("SAFE_DIVIDE(NUMERIC '5', 3)", "1.666666667"),
        ],
    )
    def test_round_half_away_from_zero(self, shared, expression, value):
        """NUMERIC with NUMERIC or INT64 has nine decimals; DIV and MOD are whole."""
        assert shared.rows(f"SELECT {expression}") == [(Decimal(value),)]

    @pytest.mark.parametrize(
        ("expression", "message"),
        [
            (f"NUMERIC '{LARGEST}' * 2", f"numeric overflow: {LARGEST} \\* 2"),
            (f"NUMERIC '{LARGEST}' / NUMERIC '0.5'", "numeric overflow"),
            ("NUMERIC '5' / 0", "division by zero: 5 / 0"),
            ("DIV(NUMERIC '5.5', 0)", "division by zero: 5.5 DIV 0"),
            ("MOD(NUMERIC '5.5', 0)", "division by zero: 5.5 MOD 0"),
        ],
    )
    def test_say_what_they_cannot_calculate(self, shared, expression, message):
        """A result out of range and a division by zero are errors with the operands."""
        with pytest.raises(BadRequest, match=message):
            shared.rows(f"SELECT {expression}")

    @pytest.mark.parametrize(
        "expression",
        [
            "SAFE_DIVIDE(NUMERIC '5', 0)",
            f"SAFE_MULTIPLY(NUMERIC '{LARGEST}', 2)",
            "SAFE.DIV(NUMERIC '5', 0)",
            "CAST(NULL AS NUMERIC) / 0",
            "NUMERIC '5' * NULL",
            "NUMERIC '5' / NULLIF(0, 0)",
            "IF(FALSE, NUMERIC '1' / 0, NULL)",
        ],
    )
    def test_are_null_where_asked_to(self, shared, expression):
        """A null operand, a safe function and a branch not taken give null."""
        assert shared.rows(f"SELECT {expression}") == [(None,)]

    def test_leave_other_types_alone(self, shared):
        """INT64 over INT64 is FLOAT64, and FLOAT64 makes FLOAT64 of NUMERIC."""
        job = shared.job(
            "SELECT 1 / 3, 6 * 7, DIV(7, 2), MOD(7, 2), 0.5 * 0.5, "
            "NUMERIC '1' / CAST(3 AS FLOAT64), SAFE_DIVIDE(1, 4), INTERVAL 2 DAY * 3"
        )
        [row] = job.result()

        assert row.values()[:7] == (1 / 3, 42, 3, 1, 0.25, 1 / 3, 0.25)
        assert [field.field_type for field in job.result().schema] == [
            *("FLOAT", "INTEGER", "INTEGER", "INTEGER", "FLOAT", "FLOAT", "FLOAT"),
            "INTERVAL",
        ]

    @pytest.mark.parametrize(
        "rounded", ["ROUND(y, 2)", "ROUND(y)", "TRUNC(y)", "CEIL(y)", "FLOOR(y)"]
    )
    def test_cut_off_no_decimals_beside_one_that_is_rounded(self, shared, rounded):
        """A rounded NUMERIC is one of nine decimals: those beside it keep theirs."""
        rows = shared.rows(
            f"SELECT IF(n > 1, {rounded}, x), SUM({rounded} + x) OVER () FROM "
            "(SELECT NUMERIC '1.123456789' AS x, NUMERIC '3' AS y, 1 AS n)"
        )

        assert rows == [(Decimal("1.123456789"), Decimal("4.123456789"))]

    def test_become_text_without_zeros_at_the_end(self, shared):
        """CAST to STRING has as many decimals as there are."""
        rows = shared.rows(
            "SELECT CAST(x AS STRING) FROM UNNEST(@x) AS x WITH OFFSET AS i ORDER BY i",
            [Array("x", "NUMERIC", [Decimal("1.50"), Decimal("-100"), Decimal(0)])],
        )

        assert rows == [("1.5",), ("-100",), ("0",)]


class TestAggregates:
    def test_average_exactly(self, shared):
        """AVG is the exact mean, rounded once; of no rows it is null."""
        half = numeric(10**DIGITS // 2 - 1)
        values = [Decimal("0.1"), Decimal("0.1"), half]

        rows = shared.rows(
            "SELECT AVG(x), AVG(DISTINCT x), AVG(IF(x > @x[OFFSET(2)], x, NULL)) "
            "FROM UNNEST(@x) AS x",
            [Array("x", "NUMERIC", values)],
        )
        running = shared.rows(
            "SELECT AVG(x) OVER (ORDER BY i) FROM UNNEST([NUMERIC '1', 1, 2]) AS x "
            "WITH OFFSET AS i ORDER BY i"
        )

        means = [sum(map(Fraction, some)) / len(some) for some in (values, values[1:])]
        assert [in_billionths(value) for value in rows[0][:2]] == [
            billionths(mean) for mean in means
        ]
        assert rows[0][2] is None
        assert [value for (value,) in running] == [1, 1, Decimal("1.333333333")]

    def test_give_the_variance_of_large_amounts(self, shared):
        """1e9+1, 1e9+2 and 1e9+3 vary by 1, from sums of them and of their squares."""
        amounts = [Decimal(10**9 + n) for n in (1, 2, 3)]

        rows = shared.rows(
            """
            SELECT (n * squares - s * s) / NULLIF(n * (n - 1), 0), s / n
            FROM (
              SELECT COUNT(*) AS n, SUM(x) AS s, SUM(x * x) AS squares
              FROM UNNEST(@x) AS x
            )
            """,
            [Array("x", "NUMERIC", amounts)],
        )

        assert rows == [(Decimal(1), Decimal(10**9 + 2))]


class TestStatements:
    """An operation is exact wherever it stands, and its result is NUMERIC."""

    @pytest.fixture
    def sums(self, shared):
        shared.rows("CREATE OR REPLACE TABLE t (k STRING, x NUMERIC, n INT64)")
        shared.rows("INSERT INTO t VALUES ('a', 10, 3), ('b', 20.5, 7)")
        return shared

    TEN_THIRDS, REST = Decimal("3.333333333"), Decimal("2.928571429")

    @pytest.mark.parametrize(
        "query",
        [
            "SELECT x / n AS q FROM t ORDER BY k",
            "SELECT SUM(x) / SUM(n) AS q FROM t GROUP BY k ORDER BY k",
            "SELECT SUM(x) OVER (PARTITION BY k) / n AS q FROM t ORDER BY k",
            "SELECT (SELECT SUM(e) / t.n FROM UNNEST([x]) AS e) AS q FROM t ORDER BY k",
            "SELECT (SELECT AS STRUCT x / n AS q).q AS q FROM t ORDER BY k",
            "SELECT m.q FROM t CROSS JOIN UNNEST([STRUCT(x / n AS q)]) AS m ORDER BY k",
            "SELECT q FROM (SELECT k, n, CASE WHEN n > 0 THEN x / n END AS q FROM t) "
            "WHERE q * n > 5 ORDER BY k",
            "WITH s AS (SELECT k, COALESCE(x, 0) AS x, n FROM t) "
            "SELECT x / n AS q FROM s "
            "QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY x) = 1 ORDER BY k",
            "SELECT @one * x / n AS q FROM t ORDER BY k",
            "SELECT SUM(y) / SUM(n) AS q FROM (SELECT k, x * @one AS y, n FROM t) "
            "GROUP BY k ORDER BY k",
        ],
    )
    def test_divide_wherever_it_is_asked(self, sums, query):
        """In aggregates, windows, subqueries, structs and with parameters."""
        job = sums.job(query, [Scalar("one", "NUMERIC", Decimal(1))])
        rows = [row.q for row in job.result()]

        assert rows == [self.TEN_THIRDS, self.REST]
        assert job.result().schema[0].field_type == "NUMERIC"

    def test_write_what_they_calculate(self, sums):
        """INSERT, UPDATE, MERGE and CREATE TABLE AS store the exact result."""
        sums.rows("CREATE TABLE copy AS SELECT k, x / n AS q, x * n AS p FROM t")
        sums.rows("INSERT INTO copy SELECT 'c', x / n, x * x FROM t WHERE k = 'a'")
        sums.rows("UPDATE copy SET p = p * q WHERE k = 'a'")
        sums.rows(
            """
            MERGE copy AS c
            USING (SELECT 'b' AS k, NUMERIC '2' AS y UNION ALL SELECT 'd', 3) AS s
            ON c.k = s.k
            WHEN MATCHED THEN UPDATE SET q = c.q * s.y / 3, p = c.p + s.y * s.y
            WHEN NOT MATCHED THEN INSERT (k, q, p) VALUES (s.k, s.y / 7, s.y * s.y)
            """
        )

        assert sums.rows("SELECT * FROM copy ORDER BY k") == [
            ("a", self.TEN_THIRDS, Decimal("99.99999999")),
            ("b", Decimal("1.952380953"), Decimal("147.5")),
            ("c", self.TEN_THIRDS, Decimal(100)),
            ("d", Decimal("0.428571429"), Decimal(9)),
        ]

    def test_are_as_exact_in_views_functions_and_scripts(self, sums):
        """A view, a function and a variable keep NUMERIC too."""
        sums.rows("CREATE VIEW v AS SELECT k, SUM(x) / SUM(n) AS q FROM t GROUP BY k")
        sums.rows(
            f"CREATE TABLE FUNCTION `{sums.dataset}.over`(m NUMERIC) AS "
            f"SELECT k, x / m AS q FROM `{sums.dataset}.t`"
        )

        viewed = sums.rows("SELECT q * 3 FROM v ORDER BY k")
        called = sums.rows(
            f"SELECT q FROM `{sums.dataset}.over`(NUMERIC '3') ORDER BY k"
        )
        scripted = sums.rows("DECLARE v NUMERIC DEFAULT 10; SET v = v / 3; SELECT v")
        defined = sums.rows(
            "CREATE TEMP FUNCTION third(a NUMERIC) AS (a / 3); SELECT third(10)"
        )

        assert viewed == [(Decimal("9.999999999"),), (Decimal("8.785714287"),)]
        assert called == [(self.TEN_THIRDS,), (Decimal("6.833333333"),)]
        assert scripted == defined == [(self.TEN_THIRDS,)]
