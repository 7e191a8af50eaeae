"""
BigQuery, to read: statements in, rows or Arrow out.

Every call has a deadline, a label and ``maximum_bytes_billed``, and counts the bytes
billed. Statements come from ``.sql`` files and take named parameters; Python puts no
value into SQL. Arrow and the Storage API are imported by the calls that need them,
since 02-GetProba's environment lacks them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from propensity.gcp.columns import query_parameter, schema_of
from propensity.gcp.errors import BIGQUERY, translated

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.schema import Table
    from propensity.settings import Settings

Parameters = Mapping[str, Any]
LABELS = {"application": "propensity"}

# So many rows are read as JSON with the answer; more as Arrow, through the Storage API.
_SMALL_ROWS = 1_000

# Of a query about single users; the estimate does not know clusters.
LOOKUP_MAXIMUM_BYTES_BILLED = 8 * 1024**3


class Queries:
    """
    BigQuery for one run of a function: one dataset, and a meter.

    ``bytes_billed`` is the sum over the queries of this object; ``for_run`` returns one
    with the same clients that counts from zero. All methods raise the project's errors:
    MissingTable, SchemaError, AccessDenied, QueryTooExpensive, Unavailable.
    """

    def __init__(self, settings: Settings, *, client: bigquery.Client) -> None:
        self.settings = settings
        self.client = client
        self.bytes_billed = 0
        limit = float(settings.deadline_s)
        self._query_s = float(settings.query_timeout_s)
        self._retry: Any = bigquery.DEFAULT_RETRY.with_timeout(limit)
        # Of a call that runs no statement.
        self._limits: Any = {"retry": self._retry, "timeout": limit}

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the client; nothing is sent yet."""
        endpoint = settings.bigquery_endpoint
        client = bigquery.Client(
            project=settings.project,
            location=settings.location,
            # An emulator asks for none.
            credentials=AnonymousCredentials() if endpoint else None,  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )
        return cls(settings, client=client)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self.client.close()  # type: ignore[no-untyped-call]
        reader = self.__dict__.pop("_reader", None)
        if reader is not None:
            reader.transport.close()

    def for_run(self) -> Self:
        """Return an object with the same clients and a meter of its own."""
        run = type(self)(self.settings, client=self.client)
        run.__dict__["_reader"] = self._reader
        return run

    @cached_property
    def _reader(self) -> Any:
        """The client of the Storage Read API."""
        from google.cloud.bigquery_storage_v1 import BigQueryReadClient

        from propensity.gcp.clients import open_client

        return open_client(BigQueryReadClient, self.settings.bigquery_storage_endpoint)

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[Any]:
        """
        Run a statement and return its rows, which must be few.

        Args:
            sql: A statement or script; tables without a dataset are in this one.
            parameters: Values by name. A list becomes an ARRAY and must not be empty.

        Returns:
            ``google.cloud.bigquery.Row``s: by position, name or attribute.
        """
        with self._translated():
            return list(self._run(sql, parameters)[1])

    def table(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """Run a statement and return all its rows, which must fit in memory."""
        with self._translated():
            result = self._run(sql, parameters)[1]
            # A few rows are faster with the answer than through the Storage API.
            if (result.total_rows or 0) <= _SMALL_ROWS:
                return result.to_arrow(create_bqstorage_client=False)
            return result.to_arrow(bqstorage_client=self._reader, timeout=self._query_s)

    def batches(
        self, sql: str, parameters: Parameters | None = None
    ) -> Iterator[pa.RecordBatch]:
        """
        Run a statement and stream its rows through the Storage Read API.

        Only a few batches are in memory at once. The statement has run, and its errors
        are raised, when this returns.
        """
        with self._translated():
            result = self._run(sql, parameters)[1]
        return self._streamed(result)

    def _streamed(self, result: Any) -> Iterator[pa.RecordBatch]:
        with self._translated():
            # One stream keeps the order of the rows, and one page in memory.
            yield from result.to_arrow_iterable(
                bqstorage_client=self._reader,
                max_queue_size=1,
                max_stream_count=1,
                timeout=self._query_s,
            )

    def lookup(self, sql: str, parameters: Parameters) -> tuple[list[Any], int]:
        """
        Run a short query with the limits of a lookup, and return its rows and its cost.

        BigQuery creates no job where it can do without, which saves a lookup a round
        trip. May be called by several threads; the object's meter does not count it.

        Returns:
            The rows, which must fit in one page, and the bytes billed: those processed,
            in whole MiB, at least 10; none if BigQuery had the result cached.
        """
        config = self._config(parameters)
        config.maximum_bytes_billed = LOOKUP_MAXIMUM_BYTES_BILLED
        self.client.default_job_creation_mode = "JOB_CREATION_OPTIONAL"
        with self._translated():
            result = self.client.query_and_wait(
                sql,
                job_config=config,
                api_timeout=self._limits["timeout"],
                wait_timeout=self._limits["timeout"],
                retry=self._retry,
                job_retry=None,  # type: ignore[arg-type]
            )
            rows = list(result)
        processed = int(result.total_bytes_processed or 0)
        return rows, max(10, -(-processed // 1024**2)) * 1024**2 if processed else 0

    def _run(self, sql: str, parameters: Parameters | None) -> tuple[Any, Any]:
        """Run a statement to its end; return its job and its rows."""
        job = self._start(sql, parameters)
        rows = job.result(retry=self._retry, timeout=self._query_s)
        self.bytes_billed += int(job.total_bytes_billed or 0)
        return job, rows

    def _start(
        self, sql: str, parameters: Parameters | None, *, dry_run: bool = False
    ) -> Any:
        config = self._config(parameters)
        config.dry_run = dry_run
        # A query that timed out here must not go on beside the next try.
        config.job_timeout_ms = 1000 * self.settings.query_timeout_s
        if not dry_run:  # it bills nothing, and says how much it would be
            config.maximum_bytes_billed = self.settings.maximum_bytes_billed
        return self.client.query(sql, job_config=config, job_retry=None, **self._limits)

    def _config(self, parameters: Parameters | None) -> bigquery.QueryJobConfig:
        return bigquery.QueryJobConfig(
            default_dataset=f"{self.settings.project}.{self.settings.dataset}",
            query_parameters=[
                query_parameter(name, value)
                for name, value in (parameters or {}).items()
            ],
            labels=LABELS,
        )

    def listed(self, table: Table, columns: Sequence[str]) -> list[Any]:
        """Return columns of all rows of a small table; it bills nothing."""
        schema = schema_of(table)
        with self._translated():
            return list(
                self.client.list_rows(
                    bigquery.Table(self._id(table.stored), schema=schema),
                    selected_fields=[
                        field for field in schema if field.name in columns
                    ],
                    **self._limits,
                )
            )

    def _id(self, name: str) -> str:
        return f"{self.settings.project}.{self.settings.dataset}.{name}"

    def _translated(self, on: str = "") -> contextlib.AbstractContextManager[None]:
        """Raise the project's errors; ``on`` is the dataset or table of the call."""
        return translated(self.settings, BIGQUERY, on=on)
