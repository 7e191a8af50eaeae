"""
BigQuery: statements in, rows or Arrow out; appends; tables and views.

Every call has a deadline, a label and ``maximum_bytes_billed``, and counts the bytes
billed. Statements come from ``.sql`` files and take named parameters; Python puts no
value into SQL. Arrow and the Storage API are imported by the calls that need them,
since 02-GetProba's environment lacks them.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from google.api_core import exceptions as api
from google.api_core import retry as api_retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from propensity.errors import Conflict, SettingsError
from propensity.gcp.errors import BIGQUERY, translated

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.schema import Table
    from propensity.settings import Settings

Parameters = Mapping[str, Any]
LABELS = {"application": "propensity"}

# So many rows are read as JSON with the answer; more as Arrow, through the Storage API.
_SMALL_ROWS = 1_000

_DAY_MS = 24 * 3600 * 1000

# bool before int and datetime before date: each is a subclass of the other.
_TYPES = {
    bool: "BOOL",
    int: "INT64",
    float: "FLOAT64",
    Decimal: "NUMERIC",
    str: "STRING",
    datetime: "TIMESTAMP",
    date: "DATE",
}


class Warehouse:
    """
    BigQuery for one run of a function: one dataset, and a meter.

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
        client.default_job_creation_mode = "JOB_CREATION_OPTIONAL"
        return cls(settings, client=client)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self.client.close()  # type: ignore[no-untyped-call]

    def for_run(self) -> Self:
        """Return an object with the same client and a meter of its own."""
        run = copy.copy(self)
        run.bytes_billed = 0
        return run

    # -- statements -------------------------------------------------------------------

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
            return result.to_arrow(
                bqstorage_client=_reader(self.settings.bigquery_storage_endpoint),
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
            result = self._run(sql, parameters)[1]
        return self._streamed(result)

    def _streamed(self, result: Any) -> Iterator[pa.RecordBatch]:
        with self._translated():
            # One stream keeps the order of the rows, and one page in memory.
            batches = result.to_arrow_iterable(
                bqstorage_client=_reader(self.settings.bigquery_storage_endpoint),
                max_queue_size=1,
                max_stream_count=1,
                timeout=self._query_s,
            )
            n_rows = 0
            for batch in batches:
                yield batch
                n_rows += batch.num_rows
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
        most = self.settings.maximum_bytes_billed
        config = self._config(parameters, maximum_bytes_billed=most)
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
        if processed := int(result.total_bytes_processed or 0):
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
                return int(self._run(sql, parameters)[0].num_dml_affected_rows or 0)

        again = api_retry.Retry(
            predicate=api_retry.if_exception_type(Conflict),
            initial=1.0,
            maximum=30.0,
            timeout=self._query_s,
        )
        try:
            return int(again(run)())
        except api.RetryError as error:
            raise error.cause from None

    def dry_run(self, sql: str, parameters: Parameters | None = None) -> int:
        """Return the bytes that a statement would scan, without running it."""
        with self._translated():
            job = self._start(sql, parameters, dry_run=True)
            return int(job.total_bytes_processed or 0)

    def _run(self, sql: str, parameters: Parameters | None) -> tuple[Any, Any]:
        """Run a statement to its end; return its job and its rows."""
        job = self._start(
            sql,
            parameters,
            maximum_bytes_billed=self.settings.maximum_bytes_billed,
            # A query that timed out here must not go on beside the next try.
            job_timeout_ms=1000 * self.settings.query_timeout_s,
        )
        rows = job.result(retry=self._retry, timeout=self._query_s)
        self.bytes_billed += int(job.total_bytes_billed or 0)
        return job, rows

    def _start(self, sql: str, parameters: Parameters | None, **options: Any) -> Any:
        config = self._config(parameters, **options)
        return self.client.query(sql, job_config=config, job_retry=None, **self._limits)

    def _config(
        self, parameters: Parameters | None, **options: Any
    ) -> bigquery.QueryJobConfig:
        named = [query_parameter(*one) for one in (parameters or {}).items()]
        return bigquery.QueryJobConfig(
            default_dataset=self._dataset,
            query_parameters=named,
            labels=LABELS,
            **options,
        )

    # -- rows of a table --------------------------------------------------------------

    def listed(self, table: Table, columns: Sequence[str]) -> list[Any]:
        """Return columns of all rows of a small table; it bills nothing."""
        whole = bigquery.Table(self._id(table.stored), schema=_schema(table))
        fields = [field for field in whole.schema if field.name in columns]
        with self._translated():
            rows = self.client.list_rows(whole, selected_fields=fields, **self._limits)
            return list(rows)

    def write(self, table: Table, rows: pa.Table | Iterable[Mapping[str, Any]]) -> None:
        """
        Append rows to a table through the Storage Write API: all of them or none.

        It needs only the right to change the table's rows.

        Args:
            table: Of ``tables``.
            rows: As ``Table.arrow`` takes them.
        """
        from propensity.gcp import writes

        writes.write(self.settings, table.stored, table.arrow(rows))

    def replace(self, table: Table, rows: pa.Table) -> None:
        """
        Replace all rows of an existing table by one load job.

        Readers see the old rows or the new ones; a failed job leaves the old ones.
        People do it, whose rights are wide: a load job also needs those to create and
        to alter tables.
        """
        import pyarrow.parquet as pq

        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=_schema(table),
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            # They must be those of the table that is overwritten.
            time_partitioning=bigquery.TimePartitioning(field=table.partition),
            clustering_fields=list(table.clustering),
            labels=LABELS,
        )
        file = io.BytesIO()
        pq.write_table(table.arrow(rows), file)
        with self._translated():
            job: Any = self.client.load_table_from_file(
                file,
                self._id(table.stored),
                rewind=True,
                job_config=config,
                timeout=self._limits["timeout"],
            )
            job.result(retry=self._retry, timeout=self._query_s)

    # -- tables, views and datasets: none of it bills anything ------------------------

    def create(self, table: Table) -> None:
        """Create a table of ``tables`` where it is missing, and its view."""
        definition = definition_of(table, self._id(table.stored))
        with self._translated():
            self.client.create_table(definition, exists_ok=True, **self._limits)
        if table.newest:
            self.replace_view(table.name, table.view(self._dataset))

    def view_text(self, name: str) -> str:
        """Return the query of a view."""
        with self._translated():
            view = self.client.get_table(self._id(name), **self._limits)
        return view.view_query or ""

    def types_of(self, place: tuple[str, str, str]) -> dict[str, str]:
        """Return the types of the columns of a table, by project, dataset and name."""
        name = ".".join(place)
        with self._translated(on=name):
            schema = self.client.get_table(name, **self._limits).schema
        types = {}
        for one in schema:
            kind = _SQL_NAMES.get(one.field_type, one.field_type)
            types[one.name] = "a list" if one.mode == "REPEATED" else kind
        return types

    def replace_view(self, name: str, sql: str) -> None:
        """
        Change the query of the view ``name``, or create the view if it is missing.

        In this order, so that a change does not need the right to create views.
        """
        view = bigquery.Table(self._id(name))
        view.view_query = sql
        with self._translated():
            try:
                self.client.update_table(view, ["view_query"], **self._limits)
            except api.NotFound:
                self.client.create_table(view, **self._limits)

    def create_dataset(self, name: str) -> None:
        """Create a dataset of the project where it is missing."""
        dataset = bigquery.Dataset(f"{self.settings.project}.{name}")
        dataset.location = self.settings.location
        with self._translated():
            self.client.create_dataset(dataset, exists_ok=True, **self._limits)

    def tables_of(self, dataset: str) -> list[str]:
        """
        Return the names of the tables of ``project.dataset``.

        Raises:
            SettingsError: It is in another location than queries.
        """
        with self._translated(dataset):
            found = self.client.get_dataset(dataset, **self._limits).location
            # BigQuery's largest page.
            listed = self.client.list_tables(dataset, page_size=1_000, **self._limits)
            names = [table.table_id for table in listed]
        expected = self.settings.location
        if found and found.casefold() != expected.casefold():
            raise SettingsError(
                f"the dataset {dataset} is in {found}, and queries run in {expected} "
                "(PROPENSITY_LOCATION): BigQuery joins nothing across locations. Copy "
                f"it, or put the dataset {self.settings.dataset} where it is",
                field="PROPENSITY_LOCATION",
            )
        return names

    @property
    def _dataset(self) -> str:
        return f"{self.settings.project}.{self.settings.dataset}"

    def _id(self, name: str) -> str:
        return f"{self._dataset}.{name}"

    def _translated(self, on: str = "") -> contextlib.AbstractContextManager[None]:
        """Raise the project's errors; ``on`` is the dataset or table of the call."""
        return translated(self.settings, BIGQUERY, on=on)


# The API's older names of types.
_SQL_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


@cache
def _reader(endpoint: str) -> Any:
    """Open the client of the Storage Read API; a process keeps it."""
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient

    from propensity.gcp.clients import open_client

    return open_client(BigQueryReadClient, endpoint)


# -- parameters, and definitions of tables ---------------------------------------------


def query_parameter(name: str, value: Any) -> Any:
    """
    Return ``value`` as the query parameter ``@name``.

    Raises:
        TypeError: The value has no BigQuery type here, or is an empty list.
    """
    is_array = isinstance(value, (list, tuple))
    if is_array and not value:
        raise TypeError(f"@{name} is an empty list, which has no type")
    sample = value[0] if is_array else value
    kind = next((name for of, name in _TYPES.items() if isinstance(sample, of)), None)
    if kind is None:
        raise TypeError(f"@{name} has no BigQuery type: {type(sample).__name__}")
    if is_array:
        return bigquery.ArrayQueryParameter(name, kind, list(value))
    return bigquery.ScalarQueryParameter(name, kind, value)


def type_of_parameter(name: str, value: Any) -> str:
    """Return the type of ``query_parameter``, as SQL names it."""
    parameter = query_parameter(name, value)
    if isinstance(parameter, bigquery.ArrayQueryParameter):
        return f"ARRAY<{parameter.array_type}>"
    return str(parameter.type_)


def _schema(table: Table) -> list[bigquery.SchemaField]:
    of_api = bigquery.SchemaField.from_api_repr
    return [of_api(column.in_api) for column in table.columns]


def definition_of(table: Table, table_id: str) -> bigquery.Table:
    """Return a table's definition for the API."""
    definition = bigquery.Table(table_id, schema=_schema(table))
    definition.description = table.description
    definition.clustering_fields = list(table.clustering)
    definition.require_partition_filter = table.requires_filter or None
    definition.time_partitioning = bigquery.TimePartitioning(
        field=table.partition,
        expiration_ms=table.expiration_days * _DAY_MS or None,
    )
    return definition
