"""Values in the emulator, specified: as parameters, in tables, and in results."""

from __future__ import annotations

import datetime
import io
import uuid
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery

from tests.local.emulators.bigquery.conftest import (
    DAY,
    MOMENT,
    NEXT_DAY,
    Emulator,
    Scalar,
)

Array = bigquery.ArrayQueryParameter


class TestParameters:
    IDS = tuple(f"user-{number}" for number in range(1000))

    @pytest.mark.parametrize(
        ("condition", "answer"),
        [
            ("id IN UNNEST(@ids)", ["user-0", "user-999"]),
            ("id NOT IN UNNEST(@ids)", ["user-1000"]),
            ("id IN UNNEST(@none)", []),
            ("id NOT IN UNNEST(@none)", [None, "user-0", "user-1000", "user-999"]),
            ("(id IN UNNEST(@ids)) IS NULL", [None]),
            ("id IN UNNEST(@ids) AND n > 0", ["user-999"]),
            ("NOT (id IN UNNEST(@ids) OR n = 5)", ["user-1000"]),
        ],
    )
    def test_are_lists_of_a_thousand(self, warehouse, condition, answer):
        """IN UNNEST of a long, or empty, parameter says what it does in BigQuery."""
        warehouse.rows("CREATE TABLE t (id STRING, n INT64)")
        warehouse.rows(
            "INSERT INTO t VALUES ('user-0', 0), ('user-999', 1), ('user-1000', 2), "
            "(NULL, 3)"
        )

        rows = warehouse.rows(
            f"SELECT id FROM t WHERE {condition} ORDER BY id",
            [Array("ids", "STRING", self.IDS), Array("none", "STRING", [])],
        )

        assert [user_id for (user_id,) in rows] == answer

    def test_change_and_delete_by_a_list(self, warehouse):
        """UPDATE and DELETE take the rows that a list names."""
        warehouse.rows("CREATE TABLE t AS SELECT n FROM UNNEST([1, 2, 3, 4]) AS n")
        named = [Array("n", "INT64", [1, 2])]

        warehouse.rows("UPDATE t SET n = n + 10 WHERE n IN UNNEST(@n)", named)
        warehouse.rows("DELETE FROM t WHERE n NOT IN UNNEST(@n) AND n < 10", named)

        assert warehouse.rows("SELECT n FROM t ORDER BY n") == [(11,), (12,)]

    def test_may_be_named_anew_by_a_dynamic_statement(self, warehouse):
        """EXECUTE IMMEDIATE … USING gives a name its own value."""
        rows = warehouse.rows(
            "EXECUTE IMMEDIATE 'SELECT @day' "
            "USING DATE_ADD(@day, INTERVAL 1 DAY) AS day",
            [Scalar("day", "DATE", DAY)],
        )

        assert rows == [(NEXT_DAY,)]


@pytest.mark.long
class TestExports:
    EXPORT = """
        EXPORT DATA OPTIONS (
          uri = 'gs://{bucket}/exports/x/date=2026-03-01/part-*.parquet',
          format = 'PARQUET', overwrite = TRUE
        ) AS
        SELECT *, amount / 3 AS third FROM t WHERE day = @day ORDER BY user_id
    """

    def exported(self, workplace):
        with workplace.storage.client() as objects:
            blobs = list(objects.list_blobs(workplace.bucket, prefix="exports/"))
            return [
                (blob.name, pq.read_table(io.BytesIO(blob.download_as_bytes())))
                for blob in blobs
            ]

    def test_write_parquet_that_keeps_its_types(self, warehouse, workplace):
        """A day's rows go to the bucket, decimals, moments and arrays as they are."""
        warehouse.rows(
            "CREATE TABLE t (user_id STRING, day DATE, at TIMESTAMP, amount NUMERIC, "
            "tags ARRAY<STRING>, raw BYTES)"
        )
        warehouse.rows(
            "INSERT INTO t VALUES ('a', @day, @at, 10, ['x', 'y'], b'z'), "
            "('b', @day, NULL, NULL, [], NULL), "
            "('c', DATE '2026-03-02', @at, 1, [], b'')",
            [Scalar("day", "DATE", DAY), Scalar("at", "TIMESTAMP", MOMENT)],
        )
        export = self.EXPORT.format(bucket=workplace.bucket)

        for _ in range(2):  # the second run replaces what the first has written
            warehouse.rows(export, [Scalar("day", "DATE", DAY)])

        [(name, table)] = self.exported(workplace)
        assert name.startswith("exports/x/date=2026-03-01/part-")
        assert table.schema.types == [
            *(pa.string(), pa.date32(), pa.timestamp("us", "UTC")),
            *(pa.decimal128(38, 9), pa.list_(pa.field("element", pa.string()))),
            *(pa.binary(), pa.decimal128(38, 9)),
        ]
        columns = table.to_pydict()
        assert columns["at"] == [MOMENT, None]
        assert columns["third"] == [Decimal("3.333333333"), None]
        assert columns["tags"] == [["x", "y"], []]

    def test_go_to_buckets_only(self, warehouse):
        """A target that is no gs:// address is an error, and no file is made."""
        with pytest.raises(BadRequest, match="gs://"):
            warehouse.rows(
                "EXPORT DATA OPTIONS (uri = @uri, format = 'PARQUET') AS SELECT 1 AS n",
                [Scalar("uri", "STRING", "gs://bucket/part-*.parquet")],
            )


@pytest.mark.long
class TestResults:
    def test_of_old_queries_are_dropped(self, tmp_path):
        """A long-lived emulator keeps the newest results only, and keeps its speed."""
        with Emulator(tmp_path, "--keep-results", "3") as emulator:
            warehouse = emulator.client()
            jobs = []
            for number in range(6):
                jobs.append(warehouse.query(f"SELECT {number} AS n"))
                jobs[-1].result()

            kept = [row.n for row in warehouse.get_job(jobs[-1].job_id).result()]
            with pytest.raises(NotFound):
                warehouse.get_job(jobs[0].job_id)

        assert kept == [5]

    VALUES = """
        SELECT
          n,
          IF(n = 0, NULL, n) AS whole,
          CASE n WHEN 1 THEN CAST('NaN' AS FLOAT64) WHEN 2 THEN CAST('inf' AS FLOAT64)
            WHEN 3 THEN CAST('-inf' AS FLOAT64) ELSE n / 3 END AS fraction,
          MOD(n, 2) = 0 AS flag,
          CONCAT('é"\\\\', CHR(10), CAST(n AS STRING)) AS text,
          CAST(n AS NUMERIC) AS number,
          DATE_ADD(DATE '2026-01-01', INTERVAL n DAY) AS day,
          TIMESTAMP_MICROS(n) AS instant,
          CAST(CAST(n AS STRING) AS BYTES) AS octets,
          [n, n + 1] AS list,
          IF(n = 0, NULL, STRUCT(n AS a, ['x', 'y'] AS b)) AS record,
          [STRUCT(n AS a)] AS records
        FROM UNNEST(GENERATE_ARRAY(0, @last)) AS n
        ORDER BY n
    """

    def test_are_equal_in_pages_of_any_size(self, warehouse):
        """A value reads the same from a small page, a large one, and many."""
        last = 2999

        large = warehouse.job(self.VALUES, [Scalar("last", "INT64", last)])
        rows = [repr(row.values()) for row in large.result()]
        pages = [repr(row.values()) for row in large.result(page_size=700)]
        few = warehouse.rows(self.VALUES, [Scalar("last", "INT64", 9)])

        assert len(rows) == last + 1
        assert pages == rows
        assert [repr(row) for row in few] == rows[:10]
        assert few[5] == (
            5,
            5,
            5 / 3,
            False,
            'é"\\\n5',
            5,
            datetime.date(2026, 1, 6),
            datetime.datetime(1970, 1, 1, 0, 0, 0, 5, datetime.UTC),
            b"5",
            [5, 6],
            {"a": 5, "b": ["x", "y"]},
            [{"a": 5}],
        )

    def test_are_listed_with_their_jobs(self, warehouse):
        """INFORMATION_SCHEMA.JOBS and the list of jobs have what has run."""
        marked = f"SELECT '{uuid.uuid4()}' AS mark"
        job = warehouse.job(marked)
        job.result()

        rows = warehouse.rows(
            "SELECT job_id, state FROM `region-us`.INFORMATION_SCHEMA.JOBS "
            "WHERE query = @marked",
            [Scalar("marked", "STRING", marked)],
        )

        assert rows == [(job.job_id, "DONE")]
        listed = [one.job_id for one in warehouse.client.list_jobs(state_filter="done")]
        assert job.job_id in listed
