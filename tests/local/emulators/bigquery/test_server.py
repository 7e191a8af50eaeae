"""
The BigQuery emulator as local mode starts it, specified by what clients see of it.
"""

from __future__ import annotations

import datetime
import io
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import (
    BadRequest,
    Conflict,
    GoogleAPICallError,
    NotFound,
)
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
    BigQueryReadGrpcTransport,
)

from local.emulators.bigquery.rewriting import Rewrite
from local.emulators.bigquery.server import HOST
from local.processes import free_ports
from local.stack.starting import answers
from tests.conftest import new_workplace

MOMENT = datetime.datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=datetime.UTC)
DAY = datetime.date(2026, 3, 1)
NEXT_DAY = DAY + datetime.timedelta(days=1)
Array = bigquery.ArrayQueryParameter
Scalar = bigquery.ScalarQueryParameter


class Warehouse:
    """One test's dataset and the few verbs that its tests need."""

    def __init__(self, workplace):
        self.client = workplace.bigquery.client()
        self.read_client = workplace.bigquery.read_client
        self.dataset = workplace.dataset
        self.default = bigquery.DatasetReference(self.client.project, self.dataset)

    def job(self, sql, parameters=(), **options):
        config = bigquery.QueryJobConfig(
            default_dataset=self.default, query_parameters=list(parameters), **options
        )
        return self.client.query(sql, job_config=config, job_retry=None)

    def rows(self, sql, parameters=(), **options):
        found = self.job(sql, parameters, **options).result(job_retry=None)
        return [tuple(row.values()) for row in found]

    def load(self, table, name, **options):
        file = io.BytesIO()
        pq.write_table(table, file)
        file.seek(0)
        config = bigquery.LoadJobConfig(source_format="PARQUET", **options)
        destination = f"{self.client.project}.{self.dataset}.{name}"
        job = self.client.load_table_from_file(file, destination, job_config=config)
        return job.result().output_rows


@pytest.fixture
def warehouse(workplace):
    return Warehouse(workplace)


def scores(**probabilities):
    return pa.table(
        {"user_id": list(probabilities), "probability": list(probabilities.values())}
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

    def test_views_daily_tables_by_their_suffix(self, warehouse):
        """A view over ``events_*`` gives each row the suffix of its table."""
        for day in ("20260301", "20260302", "intraday_20260303"):
            warehouse.load(pa.table({"event_name": ["purchase"]}), f"events_{day}")
        warehouse.rows(
            "CREATE OR REPLACE VIEW ga_events AS SELECT e.*, _TABLE_SUFFIX AS day "
            f"FROM `{warehouse.dataset}.events_*` AS e"
        )

        found = warehouse.rows(
            "SELECT day FROM ga_events WHERE day BETWEEN @first AND @last ORDER BY day",
            [Scalar("first", "STRING", "20260301"), Scalar("last", "STRING", "202604")],
        )

        assert found == [("20260301",), ("20260302",)]

    def test_sees_a_daily_table_that_came_after_the_view(self, warehouse):
        """A new daily table is in the view without anything being said."""
        warehouse.load(pa.table({"n": [1]}), "events_20260301")
        warehouse.rows(
            "CREATE OR REPLACE VIEW v AS "
            f"SELECT e.*, _TABLE_SUFFIX AS day FROM `{warehouse.dataset}.events_*` AS e"
        )

        warehouse.load(pa.table({"n": [2]}), "events_20260302")

        assert warehouse.rows("SELECT COUNT(*) FROM v") == [(2,)]

    def test_keeps_equal_rows_of_a_wildcard(self, warehouse):
        """An event exported twice is two rows, within a day and between days."""
        for day in ("20260301", "20260302"):
            warehouse.load(pa.table({"n": [1, 1]}), f"events_{day}")

        found = warehouse.rows(f"SELECT COUNT(*) FROM `{warehouse.dataset}.events_*`")

        assert found == [(4,)]

    def test_matches_columns_of_a_wildcard_by_name(self, warehouse):
        """A column that came with a later day is null before, in any order."""
        warehouse.load(pa.table({"a": [1], "b": ["x"]}), "events_20260301")
        warehouse.load(pa.table({"c": [9], "b": ["y"], "a": [2]}), "events_20260302")

        found = warehouse.rows(
            f"SELECT a, b, c FROM `{warehouse.dataset}.events_*` ORDER BY a"
        )

        assert found == [(1, "x", None), (2, "y", 9)]

    def test_reads_many_days(self, warehouse):
        """The number of daily tables has no bound that a property reaches."""
        script = ";".join(
            f"CREATE TABLE events_{day} AS SELECT {day} AS n" for day in range(200)
        )
        warehouse.rows(script)

        found = warehouse.rows(f"SELECT SUM(n) FROM `{warehouse.dataset}.events_*`")

        assert found == [(sum(range(200)),)]

    def test_forgets_a_daily_table_that_is_dropped(self, warehouse):
        """A wildcard has the tables of now, whichever way one came or went."""
        count = f"SELECT COUNT(*) FROM `{warehouse.dataset}.events_*`"
        warehouse.load(pa.table({"n": [1]}), "events_20260301")
        assert warehouse.rows(count) == [(1,)]

        warehouse.rows("CREATE TABLE events_20260302 AS SELECT 2 AS n")
        assert warehouse.rows(count) == [(2,)]
        warehouse.client.delete_table(warehouse.default.table("events_20260301"))
        assert warehouse.rows(count) == [(1,)]
        warehouse.rows("DROP TABLE events_20260302; CREATE TABLE events_x (n INT64)")
        assert warehouse.rows(count) == [(0,)]

    VIEWED = "SELECT n, _TABLE_SUFFIX AS day FROM `{}.events_*` WHERE n < 9"
    ENDS = (Scalar("first", "STRING", "20260302"), Scalar("last", "STRING", "20260303"))

    @pytest.mark.parametrize(
        ("condition", "days"),
        [
            ("day BETWEEN @first AND @last", [2, 3]),
            ("day >= @first AND (v.day < @last)", [2]),
            ("@last = v.day", [3]),
            ("day IN (@first, '20260304')", [2, 4]),
            ("day > '20260303'", [4]),
            ("day BETWEEN '2027' AND '2028'", []),
            ("day = @first OR n = 4", [2, 4]),
            ("NOT day = @first", [1, 3, 4]),
            ("CONCAT(day, 'x') > @last", [3, 4]),
        ],
    )
    def test_bounds_a_view_by_the_suffix(self, warehouse, condition, days):
        """Whatever a query says of the suffix, it gets the rows that it asks for."""
        for day in (1, 2, 3, 4):
            warehouse.load(pa.table({"n": [day, 9]}), f"events_2026030{day}")
        view = self.VIEWED.format(warehouse.dataset)
        warehouse.rows(f"CREATE OR REPLACE VIEW v AS {view}")

        found = warehouse.rows(
            f"SELECT n FROM v WHERE {condition} ORDER BY n", self.ENDS
        )

        assert found == [(day,) for day in days]

    @pytest.mark.parametrize(
        ("view", "rows"),
        [
            ("SELECT n, _TABLE_SUFFIX AS day FROM events ORDER BY n LIMIT 1", []),
            (
                "SELECT SUM(n) OVER () AS n, _TABLE_SUFFIX AS day FROM events",
                [(10,)],
            ),
            ("SELECT SUM(n) AS n, MAX(_TABLE_SUFFIX) AS day FROM events", []),
        ],
    )
    def test_bounds_no_view_that_does_more_than_select(self, warehouse, view, rows):
        """A bound outside of LIMIT, a window or an aggregate is no bound within."""
        for day in (1, 2, 3, 4):
            warehouse.load(pa.table({"n": [day]}), f"events_2026030{day}")
        source = f"`{warehouse.dataset}.events_*`"
        warehouse.rows(f"CREATE OR REPLACE VIEW v AS {view.replace('events', source)}")

        assert warehouse.rows("SELECT n FROM v WHERE day = '20260302'") == rows

    def test_reads_no_table_outside_of_the_bounds(self, warehouse):
        """Daily tables that the bounds exclude may hold what the query cannot read."""
        warehouse.load(pa.table({"n": [{"not": "a number"}]}), "events_20260301")
        for day in (2, 3):
            warehouse.load(pa.table({"n": [day]}), f"events_2026030{day}")
        warehouse.rows(
            "CREATE OR REPLACE VIEW v AS SELECT CAST(n AS INT64) AS n, "
            f"_TABLE_SUFFIX AS day FROM `{warehouse.dataset}.events_*`"
        )

        found = warehouse.rows(
            "SELECT SUM(n) FROM v WHERE day BETWEEN @first AND @last", self.ENDS
        )

        assert found == [(5,)]

    UNITED = (
        "SELECT CAST(n AS INT64) AS n, day FROM ("
        "SELECT _TABLE_SUFFIX AS day, d.* FROM `{0}.events_*` AS d "
        "WHERE _TABLE_SUFFIX BETWEEN '0' AND '9' UNION ALL "
        "SELECT SUBSTR(_TABLE_SUFFIX, 10) AS day, i.* FROM `{0}.events_*` AS i "
        "WHERE _TABLE_SUFFIX BETWEEN 'intraday_0' AND 'intraday_9' "
        "AND CONCAT('events_', SUBSTR(_TABLE_SUFFIX, 10)) NOT IN "
        "(SELECT table_name FROM `{0}.INFORMATION_SCHEMA.TABLES`))"
    )

    def test_bounds_both_parts_of_a_union_by_the_end_of_the_suffix(self, warehouse):
        """Tables that the bounds exclude may hold what the query cannot read: daily
        ones, and others by what their suffix ends with."""
        unread = pa.table({"n": [{"not": "a number"}]})
        for name in ("20260301", "intraday_20260301"):
            warehouse.load(unread, f"events_{name}")
        warehouse.load(pa.table({"n": [2]}), "events_20260302")
        # Not read either: the day has a daily table.
        warehouse.load(pa.table({"n": [9]}), "events_intraday_20260302")
        warehouse.load(pa.table({"new": ["x"], "n": [3]}), "events_intraday_20260303")
        warehouse.rows(
            f"CREATE OR REPLACE VIEW v AS {self.UNITED.format(warehouse.dataset)}"
        )

        found = warehouse.rows(
            "SELECT day, n FROM v WHERE day BETWEEN @first AND @last ORDER BY day",
            self.ENDS,
        )

        assert found == [("20260302", 2), ("20260303", 3)]

    def test_lists_tables_by_name(self, warehouse):
        """INFORMATION_SCHEMA has every table and view of a dataset, as they are now."""
        warehouse.load(pa.table({"n": [1]}), "a")
        warehouse.rows("CREATE VIEW v AS SELECT 1 AS n")
        sql = (
            "SELECT table_schema, table_name, table_type, is_insertable_into, "
            "creation_time > TIMESTAMP '2020-01-01' FROM INFORMATION_SCHEMA.TABLES "
            "ORDER BY table_name"
        )
        schema = warehouse.dataset.rpartition(".")[2]

        assert warehouse.rows(sql) == [
            (schema, "a", "BASE TABLE", "YES", True),
            (schema, "v", "VIEW", "NO", True),
        ]
        warehouse.rows("DROP TABLE a")
        assert [name for _, name, *_ in warehouse.rows(sql)] == ["v"]

    def test_tells_when_rows_changed_last(self, warehouse):
        """A load that replaces rows by as many changes the time, a query does not."""
        rows = pa.table({"n": [1, 2]})
        times = []
        for replaced in (False, True):
            if replaced:
                truncate = {"write_disposition": "WRITE_TRUNCATE"}
                warehouse.load(rows, "events_20260301", **truncate)
            else:
                warehouse.load(rows, "events_20260301")
            warehouse.rows("SELECT COUNT(*) FROM events_20260301")
            name = f"{warehouse.client.project}.{warehouse.dataset}.events_20260301"
            times.append(warehouse.client.get_table(name).modified)
        again = warehouse.client.get_table(name).modified

        assert times[0] < times[1] == again

    def test_has_the_newest_columns_within_any_bounds(self, warehouse):
        """A column that only newer tables have is null in the older ones."""
        warehouse.load(pa.table({"n": [1]}), "events_20260302")
        warehouse.load(pa.table({"n": [2], "new": ["x"]}), "events_20260304")

        found = warehouse.rows(
            f"SELECT n, new FROM `{warehouse.dataset}.events_*` "
            "WHERE _TABLE_SUFFIX BETWEEN @first AND @last",
            self.ENDS,
        )

        assert found == [(1, None)]

    def test_views_views(self, warehouse):
        """A view on a view on a wildcard is as fresh, also by an alias."""
        warehouse.load(pa.table({"n": [1]}), "events_20260301")
        warehouse.rows(
            f"CREATE OR REPLACE VIEW inner_v AS WITH days AS (SELECT * FROM "
            f"`{warehouse.dataset}.events_*`) SELECT n FROM days"
        )
        warehouse.rows("CREATE OR REPLACE VIEW outer_v AS SELECT n FROM inner_v")
        warehouse.load(pa.table({"n": [2]}), "events_20260302")

        found = warehouse.rows(
            "WITH x AS (SELECT o.n FROM outer_v AS o) SELECT SUM(x.n) FROM x"
        )

        assert found == [(3,)]

    def test_calls_table_functions(self, warehouse):
        """A table function takes its arguments as parameters of the query."""
        warehouse.load(scores(a=0.1, b=0.9), "t")
        warehouse.rows(
            "CREATE OR REPLACE TABLE FUNCTION above(least FLOAT64) AS "
            f"SELECT * FROM `{warehouse.dataset}.t` WHERE probability >= least"
        )

        found = warehouse.rows(
            f"SELECT user_id FROM `{warehouse.dataset}.above`(@least)",
            [Scalar("least", "FLOAT64", 0.5)],
        )

        assert found == [("b",)]

    def test_unnests_an_array_parameter(self, warehouse):
        """``UNNEST(@as_ofs)`` gives one row a date."""
        dates = bigquery.ArrayQueryParameter("as_ofs", "DATE", [DAY, NEXT_DAY])

        found = warehouse.rows("SELECT d FROM UNNEST(@as_ofs) AS d ORDER BY d", [dates])

        assert found == [(DAY,), (NEXT_DAY,)]

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
        found = warehouse.rows(
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

        assert found == [("u", "a", 1), ("u", "b", 3)]

    def test_turns_columns_into_rows_and_back(self, warehouse):
        """Each row meets structs made of its own columns; MAX(IF()) pivots them."""
        warehouse.rows("CREATE TABLE t (id STRING, x NUMERIC, y NUMERIC)")
        warehouse.rows("INSERT INTO t VALUES ('u', 2, 3.5), ('v', 5, NULL)")
        unpivoted = """
            SELECT t.id, m.measure, m.n
            FROM t
            CROSS JOIN UNNEST([STRUCT('a' AS measure, x AS n), STRUCT('b', y * 2)]) AS m
        """

        found = warehouse.rows(
            "SELECT id, MAX(IF(measure = 'a', n, NULL)), "
            "MAX(IF(measure = 'b', n, NULL)) "
            f"FROM ({unpivoted}) GROUP BY id ORDER BY id"
        )

        assert found == [("u", 2, 7), ("v", 5, None)]

    def test_reads_values_out_of_json_text(self, warehouse):
        """JSON_VALUE has the text of a scalar; of anything else, or nothing, null."""
        found = warehouse.rows(
            """
            SELECT
              JSON_VALUE(t, '$.V1'), CAST(JSON_VALUE(t, '$.V1') AS FLOAT64),
              JSON_VALUE(t, '$.deep.er'), JSON_VALUE(t, '$.deep'), JSON_VALUE(t, '$.no')
            FROM UNNEST([@text, '{}', NULL]) AS t WITH OFFSET AS i
            ORDER BY i
            """,
            [Scalar("text", "STRING", '{"V1": -1.359807, "deep": {"er": "é\\n"}}')],
        )

        assert found == [
            ("-1.359807", -1.359807, "é\n", None, None),
            (None,) * 5,
            (None,) * 5,
        ]

    def test_calculates_with_timestamps(self, warehouse):
        """Differences are whole units cut off; an interval may be a parameter."""
        found = warehouse.rows(
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

        assert found == [
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
        asked = "SELECT *, n * @k AS more FROM t"

        def answer(kind, value, **options):
            job = warehouse.job(asked, [Scalar("k", kind, value)], **options)
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
        listed = "SELECT column_name FROM INFORMATION_SCHEMA.COLUMNS ORDER BY 1"
        warehouse.rows("CREATE TABLE t AS SELECT 1 AS a")
        before = warehouse.rows(listed)
        warehouse.rows("CREATE TABLE u AS SELECT 1 AS b")

        assert (before, warehouse.rows(listed)) == ([("a",)], [("a",), ("b",)])

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
            found = [row for [row] in reading]

        midnight = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
        assert all(
            (n, at) == (1, midnight + datetime.timedelta(seconds=number))
            for n, number, at in found
        )
        assert read(0)[0][1] == replaced - 1


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
        found = warehouse.rows(
            "SELECT id FROM t WHERE raw = @raw", [Scalar("raw", "BYTES", octets)]
        )

        assert by_query == [(octets, 256), (b"\xff\x00", 2), (None, None)]
        assert by_storage.schema.field("raw").type == pa.binary()
        assert by_storage["raw"].to_pylist() == [octets, b"\xff\x00", None]
        assert found == [("a",)]


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
        found = tiles.rows(
            "SELECT t.user_id, id FROM tiles AS t LEFT JOIN UNNEST(t.event_ids) AS id "
            "ORDER BY user_id, id"
        )

        assert found == [("u", "a"), ("u", "b"), ("v", None)]

    def test_collect_each_value_once(self, tiles):
        """ARRAY_AGG(DISTINCT x) has every value once, and no duplicate of a join."""
        [(found,)] = tiles.rows(
            "SELECT ARRAY_AGG(DISTINCT e.event_id) FROM events AS e CROSS JOIN tiles"
        )

        assert sorted(found) == ["a", "b", "c"]


class TestParameters:
    IDS = tuple(f"user-{number}" for number in range(1000))

    @pytest.mark.parametrize(
        ("condition", "found"),
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
    def test_are_lists_of_a_thousand(self, warehouse, condition, found):
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

        assert [user_id for (user_id,) in rows] == found

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

        found = warehouse.rows(
            "SELECT @x, SUM(y), COUNTIF(y < @x) FROM UNNEST(@ys) AS y",
            [
                Scalar("x", "NUMERIC", largest),
                Array("ys", "NUMERIC", [Decimal("0.1")] * 1000),
            ],
        )

        assert found == [(largest, 100, 1000)]

    def test_may_be_named_anew_by_a_dynamic_statement(self, warehouse):
        """EXECUTE IMMEDIATE … USING gives a name its own value."""
        found = warehouse.rows(
            "EXECUTE IMMEDIATE 'SELECT @day' "
            "USING DATE_ADD(@day, INTERVAL 1 DAY) AS day",
            [Scalar("day", "DATE", DAY)],
        )

        assert found == [(NEXT_DAY,)]


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


class TestTranslations:
    """A text is translated once while tables are what they were."""

    def test_that_are_remembered_see_the_rows_of_now(self, warehouse):
        """Rows come and go, by statements that are repeated as well."""
        warehouse.rows("CREATE TABLE t (n INT64)")
        add = "INSERT INTO t VALUES (@n)"
        found = []
        for n in range(3):
            warehouse.rows(add, [Scalar("n", "INT64", n)])
            found.append(warehouse.rows("SELECT SUM(n), COUNT(*) FROM t"))
        warehouse.rows("DELETE FROM t WHERE n > @n", [Scalar("n", "INT64", 0)])

        assert found == [[(0, 1)], [(1, 2)], [(3, 3)]]
        assert warehouse.rows("SELECT SUM(n), COUNT(*) FROM t") == [(0, 1)]

    @pytest.mark.parametrize(
        "change",
        [
            "ALTER TABLE t ADD COLUMN word STRING",
            "CREATE OR REPLACE TABLE t AS SELECT 1 AS n, 'x' AS word",
            "DROP TABLE t; CREATE TABLE t (n INT64, word STRING)",
            "CREATE OR REPLACE VIEW v AS SELECT 1 AS n, 'x' AS word",
        ],
    )
    def test_are_made_anew_when_a_table_changes(self, warehouse, change):
        """Alone, after rows in one script, or of a view."""
        warehouse.rows("CREATE TABLE t (n INT64); CREATE VIEW v AS SELECT * FROM t")
        before = warehouse.rows("SELECT * FROM v")
        warehouse.rows(f"INSERT INTO t VALUES (7); {change}")
        job = warehouse.job("SELECT * FROM v")

        assert before == []
        assert [field.name for field in job.result().schema] == ["n", "word"]

    def test_of_a_script_are_made_anew_when_a_table_changes(self, warehouse):
        """One whose tables are temporary, too, and that makes the same tables again."""
        script = (
            "CREATE TEMP TABLE chosen AS SELECT * FROM t; "
            "CREATE OR REPLACE TABLE copied AS SELECT * FROM chosen;"
        )
        found = []
        for columns in ("1 AS n", "1 AS n", "2 AS n, 'x' AS word"):
            warehouse.rows(f"CREATE OR REPLACE TABLE t AS SELECT {columns}")
            warehouse.rows(script)
            found.append(warehouse.rows("SELECT * FROM copied"))

        assert found == [[(1,)], [(1,)], [(2, "x")]]

    def test_of_one_dataset_hold_for_another_like_it(
        self, emulators, bigquery_emulator, warehouse
    ):
        """Each reads its own tables and view; one whose columns differ, too. A view of
        a third goes on to read what it names."""

        def made(columns):
            place = Warehouse(new_workplace(emulators, bigquery_emulator))
            place.rows(f"CREATE TABLE t AS SELECT {columns}")
            place.rows("CREATE VIEW v AS SELECT * FROM t")
            return place

        places = [made(columns) for columns in ("1 AS n", "2 AS n", "'x' AS n")]
        warehouse.rows(f"CREATE VIEW first AS SELECT n FROM {places[0].dataset}.t")
        third = f"SELECT f.n, t.n FROM {warehouse.dataset}.first AS f, t"

        assert [place.rows("SELECT n FROM v JOIN t USING (n)") for place in places] == [
            [(1,)],
            [(2,)],
            [("x",)],
        ]
        assert [place.rows(third) for place in places] == [
            [(1, 1)],
            [(1, 2)],
            [(1, "x")],
        ]

    def test_hold_while_rows_are_loaded(self, warehouse):
        """Those of a load, of the same columns or of one more."""
        query = "SELECT * FROM t ORDER BY n"
        found = []
        for number in (1, 2, 3):
            table = pa.table({"n": [number]})
            warehouse.load(table, "t")
            found.append(warehouse.rows(query))
        wider = pa.table({"n": [4], "word": ["x"]})
        warehouse.load(wider, "t", schema_update_options=["ALLOW_FIELD_ADDITION"])

        assert found == [[(1,)], [(1,), (2,)], [(1,), (2,), (3,)]]
        assert warehouse.rows(query)[2:] == [(3, None), (4, "x")]

    def test_of_a_wildcard_hold_for_the_days_that_are_asked_for(self, warehouse):
        """The same text reads other tables by other parameters, and those of now."""
        query = (
            f"SELECT SUM(n) FROM `{warehouse.dataset}.events_*` "
            "WHERE _TABLE_SUFFIX >= @first"
        )

        def total(first):
            [(found,)] = warehouse.rows(query, [Scalar("first", "STRING", first)])
            return found

        for day in (1, 2):
            warehouse.load(pa.table({"n": [day]}), f"events_2026030{day}")
        days = ("20260302", "20260301", "20260303", "20260302")
        before = [total(day) for day in days]
        warehouse.load(pa.table({"n": [3]}), "events_20260303")

        assert before == [2, 3, None, 2]
        assert [total(day) for day in days] == [5, 6, 3, 5]

    def test_hold_for_a_type_of_parameters(self, warehouse):
        """The same text with parameters of other types is another statement."""
        query = "SELECT @x / 2"

        assert warehouse.rows(query, [Scalar("x", "INT64", 3)]) == [(1.5,)]
        [(numeric,)] = warehouse.rows(query, [Scalar("x", "NUMERIC", Decimal(3))])
        assert (type(numeric), numeric) == (Decimal, Decimal("1.5"))


@pytest.mark.long
class TestTransactions:
    SCRIPT = """
        BEGIN TRANSACTION;
        DELETE FROM history WHERE day = @day;
        INSERT INTO history (day, user_id, probability)
        SELECT @day, user_id, probability FROM staging;
        MERGE current AS c
        USING staging AS s
        ON c.user_id = s.user_id
        WHEN MATCHED THEN UPDATE SET probability = s.probability
        WHEN NOT MATCHED THEN
          INSERT (user_id, probability) VALUES (s.user_id, s.probability);
        {last}
        COMMIT TRANSACTION;
    """
    PARAMETERS = (Scalar("day", "DATE", DAY),)

    @pytest.fixture
    def published(self, warehouse):
        warehouse.rows("CREATE TABLE current (user_id STRING, probability FLOAT64)")
        warehouse.rows(
            "CREATE TABLE history (day DATE, user_id STRING, probability FLOAT64)"
        )
        warehouse.rows("INSERT INTO current VALUES ('a', 0.5), ('z', 0.9)")
        warehouse.rows("INSERT INTO history VALUES (DATE '2026-03-01', 'a', 0.5)")
        warehouse.load(scores(a=0.1, b=0.2), "staging")
        return warehouse

    def test_commit_together(self, published):
        """DELETE, INSERT and MERGE of one script are seen together or not at all."""
        published.rows(self.SCRIPT.format(last=""), self.PARAMETERS)

        assert published.rows("SELECT * FROM current ORDER BY user_id") == [
            ("a", 0.1),
            ("b", 0.2),
            ("z", 0.9),
        ]
        assert published.rows("SELECT user_id FROM history ORDER BY user_id") == [
            ("a",),
            ("b",),
        ]

    @pytest.mark.parametrize(
        "last", ["SELECT ERROR('stop');", "INSERT INTO current SELECT 1 / 0, 'x';"]
    )
    def test_roll_back_on_an_error(self, published, last):
        """An error in the last statement leaves both tables as they were."""
        with pytest.raises(GoogleAPICallError):
            published.rows(self.SCRIPT.format(last=last), self.PARAMETERS)

        assert published.rows("SELECT * FROM current ORDER BY user_id") == [
            ("a", 0.5),
            ("z", 0.9),
        ]
        assert published.rows("SELECT user_id, probability FROM history") == [
            ("a", 0.5)
        ]


@pytest.mark.long
class TestConcurrency:
    THREADS = 16

    def test_queues_statements_on_one_table(self, warehouse):
        """Sixteen clients merge into one table at once: none fails, none is lost."""
        warehouse.rows("CREATE TABLE t (user_id STRING, n INT64)")
        warehouse.rows("INSERT INTO t VALUES ('shared', 0)")

        def merge(number):
            warehouse.rows(
                """
                MERGE t USING (SELECT @own AS user_id UNION ALL SELECT 'shared') AS s
                ON t.user_id = s.user_id
                WHEN MATCHED THEN UPDATE SET n = t.n + 1
                WHEN NOT MATCHED THEN INSERT (user_id, n) VALUES (s.user_id, 1)
                """,
                [Scalar("own", "STRING", f"u{number}")],
            )
            return warehouse.rows("SELECT COUNT(*) >= 1 FROM t")

        with ThreadPoolExecutor(self.THREADS) as pool:
            answers_ = list(pool.map(merge, range(2 * self.THREADS)))

        assert answers_ == [[(True,)]] * (2 * self.THREADS)
        assert warehouse.rows("SELECT n FROM t WHERE user_id = 'shared'") == [(32,)]
        assert warehouse.rows("SELECT COUNT(*) FROM t") == [(33,)]

    def test_takes_loads_scripts_and_queries_at_once(self, warehouse):
        """Loads, scripts and reads of different tables do not disturb each other."""

        def work(number):
            name = f"events_202603{number:02d}"
            rows = pa.table({"user_id": [f"u{i}" for i in range(50)]})
            for _ in range(2):
                warehouse.load(rows, name, write_disposition="WRITE_TRUNCATE")
            warehouse.rows(
                f"BEGIN TRANSACTION; DELETE FROM {name} WHERE user_id = @u;"
                f" INSERT INTO {name} VALUES ('x'), ('y'); COMMIT TRANSACTION;",
                [Scalar("u", "STRING", "u0")],
            )
            return warehouse.rows(f"SELECT COUNT(*) FROM {name}")

        with ThreadPoolExecutor(self.THREADS) as pool:
            counts = list(pool.map(work, range(1, self.THREADS + 1)))

        assert counts == [[(51,)]] * self.THREADS
        total = f"SELECT COUNT(*) FROM `{warehouse.dataset}.events_*`"
        assert warehouse.rows(total) == [(51 * self.THREADS,)]

    def test_accepts_a_job_id_once(self, warehouse):
        """Of sixteen requests with one job id, one runs and fifteen get 409."""
        warehouse.rows("CREATE TABLE t (n INT64)")
        job_id = f"once-{uuid.uuid4()}"

        def submit(_):
            config = bigquery.QueryJobConfig(default_dataset=warehouse.default)
            try:
                warehouse.client.query(
                    "INSERT INTO t VALUES (1)",
                    job_config=config,
                    job_id=job_id,
                    job_retry=None,
                    retry=None,
                ).result()
            except Conflict as error:
                return error.code
            return 200

        with ThreadPoolExecutor(self.THREADS) as pool:
            codes = sorted(pool.map(submit, range(self.THREADS)))

        assert codes == [200] + [409] * (self.THREADS - 1)
        assert warehouse.rows("SELECT COUNT(*) FROM t") == [(1,)]

    COLUMNS = ", ".join(f"x{number} FLOAT64" for number in range(40))
    REPLACE = """
        MERGE t USING (
          SELECT @owner AS owner, n, @round AS round
          FROM UNNEST(GENERATE_ARRAY(1, 8)) AS n
        ) AS s ON FALSE
        WHEN NOT MATCHED BY SOURCE AND t.owner = @owner THEN DELETE
        WHEN NOT MATCHED THEN INSERT (owner, n, round) VALUES (s.owner, s.n, s.round)
    """

    def test_shows_each_client_all_that_it_has_written(self, tmp_path):
        """
        Each client reads back at once, and whole, what it has just replaced.

        By REST and by the Storage Read API, while others do the same and old results
        are dropped by the hundred.
        """
        clients, rounds = 6, 6
        with emulator(tmp_path, "--keep-results", "20") as port:
            warehouse = client(port, "propensity-local")
            warehouse.create_dataset("d")
            warehouse.query(
                f"CREATE TABLE d.t (owner STRING, n INT64, round INT64, {self.COLUMNS})"
            ).result()

            def write_and_read(owner):
                own = client(port, "propensity-local")
                own_reader = read_client(port)
                seen = []
                for number in range(rounds):
                    config = bigquery.QueryJobConfig(
                        default_dataset="propensity-local.d",
                        query_parameters=[
                            Scalar("owner", "STRING", owner),
                            Scalar("round", "INT64", number),
                        ],
                    )
                    own.query(self.REPLACE, job_config=config).result()
                    read = "SELECT * FROM t WHERE owner = @owner ORDER BY n"
                    by_rest = own.query(read, job_config=config).result()
                    seen.append([(row.n, row.round) for row in by_rest])
                    by_storage = own.query(read, job_config=config).result()
                    table = by_storage.to_arrow(bqstorage_client=own_reader)
                    columns = (table["n"].to_pylist(), table["round"].to_pylist())
                    seen.append(list(zip(*columns, strict=True)))
                return seen

            with ThreadPoolExecutor(clients) as pool:
                found = list(pool.map(write_and_read, map(str, range(clients))))

        whole = [
            [(n, number) for n in range(1, 9)]
            for number in range(rounds)
            for _ in ("REST", "Storage")
        ]
        assert found == [whole] * clients


class TestErrors:
    def test_are_named(self, warehouse):
        """A mistake in the SQL is a 400 that says what is wrong."""
        with pytest.raises(BadRequest, match="Unrecognized name: nope"):
            warehouse.rows("SELECT nope FROM (SELECT 1 AS yes)")

    def test_of_its_own_are_not_retried(self, warehouse):
        """A failure inside the emulator comes back in a moment, as a 501."""
        address = f"/projects/{warehouse.client.project}/queries"

        began = time.monotonic()
        with pytest.raises(GoogleAPICallError) as caught:
            # A parameter whose type says nothing is beyond the emulator.
            warehouse.client._call_api(
                bigquery.DEFAULT_RETRY,
                method="POST",
                path=address,
                data={
                    "query": "SELECT @x",
                    "useLegacySql": False,
                    "queryParameters": [
                        {
                            "name": "x",
                            "parameterType": {"type": "NUMERIC"},
                            "parameterValue": {"value": "not a number"},
                        }
                    ],
                },
            )

        assert caught.value.code in (400, 501)
        assert time.monotonic() - began < 30


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

        found = warehouse.rows(
            "SELECT job_id, state FROM `region-us`.INFORMATION_SCHEMA.JOBS "
            "WHERE query = @marked",
            [Scalar("marked", "STRING", marked)],
        )

        assert found == [(job.job_id, "DONE")]
        listed = [one.job_id for one in warehouse.client.list_jobs(state_filter="done")]
        assert job.job_id in listed


@pytest.mark.long
class TestRestart:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_keeps_every_project(self, tmp_path, number):
        """Tables and views of every project are there again, whatever ended it."""
        with emulator(tmp_path) as port:
            for project in ("propensity-local", "other-project"):
                fill(client(port, project))
            stop(port, number)

        with emulator(tmp_path) as port:
            for project in ("propensity-local", "other-project"):
                found = client(port, project).query("SELECT n FROM kept.v").result()
                assert [row.n for row in found] == [42]

    def test_says_that_its_folder_is_in_use(self, tmp_path):
        """A second emulator on the same folder ends at once and says why."""
        with emulator(tmp_path):
            ports = free_ports(2)
            second = subprocess.run(
                command(tmp_path, *ports),
                check=False,
                capture_output=True,
                text=True,
                timeout=60,
            )

        assert second.returncode != 0
        assert "lock" in second.stderr

    def test_ends_with_its_parent(self, tmp_path):
        """An emulator that a program started goes when the program is killed."""
        ports = free_ports(2)
        arguments = command(tmp_path, *ports)
        program = subprocess.Popen(
            [
                *(sys.executable, "-c"),
                "import os, subprocess, sys, time\n"
                "subprocess.Popen([*sys.argv[1:], '--parent', str(os.getpid())])\n"
                "time.sleep(600)",
                *arguments,
            ]
        )
        wait_until(lambda: answers(f"http://127.0.0.1:{ports[0]}/docs"))

        program.kill()
        program.wait()

        wait_until(lambda: not answers(f"http://127.0.0.1:{ports[0]}/docs"))


class TestRewrite:
    def test_refuses_another_release(self):
        """A rewrite that finds nothing to do says so: the release is another one."""
        with pytest.raises(ImportError, match="not that of local-bigquery"):
            Rewrite("old", "new").apply("something else", module="m")


RUNNING: dict[int, subprocess.Popen] = {}
RUNNING_GRPC: dict[int, int] = {}


def command(folder: Path, port: int, grpc_port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "local.emulators.bigquery"),
        *("--port", str(port), "--grpc-port", str(grpc_port)),
        *("--project", "propensity-local", "--data-dir", str(folder)),
    ]


class emulator:
    """An emulator of its own for a test that stops it; gone after the block."""

    def __init__(self, folder: Path, *options: str):
        self.folder, self.options = folder, options

    def __enter__(self) -> int:
        self.port, grpc_port = free_ports(2)
        RUNNING_GRPC[self.port] = grpc_port
        process = subprocess.Popen(
            [*command(self.folder, self.port, grpc_port), *self.options]
        )
        RUNNING[self.port] = process
        wait_until(lambda: answers(f"http://127.0.0.1:{self.port}/docs"))
        return self.port

    def __exit__(self, *_):
        process = RUNNING.pop(self.port)
        process.kill()
        process.wait()


def stop(port: int, number: signal.Signals) -> None:
    RUNNING[port].send_signal(number)
    RUNNING[port].wait(timeout=20)


def client(port: int, project: str) -> bigquery.Client:
    from google.auth.credentials import AnonymousCredentials

    return bigquery.Client(
        project=project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://127.0.0.1:{port}"},
    )


def read_client(port: int) -> BigQueryReadClient:
    """Return a client of the Storage API of the emulator with this REST port."""
    address = f"{HOST}:{RUNNING_GRPC[port]}"
    channel = grpc.insecure_channel(address)
    return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))


def fill(warehouse: bigquery.Client) -> None:
    warehouse.create_dataset("kept")
    warehouse.query("CREATE TABLE kept.t AS SELECT 42 AS n").result()
    warehouse.query("CREATE VIEW kept.v AS SELECT n FROM kept.t").result()


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
