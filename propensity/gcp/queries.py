"""
BigQuery's queries: statements in, rows or Arrow out.

Every call has a deadline, a label and ``maximum_bytes_billed``, and counts the bytes
billed. Statements come from ``.sql`` files and take named parameters; Python puts no
value into SQL. Arrow and the Storage API are imported by the calls that need them,
since 02-GetProba's environment lacks them.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from google.api_core import exceptions as api
from google.api_core import retry as api_retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from propensity.errors import Conflict
from propensity.gcp.clients import BIGQUERY, stand_in, translated
from propensity.statements import parameters_of

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.settings import Settings

Parameters = Mapping[str, object]
LABELS = {"application": "propensity"}

# Results up to this size come as JSON with the answer, larger ones as Arrow.
SMALL_ROWS = 1_000

# bool is a subclass of int, and datetime of date, so they are looked for first.
_TYPES = {
    bool: "BOOL",
    int: "INT64",
    float: "FLOAT64",
    Decimal: "NUMERIC",
    str: "STRING",
    bytes: "BYTES",
    datetime: "TIMESTAMP",
    date: "DATE",
}


def count_of(value: int | None) -> int:
    """Return a count of BigQuery's, which is None where a job has none."""
    return 0 if value is None else int(value)


class Queries:
    """
    Queries of one run of a function: one dataset, and a meter.

    ``bytes_billed`` is the sum over the statements of this object; ``for_run`` returns
    one with the same client that counts from zero. All methods raise the project's
    errors: MissingTable, SchemaError, AccessDenied, QueryTooExpensive, Unavailable.
    """

    def __init__(self, settings: Settings, *, client: bigquery.Client) -> None:
        self.settings = settings
        self.client = client
        self.bytes_billed = 0
        limit = float(settings.deadline_s)
        self._query_s = float(settings.query_timeout_s)
        self._retry: Any = bigquery.DEFAULT_RETRY.with_timeout(limit)
        # Retry and timeout of calls that run no statement.
        self._limits: Any = {"retry": self._retry, "timeout": limit}

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the client; nothing is sent yet."""
        endpoint = settings.bigquery_endpoint
        client = stand_in(bigquery.Client, endpoint)
        if client is None:
            client = bigquery.Client(
                project=settings.project,
                location=settings.location,
                # An emulator asks for none.
                credentials=AnonymousCredentials() if endpoint else None,
                client_options={"api_endpoint": endpoint} if endpoint else None,
            )
        client.default_job_creation_mode = "JOB_CREATION_OPTIONAL"
        return cls(settings, client=client)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self.client.close()

    def for_run(self, settings: Settings | None = None) -> Self:
        """Return an object with the same client and a meter of its own."""
        run = copy.copy(self)
        run.bytes_billed = 0
        if settings is not None:
            run.settings = settings
        return run

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[Any]:
        """
        Run a statement and return its rows, which must be few.

        Args:
            sql: A statement or script; tables without a dataset are in this one.
            parameters: Values by name; a null or an empty list has the type that the
                statement's comments name.
        """
        with self._translated():
            return list(self._run(sql, parameters, page_size=SMALL_ROWS)[1])

    def table(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """Run a statement and return all its rows, which must fit in memory."""
        with self._translated():
            job, result = self._run(sql, parameters, page_size=SMALL_ROWS)
            # A few rows are faster with the answer than through the Storage API.
            if count_of(result.total_rows) <= SMALL_ROWS:
                return result.to_arrow(create_bqstorage_client=False)
            return self._whole(job, result)

    def _whole(self, job: Any, result: Any) -> pa.Table:
        """Return all rows of a job's result, through the Storage Read API."""
        return result.to_arrow(
            bqstorage_client=open_reader(self.settings.bigquery_storage_endpoint),
            timeout=self._query_s,
        )

    def batches(
        self, sql: str, parameters: Parameters | None = None
    ) -> Iterator[pa.RecordBatch]:
        """
        Run a statement and stream its rows through the Storage Read API.

        Only a few batches are in memory at once. The statement has run, and its errors
        are raised, when this returns.
        """
        with self._translated():
            job, result = self._run(sql, parameters)
        return self._streamed(job, result)

    def _streamed(self, job: Any, result: Any) -> Iterator[pa.RecordBatch]:
        # A lookup of a few rows starts without it.
        import pyarrow as pa

        with self._translated():
            # One stream keeps the order of the rows, and one page in memory.
            batches = result.to_arrow_iterable(
                bqstorage_client=open_reader(self.settings.bigquery_storage_endpoint),
                max_queue_size=1,
                max_stream_count=1,
                timeout=self._query_s,
            )
            n_rows = 0
            for batch in batches:
                yield batch
                n_rows += batch.num_rows
                # Arrow keeps what earlier pages took, a little more with each.
                pa.default_memory_pool().release_unused()
                # The client would look for more, for up to 0.4 s.
                if n_rows == result.total_rows:
                    return

    def lookup(self, sql: str, parameters: Parameters) -> list[Any]:
        """
        Run a short query with the limits of a lookup; its rows must fit in one page.

        BigQuery creates no job where it can do without, which saves a lookup a round
        trip, and does not say what it bills: what it processed, in whole MiB, and at
        least ten; nothing if it had the result cached.
        """
        limit = self.settings.maximum_bytes_billed
        config = self._config(sql, parameters, maximum_bytes_billed=limit)
        with self._translated():
            result = self.client.query_and_wait(
                self._named(sql),
                job_config=config,
                api_timeout=self._limits["timeout"],
                wait_timeout=self._limits["timeout"],
                retry=self._retry,
                job_retry=None,  # type: ignore[arg-type]
            )
            rows = list(result)
        processed = count_of(result.total_bytes_processed)
        if processed:
            self.bytes_billed += max(10, -(-processed // 1024**2)) * 1024**2
        return rows

    def execute(self, sql: str, parameters: Parameters | None = None) -> int:
        """
        Run a statement that writes; return the number of rows it changed.

        Two statements may change a table at once, as where the runs of two use cases
        publish: BigQuery aborts one, which has changed nothing and is run again.

        Raises:
            Conflict: There was always another, for the time that a query may take.

        Source:
            https://cloud.google.com/bigquery/docs/transactions, concurrency.
        """

        def run() -> int:
            with self._translated():
                job, _ = self._run(sql, parameters)
                return count_of(job.num_dml_affected_rows)

        retry = api_retry.Retry(
            predicate=api_retry.if_exception_type(Conflict),
            initial=1.0,
            maximum=30.0,
            timeout=self._query_s,
        )
        try:
            return int(retry(run)())
        except api.RetryError as error:
            raise error.cause from None

    def dry_run(self, sql: str, parameters: Parameters | None = None) -> int:
        """Return the bytes that a statement would scan, without running it."""
        with self._translated():
            job = self._start(sql, parameters, dry_run=True)
            return count_of(job.total_bytes_processed)

    def _run(
        self, sql: str, parameters: Parameters | None, *, page_size: int | None = None
    ) -> tuple[Any, Any]:
        """
        Run a statement to its end; return its job and its rows.

        With a size of pages, the first comes with the news that the statement has
        ended; without, that news has no rows.
        """
        job = self._start(
            sql,
            parameters,
            maximum_bytes_billed=self.settings.maximum_bytes_billed,
            # A query that timed out here must not go on beside the next try.
            job_timeout_ms=1000 * self.settings.query_timeout_s,
        )
        rows = job.result(page_size=page_size, retry=self._retry, timeout=self._query_s)
        self.bytes_billed += count_of(job.total_bytes_billed)
        return job, rows

    def _start(self, sql: str, parameters: Parameters | None, **options: Any) -> Any:
        config = self._config(sql, parameters, **options)
        text = self._named(sql)
        return self.client.query(
            text, job_config=config, job_retry=None, **self._limits
        )

    def _config(
        self, sql: str, parameters: Parameters | None, **options: Any
    ) -> bigquery.QueryJobConfig:
        query_parameters = []
        if parameters:
            types = parameters_of(sql)
            for name, value in parameters.items():
                kind = types.get(name)
                if kind is None or value not in (None, [], ()):
                    kind = type_of_parameter(name, value)
                query_parameters.append(_parameter(name, value, kind))
        return bigquery.QueryJobConfig(
            default_dataset=self._dataset,
            query_parameters=query_parameters,
            labels=LABELS,
            **options,
        )

    def read_small_table(self, table: str, columns: Sequence[str]) -> list[Any]:
        """Return columns of texts of all rows of a small table; it bills nothing."""
        fields = [bigquery.SchemaField(name, "STRING") for name in columns]
        described = bigquery.Table(self._id(table), schema=fields)
        with self._translated():
            rows = self.client.list_rows(
                described, selected_fields=fields, **self._limits
            )
            return list(rows)

    @property
    def _dataset(self) -> str:
        return f"{self.settings.project}.{self.settings.dataset}"

    def _id(self, name: str) -> str:
        return f"{self._dataset}.{self._named(name)}"

    def _named(self, text: str) -> str:
        """Return a statement or a name as it is: only runs read tables of an export."""
        return text

    def _translated(self, on: str = "") -> contextlib.AbstractContextManager[None]:
        """Raise the project's errors; ``on`` is the dataset or table of the call."""
        return translated(self.settings, BIGQUERY, on=on)


@cache
def open_reader(endpoint: str) -> Any:
    """Open the client of the Storage Read API; a process keeps it."""
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient

    from propensity.gcp.clients import open_client

    return open_client(BigQueryReadClient, endpoint)


def type_of_parameter(name: str, value: Any) -> str:
    """Return the type of a value in SQL, by which it can be a parameter."""
    is_list = isinstance(value, (list, tuple))
    sample = value[:1] if is_list else [value]
    for each in sample:
        for kind, type_name in _TYPES.items():
            if isinstance(each, kind):
                return f"ARRAY<{type_name}>" if is_list else type_name
    what = "is an empty list" if is_list and not value else type(value).__name__
    raise TypeError(
        f"@{name} has no type: {what}. Name it in the comments of the statement"
    )


def _parameter(name: str, value: Any, kind: str) -> Any:
    item = kind.removeprefix("ARRAY<").removesuffix(">")
    if item != kind:
        return bigquery.ArrayQueryParameter(name, item, list(value))
    return bigquery.ScalarQueryParameter(name, kind, value)
