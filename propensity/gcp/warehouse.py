"""
The edge to BigQuery: statements in, rows or Arrow batches out; loads and appends.

Every call has a deadline, a label and ``maximum_bytes_billed``, and counts the bytes
billed. Statements come from ``.sql`` files and take named parameters; Python puts no
value into SQL. Arrow and the Storage API are imported by the calls that need them,
since 02-GetProba's environment lacks them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions as api
from google.cloud import bigquery

from propensity.gcp.bigquery import Parameters
from propensity.gcp.columns import conforming, schema_of
from propensity.gcp.definitions import Definitions

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.schema import Table

# So many rows are read as JSON with the answer; more as Arrow, through the Storage API.
# Of a query about single users; the estimate does not know clusters.
LOOKUP_MAXIMUM_BYTES_BILLED = 8 * 1024**3
_SMALL_ROWS = 1_000

_LISTS = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
_LISTS.enable_list_inference = True


class Warehouse(Definitions):
    """
    BigQuery for one run of a function: one dataset, and a meter.

    ``bytes_billed`` is the sum over the queries of this object; ``for_run`` returns one
    with the same clients that counts from zero.
    """

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[Any]:
        """
        Run a statement and return its rows, which must be few.

        Args:
            sql: A statement or script; tables without a dataset are in this one.
            parameters: Values by name. A list becomes an ARRAY and must not be empty.

        Returns:
            ``google.cloud.bigquery.Row``s: by position, name or attribute.

        Raises:
            MissingTable, SchemaError, QueryTooExpensive, Unavailable: As named.
        """
        return self._in_turn(sql, parameters, lambda _, rows: list(rows))

    def batches(
        self, sql: str, parameters: Parameters | None = None
    ) -> Iterator[pa.RecordBatch]:
        """
        Run a statement and stream its rows through the Storage Read API.

        Only a few batches are in memory at once. The statement has run, and its errors
        are raised, when this returns.
        """
        with self._translated():
            _, result = self._run(sql, parameters)
        return self._streamed(result)

    def _streamed(self, result: Any) -> Iterator[pa.RecordBatch]:
        with self._translated():
            # One stream keeps the order of the rows, and one page in memory.
            yield from result.to_arrow_iterable(
                bqstorage_client=self._read_client, max_queue_size=1, max_stream_count=1
            )

    def table(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """Run a statement and return all its rows, which must fit in memory."""
        import pyarrow as pa

        with self._translated():
            _, result = self._run(sql, parameters)
            # A few rows are faster with the answer than through the Storage API.
            is_small = (result.total_rows or 0) <= _SMALL_ROWS
            table = (
                result.to_arrow(create_bqstorage_client=False)
                if is_small
                else result.to_arrow(bqstorage_client=self._read_client)
            )
        return table if isinstance(table, pa.Table) else pa.table(table)

    def listed(self, table: Table, columns: Sequence[str]) -> list[Any]:
        """
        Return columns of all rows of a small table; it bills nothing.

        Raises:
            MissingTable, Unavailable: As named.
        """
        schema = schema_of(table)
        with self._translated():
            return list(
                self.client.list_rows(
                    bigquery.Table(self._table_id(table.stored), schema=schema),
                    selected_fields=[
                        field for field in schema if field.name in columns
                    ],
                    **self._limits,
                )
            )

    def dry_run(self, sql: str, parameters: Parameters | None = None) -> int:
        """Return the bytes that a statement would scan, without running it."""
        with self._translated():
            job = self._start(sql, parameters, dry_run=True)
            return int(job.total_bytes_processed or 0)

    def column_types(
        self, sql: str, parameters: Parameters | None = None
    ) -> dict[str, str]:
        """
        Return the types of a statement's columns, by a dry run; it bills nothing.

        A list of values is ``ARRAY<`` their type ``>``.
        """
        with self._translated():
            job = self._start(sql, parameters, dry_run=True)
            return {
                field.name: f"ARRAY<{field.field_type}>"
                if field.mode == "REPEATED"
                else field.field_type
                for field in job.schema or ()
            }

    def write(self, table: Table, rows: pa.Table) -> None:
        """
        Append rows to a table through the Storage Write API: all of them or none.

        Functions append by it: it needs only the right to change the table's rows.

        Args:
            table: Of ``tables``.
            rows: In ``table.arrow_schema()``, columns in any order.

        Raises:
            SchemaError, MissingTable, AccessDenied, Unavailable: As ``writes.write``.
        """
        from propensity.gcp import writes

        rows = conforming(rows, table)
        # A run writes a few times, minutes apart: a connection for each.
        with self._translated(), writes.client_of(self.settings) as client:
            writes.write(client, self.settings, table=table.stored, rows=rows)

    def append(self, table: Table, rows: pa.Table, *, job_id: str) -> None:
        """
        Append rows to a table by one load job, exactly once per ``job_id``.

        People append by it, whose rights are wide: BigQuery also demands the permission
        to create and to alter tables. It refuses a second job of the same id, so that
        a repeated load adds nothing.

        Args:
            table: Of ``tables``.
            rows: In ``table.arrow_schema()``, columns in any order.
            job_id: Letters, digits, underscores and dashes.
        """
        config = self._load_config(table)
        config.write_disposition = bigquery.WriteDisposition.WRITE_APPEND
        self._load(table, rows, config, job_id=job_id)

    def replace(self, table: Table, rows: pa.Table, *, job_id: str) -> None:
        """
        Replace all rows of an existing table by one load job.

        Readers see the old rows or the new ones. A failed job leaves the old ones.

        Args:
            table: Of ``tables``.
            rows: In ``table.arrow_schema()``, columns in any order.
            job_id: Letters, digits, underscores and dashes; for one load only.
        """
        config = self._load_config(table)
        config.write_disposition = bigquery.WriteDisposition.WRITE_TRUNCATE
        # Partitions and clusters must be those of the table that is overwritten.
        config.time_partitioning = bigquery.TimePartitioning(field=table.partition)
        config.clustering_fields = list(table.clustering)
        self._load(table, rows, config, job_id=job_id)

    def _load_config(self, table: Table) -> Any:
        return bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=schema_of(table),
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            labels=self._labels,
            parquet_options=_LISTS,
        )

    def _load(self, table: Table, rows: pa.Table, config: Any, *, job_id: str) -> None:
        import pyarrow.parquet as pq

        file = io.BytesIO()
        pq.write_table(conforming(rows, table), file, use_compliant_nested_type=True)
        file.seek(0)
        with self._translated():
            try:
                job: Any = self.client.load_table_from_file(
                    file,
                    self._table_id(table.stored),
                    job_id=job_id,
                    job_config=config,
                    timeout=self._request,
                )
            except api.Conflict:
                job = self.client.get_job(job_id, **self._limits)
            job.result(retry=self._retry, timeout=self._timeout)

    def lookup(self, sql: str, parameters: Parameters) -> tuple[list[Any], int]:
        """
        Run a short query with the limits of a lookup, and return its rows and its cost.

        BigQuery creates no job where it can do without, which saves a lookup a round
        trip. May be called by several threads; the object's meter does not count it.

        Returns:
            The rows, which must fit in one page, and the bytes billed: those processed,
            in whole MiB, at least 10; none if BigQuery had the result cached.

        Raises:
            MissingTable, SchemaError, QueryTooExpensive, Unavailable: As named.

        Source:
            https://cloud.google.com/bigquery/pricing, on-demand compute pricing.
        """
        config = self._config(parameters)
        config.maximum_bytes_billed = LOOKUP_MAXIMUM_BYTES_BILLED
        limit = float(self.settings.deadline_s)
        self.client.default_job_creation_mode = "JOB_CREATION_OPTIONAL"
        with self._translated(limit="the 8 GiB of a query about single users"):
            result = self.client.query_and_wait(
                sql,
                job_config=config,
                api_timeout=limit,
                wait_timeout=limit,
                retry=bigquery.DEFAULT_RETRY.with_timeout(limit),
                job_retry=None,  # type: ignore[arg-type]
            )
            rows = list(result)
        processed = int(result.total_bytes_processed or 0)
        return rows, max(10, -(-processed // 1024**2)) * 1024**2 if processed else 0
