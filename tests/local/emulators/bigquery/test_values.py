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
    Scalar,
    client,
    emulator,
)

Array = bigquery.ArrayQueryParameter


class TestBytes:
    def test_are_stored_and_found(self, warehouse):
        """BYTES come back as they were, from literals and parameters, either way."""
        octets = bytes(range(256))
        warehouse.rows("CREATE TABLE t (id STRING, raw BYTES)")
        warehouse.rows(
            "INSERT INTO t VALUES ('a', @raw), ('b', b'\\xff\\x00'), ('c', NULL)",
            [Scalar("raw", "BYTES", octets)],
        )

        by_query = warehouse.rows("SELECT raw, LENGTH(raw) FROM t ORDER BY id")
        by_storage = (
            warehouse.job("SELECT raw FROM t ORDER BY id")
            .result()
            .to_arrow(bqstorage_client=warehouse.read_client())
        )
        rows = warehouse.rows(
            "SELECT id FROM t WHERE raw = @raw", [Scalar("raw", "BYTES", octets)]
        )

        assert by_query == [(octets, 256), (b"\xff\x00", 2), (None, None)]
        assert by_storage.schema.field("raw").type == pa.binary()
        assert by_storage["raw"].to_pylist() == [octets, b"\xff\x00", None]
        assert rows == [("a",)]


class TestArrays:
    @pytest.fixture
    def tiles(self, warehouse):
        warehouse.rows("CREATE TABLE tiles (user_id STRING, event_ids ARRAY<STRING>)")
        warehouse.rows("INSERT INTO tiles VALUES ('u', ['a', 'b']), ('v', [])")
        warehouse.rows("CREATE TABLE events (user_id STRING, event_id STRING)")
        warehouse.rows(
            "INSERT INTO events VALUES ('u', 'b'), ('u', 'c'), ('v', 'a'), ('w', 'a')"
        )
        return warehouse

    def test_grow_and_begin_in_a_merge(self, tiles):
        """MERGE extends the array of a row that is there and inserts one with a new."""
        tiles.rows(
            """
            MERGE tiles AS t
            USING (
              SELECT
                user_id, ARRAY_AGG(DISTINCT event_id ORDER BY event_id) AS event_ids
              FROM (SELECT * FROM events UNION ALL SELECT * FROM events)
              GROUP BY user_id
            ) AS s
            ON t.user_id = s.user_id
            WHEN MATCHED THEN
              UPDATE SET event_ids = ARRAY_CONCAT(t.event_ids, s.event_ids)
            WHEN NOT MATCHED THEN
              INSERT (user_id, event_ids) VALUES (s.user_id, s.event_ids)
            """
        )

        assert tiles.rows("SELECT * FROM tiles ORDER BY user_id") == [
            ("u", ["a", "b", "b", "c"]),
            ("v", ["a"]),
            ("w", ["a"]),
        ]

    @pytest.mark.parametrize(
        "query",
        [
            "SELECT e.* FROM events AS e WHERE NOT EXISTS ("
            "SELECT 1 FROM tiles AS t, UNNEST(t.event_ids) AS id "
            "WHERE t.user_id = e.user_id AND id = e.event_id)",
            "SELECT e.* FROM events AS e LEFT JOIN tiles AS t USING (user_id) "
            "WHERE NOT EXISTS "
            "(SELECT 1 FROM UNNEST(t.event_ids) AS id WHERE id = e.event_id)",
            "SELECT e.* FROM events AS e LEFT JOIN tiles AS t USING (user_id) "
            "WHERE t.user_id IS NULL OR e.event_id NOT IN UNNEST(t.event_ids)",
            "SELECT e.* FROM events AS e LEFT JOIN (SELECT user_id, id FROM tiles "
            "CROSS JOIN UNNEST(event_ids) AS id) AS t "
            "ON t.user_id = e.user_id AND t.id = e.event_id WHERE t.id IS NULL",
        ],
    )
    def test_tell_what_they_do_not_hold(self, tiles, query):
        """An anti-join with an array's elements finds what is not among them."""
        assert tiles.rows(f"{query} ORDER BY user_id, event_id") == [
            ("u", "c"),
            ("v", "a"),
            ("w", "a"),
        ]

    def test_join_their_own_row(self, tiles):
        """LEFT JOIN UNNEST keeps a row whose array is empty."""
        rows = tiles.rows(
            "SELECT t.user_id, id FROM tiles AS t LEFT JOIN UNNEST(t.event_ids) AS id "
            "ORDER BY user_id, id"
        )

        assert rows == [("u", "a"), ("u", "b"), ("v", None)]

    def test_collect_each_value_once(self, tiles):
        """ARRAY_AGG(DISTINCT x) has every value once, and no duplicate of a join."""
        [(rows,)] = tiles.rows(
            "SELECT ARRAY_AGG(DISTINCT e.event_id) FROM events AS e CROSS JOIN tiles"
        )

        assert sorted(rows) == ["a", "b", "c"]


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

    def test_are_exact_decimals(self, warehouse):
        """NUMERIC parameters, alone and in an array, keep all their digits."""
        largest = Decimal("99999999999999999999999999999.999999999")

        rows = warehouse.rows(
            "SELECT @x, SUM(y), COUNTIF(y < @x) FROM UNNEST(@ys) AS y",
            [
                Scalar("x", "NUMERIC", largest),
                Array("ys", "NUMERIC", [Decimal("0.1")] * 1000),
            ],
        )

        assert rows == [(largest, 100, 1000)]

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
        with emulator(tmp_path, "--keep-results", "3") as port:
            warehouse = client(port, "propensity-local")
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
