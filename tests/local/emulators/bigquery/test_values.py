"""Values in the emulator, specified: as parameters, in tables, and in results."""

from __future__ import annotations

import io
import uuid
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import NotFound
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
    def test_may_be_named_anew_by_a_dynamic_statement(self, warehouse):
        """EXECUTE IMMEDIATE … USING gives a name its own value."""
        rows = warehouse.rows(
            "EXECUTE IMMEDIATE 'SELECT @day' "
            "USING DATE_ADD(@day, INTERVAL 1 DAY) AS day",
            [Scalar("day", "DATE", DAY)],
        )

        assert rows == [(NEXT_DAY,)]


class TestNumbers:
    @pytest.mark.parametrize(
        ("expression", "value"),
        [
            ("a / b", "0.333333333"),
            ("-2 * a / (3 * a)", "-0.666666667"),
            ("large * 1000 * b", "3000000000000000000"),
            ("SAFE_MULTIPLY(large, b) - large * b", "0"),
            ("SAFE_MULTIPLY(large, large)", "None"),
            ("CAST(a / 8 AS STRING)", "0.125"),
        ],
    )
    def test_of_numeric_are_exact(self, warehouse, expression, value):
        """Products and quotients, to nine decimals, rounded half away from zero."""
        [(number,)] = warehouse.rows(
            f"SELECT {expression} FROM "
            "(SELECT NUMERIC '1' AS a, NUMERIC '3' AS b, NUMERIC '1e15' AS large)"
        )

        assert str(number) == value


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
