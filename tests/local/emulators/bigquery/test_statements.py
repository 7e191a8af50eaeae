"""Statements in the emulator, specified: they do what BigQuery's do."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery

from tests.local.emulators.bigquery.conftest import (
    DAY,
    MOMENT,
    NEXT_DAY,
    Scalar,
    client,
    emulator,
    read_client,
    scores,
)


@pytest.mark.long
class TestStatements:
    def test_loads_parquet_into_new_and_existing_tables(self, warehouse):
        """A load makes the table it names; the next one appends or replaces."""
        warehouse.load(scores(a=0.1), "t")
        warehouse.load(scores(b=0.2), "t", write_disposition="WRITE_APPEND")
        assert warehouse.rows("SELECT COUNT(*) FROM t") == [(2,)]

        warehouse.load(scores(c=0.3), "t", write_disposition="WRITE_TRUNCATE")

        assert warehouse.rows("SELECT * FROM t") == [("c", 0.3)]

    def test_replaces_one_day_by_its_partition_decorator(self, warehouse):
        """A write to ``t$20260301`` replaces the rows of that day and no other."""
        warehouse.rows("CREATE TABLE t (day DATE, n INT64) PARTITION BY day")
        warehouse.rows(
            "INSERT INTO t VALUES (@day, 1), (@next_day, 2)",
            [Scalar("day", "DATE", DAY), Scalar("next_day", "DATE", NEXT_DAY)],
        )

        replacement = pa.table({"day": [DAY], "n": [7]})
        warehouse.load(replacement, "t$20260301", write_disposition="WRITE_TRUNCATE")

        assert warehouse.rows("SELECT day, n FROM t ORDER BY day") == [
            (DAY, 7),
            (NEXT_DAY, 2),
        ]

    def test_replaces_one_day_by_a_query(self, warehouse):
        """A query whose destination is ``t$20260301`` replaces that day alone too."""
        warehouse.rows("CREATE TABLE t (day DATE, n INT64) PARTITION BY day")
        warehouse.rows(
            "INSERT INTO t VALUES (DATE '2026-03-01', 1), (DATE '2026-03-02', 2)"
        )

        warehouse.rows(
            "SELECT DATE '2026-03-01' AS day, 7 AS n",
            destination=warehouse.default.table("t$20260301"),
            write_disposition="WRITE_TRUNCATE",
        )

        assert warehouse.rows("SELECT n FROM t ORDER BY day") == [(7,), (2,)]

    def test_writes_a_query_into_a_table(self, warehouse):
        """A query with a destination leaves its rows there."""
        warehouse.rows(
            "SELECT 1 AS n",
            destination=warehouse.default.table("t"),
            write_disposition="WRITE_TRUNCATE",
        )

        assert warehouse.rows("SELECT n FROM t") == [(1,)]


class TestLanguage:
    def test_calls_table_functions(self, warehouse):
        """A table function takes its arguments as parameters of the query."""
        warehouse.load(scores(a=0.1, b=0.9), "t")
        warehouse.rows(
            "CREATE OR REPLACE TABLE FUNCTION above(least FLOAT64) AS "
            f"SELECT * FROM `{warehouse.dataset}.t` WHERE probability >= least"
        )

        rows = warehouse.rows(
            f"SELECT user_id FROM `{warehouse.dataset}.above`(@least)",
            [Scalar("least", "FLOAT64", 0.5)],
        )

        assert rows == [("b",)]

    def test_unnests_an_array_parameter(self, warehouse):
        """``UNNEST(@as_ofs)`` gives one row a date."""
        dates = bigquery.ArrayQueryParameter("as_ofs", "DATE", [DAY, NEXT_DAY])

        rows = warehouse.rows("SELECT d FROM UNNEST(@as_ofs) AS d ORDER BY d", [dates])

        assert rows == [(DAY,), (NEXT_DAY,)]

    def test_streams_query_results_as_arrow(self, warehouse):
        """The Storage Read API reads the result of a query in batches."""
        result = warehouse.job(
            "SELECT x, CAST(x AS STRING) AS s FROM UNNEST(GENERATE_ARRAY(1, 5000)) AS x"
        ).result()

        batches = result.to_arrow_iterable(bqstorage_client=warehouse.read_client())

        table = pa.Table.from_batches(list(batches))
        assert sorted(table["x"].to_pylist()) == list(range(1, 5001))

    def test_keeps_the_first_row_of_each_group(self, warehouse):
        """QUALIFY on ROW_NUMBER drops what a group has a row of already."""
        rows = warehouse.rows(
            """
            SELECT user_id, event_id, n
            FROM UNNEST([
              STRUCT('u' AS user_id, 'a' AS event_id, 2 AS n),
              ('u', 'a', 1), ('u', 'b', 3)
            ])
            WHERE n > 0
            QUALIFY ROW_NUMBER() OVER (PARTITION BY user_id, event_id ORDER BY n) = 1
            ORDER BY event_id
            """
        )

        assert rows == [("u", "a", 1), ("u", "b", 3)]

    def test_turns_columns_into_rows_and_back(self, warehouse):
        """Each row meets structs made of its own columns; MAX(IF()) pivots them."""
        warehouse.rows("CREATE TABLE t (id STRING, x NUMERIC, y NUMERIC)")
        warehouse.rows("INSERT INTO t VALUES ('u', 2, 3.5), ('v', 5, NULL)")
        unpivoted = """
            SELECT t.id, m.measure, m.n
            FROM t
            CROSS JOIN UNNEST([STRUCT('a' AS measure, x AS n), STRUCT('b', y * 2)]) AS m
        """

        rows = warehouse.rows(
            "SELECT id, MAX(IF(measure = 'a', n, NULL)), "
            "MAX(IF(measure = 'b', n, NULL)) "
            f"FROM ({unpivoted}) GROUP BY id ORDER BY id"
        )

        assert rows == [("u", 2, 7), ("v", 5, None)]

    def test_reads_values_out_of_json_text(self, warehouse):
        """JSON_VALUE has the text of a scalar; of anything else, or nothing, null."""
        rows = warehouse.rows(
            """
            SELECT
              JSON_VALUE(t, '$.V1'), CAST(JSON_VALUE(t, '$.V1') AS FLOAT64),
              JSON_VALUE(t, '$.deep.er'), JSON_VALUE(t, '$.deep'), JSON_VALUE(t, '$.no')
            FROM UNNEST([@text, '{}', NULL]) AS t WITH OFFSET AS i
            ORDER BY i
            """,
            [Scalar("text", "STRING", '{"V1": -1.359807, "deep": {"er": "é\\n"}}')],
        )

        assert rows == [
            ("-1.359807", -1.359807, "é\n", None, None),
            (None,) * 5,
            (None,) * 5,
        ]

    def test_calculates_with_timestamps(self, warehouse):
        """Differences are whole units cut off; an interval may be a parameter."""
        rows = warehouse.rows(
            """
            SELECT
              TIMESTAMP_DIFF(@at, TIMESTAMP '2026-03-01 08:00:30+00', HOUR),
              TIMESTAMP_DIFF(TIMESTAMP '2026-03-01 08:00:30+00', @at, HOUR),
              TIMESTAMP_DIFF(@at, TIMESTAMP '2026-03-01', MICROSECOND),
              TIMESTAMP_ADD(@at, INTERVAL @n HOUR),
              TIMESTAMP_SUB(@at, INTERVAL @n DAY),
              DATE_ADD(DATE(@at), INTERVAL @n DAY)
            """,
            [Scalar("at", "TIMESTAMP", MOMENT), Scalar("n", "INT64", 26)],
        )

        assert rows == [
            (
                *(1, -1, 36_000_123_456, MOMENT + datetime.timedelta(hours=26)),
                MOMENT - datetime.timedelta(days=26),
                DAY + datetime.timedelta(days=26),
            )
        ]

    def test_keeps_utc_wherever_it_runs(self, tmp_path, monkeypatch):
        """Days begin at midnight UTC, and Arrow says so, in any time zone."""
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        with emulator(tmp_path) as port:
            result = (
                client(port, "propensity-local")
                .query(
                    "SELECT TIMESTAMP '2026-03-01 23:30:00' AS at, "
                    "DATE(TIMESTAMP '2026-03-01 23:30:00+00') AS day"
                )
                .result()
            )
            table = result.to_arrow(bqstorage_client=read_client(port))

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

    def test_shows_a_view_whole_while_it_is_replaced(self, warehouse):
        """Readers see the old text or the new one, with its dates and times."""
        warehouse.rows("CREATE TABLE t AS SELECT DATE '2026-03-01' AS day, 1 AS n")
        replaced = 10

        def view(number):
            warehouse.rows(
                f"CREATE OR REPLACE VIEW v AS SELECT SUM(n) AS n, {number} AS number, "
                f"TIMESTAMP '2026-03-01 00:00:{number:02d}+00:00' AS watermark FROM t "
                "WHERE day >= DATE '2026-03-01'"
            )

        def read(_):
            return warehouse.rows("SELECT n, number, watermark FROM v")

        view(0)
        with ThreadPoolExecutor(4) as pool:
            reading = pool.map(read, range(4 * replaced))
            for number in range(1, replaced):
                view(number)
            rows = [row for [row] in reading]

        midnight = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
        assert all(
            (n, at) == (1, midnight + datetime.timedelta(seconds=number))
            for n, number, at in rows
        )
        assert read(0)[0][1] == replaced - 1

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


class TestNames:
    @pytest.mark.parametrize(
        "sql",
        [
            "CREATE TABLE nowhere (a INT64)",
            "CREATE OR REPLACE TABLE nowhere AS SELECT 1 AS a",
            "CREATE VIEW nowhere AS SELECT 1 AS a",
            "DROP TABLE nowhere",
            "DROP VIEW IF EXISTS nowhere",
            "ALTER TABLE nowhere ADD COLUMN b INT64",
            "SELECT * FROM nowhere",
            "DELETE FROM nowhere WHERE TRUE",
        ],
    )
    def test_need_a_dataset_where_the_job_has_none(self, warehouse, sql):
        """In BigQuery's words, and not by an error of the emulator's own."""
        with pytest.raises(BadRequest, match="nowhere.* must be qualified with a data"):
            warehouse.client.query(sql, job_retry=None).result(job_retry=None)

    @pytest.mark.parametrize(
        "sql",
        [
            "CREATE TEMP FUNCTION more(x INT64) AS (x + 1); SELECT more(1)",
            "SELECT 2",
            "WITH t AS (SELECT 2 AS n) SELECT n FROM t",
        ],
    )
    def test_need_none_where_nothing_is_in_one(self, warehouse, sql):
        """Functions of a script, and names of its own."""
        rows = warehouse.client.query(sql, job_retry=None).result(job_retry=None)

        assert [tuple(row.values()) for row in rows] == [(2,)]

    def test_need_none_within_the_job_s_dataset(self, warehouse):
        """As it is with all statements of the project."""
        warehouse.job("CREATE TABLE here AS SELECT 1 AS a").result()

        assert warehouse.rows("SELECT a FROM here") == [(1,)]
