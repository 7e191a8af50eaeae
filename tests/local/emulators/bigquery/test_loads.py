"""Load jobs of the BigQuery emulator, specified by what arrives in the table."""

from __future__ import annotations

import gzip
import io

import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud.bigquery import ExtractJobConfig, LoadJobConfig, SchemaField

SCHEMA = [
    SchemaField("n", "INT64", mode="REQUIRED"),
    SchemaField("word", "STRING"),
    SchemaField("inside", "RECORD", fields=[SchemaField("x", "INT64")]),
]


def load(warehouse, rows: bytes, **options) -> int:
    config = LoadJobConfig(
        source_format="NEWLINE_DELIMITED_JSON", schema=SCHEMA, **options
    )
    job = warehouse.client.load_table_from_file(
        io.BytesIO(rows), warehouse.full_name("t"), job_config=config
    )
    return job.result().output_rows


class TestRowsOfJson:
    @pytest.mark.parametrize(
        ("row", "field"),
        [
            (b'{"n": 1, "other": 2}', "other"),
            (b'{"n": 1, "other": null}', "other"),
            (b'{"n": 1, "inside": {"x": 1, "y": 2}}', "inside.y"),
            # BigQuery takes any case; here another one is refused, and never lost.
            (b'{"n": 1, "Word": "x"}', "Word"),
        ],
    )
    def test_with_a_field_that_the_schema_has_not_are_refused(
        self, warehouse, row, field
    ):
        """By its name, in any row; nothing is loaded."""
        with pytest.raises(BadRequest, match=f"No such field: {field}"):
            load(warehouse, b'{"n": 0}\n' + row)
        with pytest.raises(NotFound):
            warehouse.client.get_table(warehouse.full_name("t"))

    def test_may_have_more_fields_where_that_is_said(self, warehouse):
        """They are left out, as asked."""
        assert load(warehouse, b'{"n": 1, "y": 2}', ignore_unknown_values=True) == 1
        assert warehouse.rows("SELECT n, word, inside.x FROM t") == [(1, None, None)]

    def test_without_a_required_field_are_refused(self, warehouse):
        """And not loaded as null; a bad record may be left out if that is said."""
        rows = b'{"n": 1}\n{"word": "x"}\n{"n": null}'
        with pytest.raises(BadRequest, match="errors: 2"):
            load(warehouse, rows)

        assert load(warehouse, rows, max_bad_records=2) == 1
        assert warehouse.rows("SELECT n FROM t") == [(1,)]


class TestObjects:
    def load(self, warehouse, uri, **options):
        config = LoadJobConfig(**options)
        job = warehouse.client.load_table_from_uri(
            uri, warehouse.full_name("back"), job_config=config
        )
        return job.result().output_rows

    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("PARQUET", {}),
            ("CSV", {"skip_leading_rows": 1}),
            ("NEWLINE_DELIMITED_JSON", {}),
        ],
    )
    def test_that_were_extracted_are_loaded_again(
        self, warehouse, workplace, kind, options
    ):
        """Each format gives the rows that were written."""
        rows = "SELECT DATE '2026-03-01' + n AS day, n FROM UNNEST([1, 2, 3]) AS n"
        warehouse.rows(f"CREATE TABLE t AS {rows}")
        uri = f"gs://{workplace.bucket}/out/t-*.x"
        config = ExtractJobConfig(destination_format=kind)
        warehouse.client.extract_table(
            warehouse.full_name("t"), uri, job_config=config
        ).result()
        schema = [SchemaField("day", "DATE"), SchemaField("n", "INT64")]
        loaded = self.load(warehouse, uri, source_format=kind, schema=schema, **options)

        assert loaded == 3
        assert warehouse.rows("SELECT * FROM back ORDER BY n") == warehouse.rows(rows)

    def test_are_those_of_a_pattern(self, warehouse, bucket):
        """A star is any text, a slash too; what is packed is unpacked."""
        for number, name in enumerate(["in/a.csv", "in/b/c.csv", "in/d.txt", "x.csv"]):
            bucket.blob(name).upload_from_string(f"{number}\n")
        bucket.blob("in/z.csv").upload_from_string(gzip.compress(b"9\n"))
        loaded = self.load(
            warehouse,
            f"gs://{bucket.name}/in/*.csv",
            source_format="CSV",
            schema=[SchemaField("n", "INT64")],
        )

        assert loaded == 3
        assert warehouse.rows("SELECT n FROM back ORDER BY n") == [(0,), (1,), (9,)]

    @pytest.mark.parametrize("name", ["none.csv", "none-*.csv"])
    def test_that_are_not_there_are_not_found(self, warehouse, bucket, name):
        """By their address."""
        with pytest.raises(NotFound, match="Not found: URI gs://"):
            self.load(warehouse, f"gs://{bucket.name}/{name}", source_format="CSV")


class TestCreatedTables:
    def test_are_the_destination_of_their_job(self, warehouse):
        """Where dbt looks for the table of a model; the result has no rows."""
        job = warehouse.job("CREATE TABLE made AS SELECT 1 AS n")

        assert list(job.result()) == []
        assert job.destination.table_id == "made"
        assert warehouse.client.get_table(job.destination).num_rows == 1
