"""Statements in the emulator, specified: they do what BigQuery's do."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from google.api_core.exceptions import NotFound

from tests.local.emulators.bigquery.conftest import DAY, Emulator, Scalar


@pytest.mark.long
class TestStatements:
    @pytest.mark.parametrize("way", ["load", "query"])
    def test_replace_one_day_by_its_partition_decorator(self, warehouse, way):
        """A write to ``t$20260301`` replaces the rows of that day and no other."""
        warehouse.rows("CREATE TABLE t (day DATE, n INT64) PARTITION BY day")
        warehouse.rows(
            "INSERT INTO t VALUES (DATE '2026-03-01', 1), (DATE '2026-03-02', 2)"
        )

        if way == "load":
            rows = pa.table({"day": [DAY], "n": [7]})
            warehouse.load(rows, "t$20260301", write_disposition="WRITE_TRUNCATE")
        else:
            warehouse.rows(
                "SELECT DATE '2026-03-01' AS day, 7 AS n",
                destination=warehouse.default.table("t$20260301"),
                write_disposition="WRITE_TRUNCATE",
            )

        assert warehouse.rows("SELECT n FROM t ORDER BY day") == [(7,), (2,)]


class TestLanguage:
    def test_keeps_utc_wherever_it_runs(self, tmp_path, monkeypatch):
        """Days begin at midnight UTC, and Arrow says so, in any time zone."""
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        with Emulator(tmp_path) as emulator:
            result = (
                emulator.client()
                .query(
                    "SELECT TIMESTAMP '2026-03-01 23:30:00' AS at, "
                    "DATE(TIMESTAMP '2026-03-01 23:30:00+00') AS day"
                )
                .result()
            )
            table = result.to_arrow(bqstorage_client=emulator.read_client())

        assert table.schema.field("at").type == pa.timestamp("us", "UTC")
        assert table["day"].to_pylist() == [DAY]

    def test_means_what_its_tables_are_now(self, warehouse):
        """One text, asked again, follows its table, its parameters and its dataset."""
        query = "SELECT *, n * @k AS more FROM t"

        def answer(kind, value, **options):
            job = warehouse.job(query, [Scalar("k", kind, value)], **options)
            rows = [tuple(row.values()) for row in job.result()]
            return rows, job.result().schema[-1].field_type

        warehouse.rows("CREATE TABLE t AS SELECT 3 AS n")
        assert answer("INT64", 2) == ([(3, 6)], "INTEGER")
        assert answer("NUMERIC", Decimal("0.5")) == ([(3, Decimal("1.5"))], "NUMERIC")
        warehouse.rows("ALTER TABLE t ADD COLUMN b STRING")
        assert answer("INT64", 4) == ([(3, None, 12)], "INTEGER")
        warehouse.rows("CREATE OR REPLACE TABLE t AS SELECT NUMERIC '1.5' AS n")
        assert answer("INT64", 2) == ([(Decimal("1.5"), 3)], "NUMERIC")
        warehouse.rows("DROP TABLE t")
        with pytest.raises(NotFound):
            answer("INT64", 2)
        warehouse.rows("CREATE VIEW t AS SELECT 8 AS n")
        assert answer("INT64", 2) == ([(8, 16)], "INTEGER")

    def test_lists_the_columns_of_now(self, warehouse):
        """INFORMATION_SCHEMA, asked twice, has what came in between."""
        columns = "SELECT column_name FROM INFORMATION_SCHEMA.COLUMNS ORDER BY 1"
        warehouse.rows("CREATE TABLE t AS SELECT 1 AS a")
        before = warehouse.rows(columns)
        warehouse.rows("CREATE TABLE u AS SELECT 1 AS b")

        assert (before, warehouse.rows(columns)) == ([("a",)], [("a",), ("b",)])

    @pytest.mark.parametrize(
        ("sql", "expected"),
        [
            # As GoogleSQL's reference implementation answers.
            (
                "SELECT LOWER(s) AS s, COUNT(*) FROM t GROUP BY s ORDER BY 1",
                [("a", 2), ("b", 1)],
            ),
            (
                "SELECT LOWER(t.s) AS S, COUNT(*) FROM t GROUP BY t.s ORDER BY 1",
                [("a", 1), ("a", 1), ("b", 1)],
            ),
            ("SELECT -n AS n FROM t ORDER BY -n", [(-1,), (-2,), (-3,)]),
            ("SELECT -n AS n FROM t ORDER BY n", [(-3,), (-2,), (-1,)]),
            (
                "SELECT s, -n AS n FROM t QUALIFY ROW_NUMBER() OVER (ORDER BY n) = 1",
                [("b", -3)],
            ),
            (
                "SELECT MAX(n) AS n FROM t WHERE n < 3 GROUP BY s ORDER BY 1",
                [(1,), (2,)],
            ),
            (
                "SELECT 'x' AS s, (SELECT COUNT(*) FROM t GROUP BY s LIMIT 1) FROM t",
                [("x", 1)] * 3,
            ),
        ],
    )
    def test_means_the_select_lists_column_by_a_name(self, warehouse, sql, expected):
        """In GROUP BY, QUALIFY and ORDER BY, where a table has a column of the name."""
        warehouse.rows(
            "CREATE TABLE t AS "
            "SELECT 'A' AS s, 1 AS n UNION ALL SELECT 'a', 2 UNION ALL SELECT 'b', 3"
        )

        assert warehouse.rows(sql) == expected

    def test_names_the_fields_of_a_struct_by_their_columns(self, warehouse):
        """As in the newest of some rows, by STRUCT(day, n)."""
        rows = (
            "SELECT DATE '2026-03-01' AS day, 1 AS n UNION ALL SELECT '2026-03-02', 2"
        )
        newest = "ARRAY_AGG(STRUCT(day, t.n) ORDER BY day DESC LIMIT 1)[OFFSET(0)]"

        assert warehouse.rows(
            f"SELECT {newest}.n, TO_JSON_STRING({newest}) FROM ({rows}) AS t"
        ) == [(2, '{"day":"2026-03-02","n":2}')]
