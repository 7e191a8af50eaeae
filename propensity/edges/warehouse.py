"""
The edge to BigQuery: statements in, rows or Arrow batches out, tables written.

Every call carries a deadline, a label, and ``maximum_bytes_billed``, and what was
billed is counted. Statements come from ``.sql`` files and take named parameters; Python
puts no value into SQL. Arrow and the Storage API are imported by the calls that need
them, since 02-GetProba's environment does not hold them.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import requests.exceptions
from google.api_core import exceptions as api
from google.api_core import retry as api_retry
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from propensity.edges import rights
from propensity.errors import (
    AccessDenied,
    Conflict,
    MissingTable,
    PropensityError,
    QueryTooExpensive,
    SchemaError,
    SettingsError,
    Unavailable,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient

    from propensity.settings import Settings
    from propensity.tables import Table

Parameters = Mapping[str, Any]

# What BigQuery says of a column or field that a statement names and a table lacks, and,
# from "Referenced" on, what its emulator says.
_SCHEMA_WORDS = (
    "Unrecognized name",
    "not found inside",
    "does not exist in",
    "has no",
    "Referenced column",
    "Referenced table",
    "Could not find key",
)

# What BigQuery says of two transactions or statements that change the same rows.
_RACE_WORDS = ("concurrent update", "Could not serialize access")

# Of the Storage API, where trying again may help.
_UNREACHABLE = (api.ServiceUnavailable, api.InternalServerError)

_DAY_MS = 24 * 3600 * 1000

# A page of a result read without the Storage API.
_UNLIMITED = ("grpc.max_receive_message_length", -1)

# Read as JSON with the answer; more are read as Arrow through the Storage API.
_SMALL_ROWS = 1_000

# Names of tables in one answer: the most that BigQuery gives.
_TABLES_PAGE = 1_000


class Warehouse:
    """
    BigQuery, as one run of a function sees it: one dataset, and a meter.

    ``bytes_billed`` is the sum over the queries of this object; ``for_run`` gives one
    that shares the clients and counts from zero.
    """

    def __init__(self, settings: Settings, *, client: bigquery.Client) -> None:
        self.settings = settings
        self.client = client
        self.bytes_billed = 0

    @classmethod
    def open(cls, settings: Settings) -> Warehouse:
        """Open the client; nothing is sent yet."""
        endpoint = settings.bigquery_endpoint
        client = bigquery.Client(
            project=settings.project,
            location=settings.location,
            credentials=_credentials(endpoint),
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )
        return cls(settings, client=client)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self.client.close()  # type: ignore[no-untyped-call]
        reader = self.__dict__.pop("_read_client", None)
        if reader is not None:
            reader.transport.close()

    def for_run(self) -> Warehouse:
        """Return a warehouse with the same clients and a meter of its own."""
        run = Warehouse(self.settings, client=self.client)
        run.__dict__["_read_client"] = self._read_client
        return run

    @cached_property
    def _read_client(self) -> BigQueryReadClient:
        from google.cloud import bigquery_storage_v1

        limits: Any = {
            "retry": api_retry.Retry(
                predicate=api_retry.if_exception_type(*_UNREACHABLE),
                initial=0.1,
                maximum=2.0,
                timeout=self._request,
            ),
            "timeout": self._timeout,
        }

        class Reader(bigquery_storage_v1.BigQueryReadClient):
            """Reads with our deadlines: its own are ten minutes, a day, or none."""

            def create_read_session(self, *arguments: Any, **named: Any) -> Any:
                return super().create_read_session(*arguments, **{**named, **limits})

            def read_rows(self, *arguments: Any, **named: Any) -> Any:
                read: Any = super().read_rows
                return read(*arguments, **{**named, **limits})

        from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (  # noqa: PLC0415, E501
            BigQueryReadGrpcTransport,
        )

        from propensity.edges.channels import open_client

        return open_client(
            Reader,
            BigQueryReadGrpcTransport,
            endpoint=self.settings.bigquery_storage_endpoint,
            options=[_UNLIMITED],
        )

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[Any]:
        """
        Run a statement and return its rows, which must be few.

        Args:
            sql: One statement or script; unqualified tables are the dataset's.
            parameters: Values by name. A list becomes an ARRAY and must not be empty.

        Returns:
            ``google.cloud.bigquery.Row``s: by position, name or attribute.

        Raises:
            MissingTable, SchemaError, QueryTooExpensive, Unavailable: As named.
        """
        with self._translated():
            job = self._start(sql, parameters)
            return list(job.result(retry=self._retry, timeout=self._timeout))

    def execute(self, sql: str, parameters: Parameters | None = None) -> int:
        """Run a statement that writes; return the number of rows it changed."""
        with self._translated():
            job = self._start(sql, parameters)
            job.result(retry=self._retry, timeout=self._timeout)
            return int(job.num_dml_affected_rows or 0)

    def batches(
        self, sql: str, parameters: Parameters | None = None
    ) -> Iterator[pa.RecordBatch]:
        """
        Run a statement and stream its rows through the Storage Read API.

        Memory holds a few batches, whatever the number of rows. The statement has run,
        and its errors are raised, when this returns.
        """
        with self._translated():
            job = self._start(sql, parameters)
            result = job.result(retry=self._retry, timeout=self._timeout)
        return self._streamed(result)

    def _streamed(self, result: Any) -> Iterator[pa.RecordBatch]:
        with self._translated():
            # One stream: its rows come in one order, and one page waits in memory.
            yield from result.to_arrow_iterable(
                bqstorage_client=self._read_client, max_queue_size=1, max_stream_count=1
            )

    def table(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """Run a statement and return all its rows, which must fit in memory."""
        import pyarrow as pa

        with self._translated():
            job = self._start(sql, parameters)
            result = job.result(retry=self._retry, timeout=self._timeout)
            # A few rows come sooner with the answer than by a stream of their own.
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
        schema = _schema(table)
        with self._translated():
            return list(
                self.client.list_rows(
                    bigquery.Table(self._named(table.name), schema=schema),
                    selected_fields=[one for one in schema if one.name in columns],
                    retry=self._retry,
                    timeout=self._request,
                )
            )

    def dry_run(self, sql: str, parameters: Parameters | None = None) -> int:
        """Return the bytes that the statement would scan; it is not run."""
        with self._translated():
            job = self._start(sql, parameters, dry_run=True)
            return int(job.total_bytes_processed or 0)

    def create(self, table: Table, *, expires: datetime | None = None) -> None:
        """Create a table of ``tables.py`` where it is missing."""
        if expires is None:
            self.execute(table.ddl())
            return
        reference = bigquery.Table(self._named(table.name), schema=_schema(table))
        reference.expires = expires
        with self._translated():
            self.client.create_table(
                reference, exists_ok=True, retry=self._retry, timeout=self._request
            )

    def keep(self, table: Table) -> None:
        """
        Have a table, which exists, be as it says: its columns, how long partitions are
        kept, and whether a query must name them.

        A column that is missing is added at the end, unless it is required. Whole
        numbers in a struct that have become fractions are cast; other types stay.
        """
        wanted = table.expiration_days * _DAY_MS or None
        with self._translated():
            found = self.client.get_table(
                self._named(table.name), retry=self._retry, timeout=self._request
            )
            changed = []
            there = {field.name for field in found.schema}
            missing = [
                field
                for field in _schema(table)
                if field.name not in there and field.mode != "REQUIRED"
            ]
            if missing:
                found.schema = [*found.schema, *missing]
                changed.append("schema")
            partitioning = found.time_partitioning
            if partitioning is not None and partitioning.expiration_ms != wanted:
                partitioning.expiration_ms = wanted
                found.time_partitioning = partitioning
                changed.append("time_partitioning")
            if bool(found.require_partition_filter) != table.requires_filter:
                found.require_partition_filter = table.requires_filter
                changed.append("require_partition_filter")
            if changed:
                self.client.update_table(
                    found, changed, retry=self._retry, timeout=self._request
                )
            there_now = [field.to_api_repr() for field in found.schema]
        if table.is_narrower(there_now):
            self.execute(table.rewritten())

    def view_text(self, name: str) -> str:
        """
        Return the query of a view; it bills nothing.

        Raises:
            MissingTable: There is none.
        """
        with self._translated():
            found = self.client.get_table(
                self._named(name), retry=self._retry, timeout=self._request
            )
        return found.view_query or ""

    def check_location(self, dataset: str) -> None:
        """
        Make sure that a dataset is where queries run; it bills nothing.

        Args:
            dataset: As ``project.dataset``.

        Raises:
            SettingsError: It is elsewhere: a query does not cross locations.
            MissingTable, AccessDenied, Unavailable: As named.
        """
        with self._translated(dataset):
            found = self.client.get_dataset(
                dataset, retry=self._retry, timeout=self._request
            )
        wanted, there = self.settings.location, found.location or ""
        if there and there.casefold() != wanted.casefold():
            raise SettingsError(
                f"the dataset {dataset} is in {there}, and queries run in {wanted} "
                "(PROPENSITY_LOCATION): BigQuery joins nothing across locations. Put "
                f"{self.settings.project}.{self.settings.dataset} where the export "
                "is, or copy the export",
                field="PROPENSITY_LOCATION",
            )

    def table_names(self, dataset: str) -> list[str]:
        """Return the names of the tables of ``project.dataset``; it bills nothing."""
        with self._translated(dataset):
            listed = self.client.list_tables(
                dataset,
                page_size=_TABLES_PAGE,
                retry=self._retry,
                timeout=self._request,
            )
            return [str(one.table_id) for one in listed]

    def row_count(self, dataset: str, table: str) -> int:
        """Return the rows of a table, 0 where there is none; it bills nothing."""
        with self._translated(dataset):
            try:
                found = self.client.get_table(
                    f"{dataset}.{table}", retry=self._retry, timeout=self._request
                )
            except api.NotFound:
                return 0
            return int(found.num_rows or 0)

    def create_dataset(self, name: str) -> None:
        """Create a dataset of the project where it is missing."""
        dataset = bigquery.Dataset(f"{self.settings.project}.{name}")
        dataset.location = self.settings.location
        with self._translated():
            self.client.create_dataset(
                dataset, exists_ok=True, retry=self._retry, timeout=self._request
            )

    def replace_view(self, name: str, sql: str) -> None:
        """
        Give the view ``name`` another query, or create it where it is missing.

        In this order, so that who replaces a view need not be allowed to create one.
        """
        view = bigquery.Table(self._named(name))
        view.view_query = sql
        with self._translated():
            try:
                self._give_query(view)
            except api.NotFound:
                try:
                    self.client.create_table(
                        view, retry=self._retry, timeout=self._request
                    )
                except api.Conflict:
                    self._give_query(view)

    def _give_query(self, view: bigquery.Table) -> None:
        self.client.update_table(
            view, ["view_query"], retry=self._retry, timeout=self._request
        )

    def drop(self, name: str) -> None:
        """Drop a table; it need not exist."""
        with self._translated():
            self.client.delete_table(
                self._named(name),
                not_found_ok=True,
                retry=self._retry,
                timeout=self._request,
            )

    def write(self, table: Table, rows: pa.Table) -> None:
        """
        Append rows to a table through the Storage Write API: all of them or none.

        What functions append by: it needs no right but to change the table's rows.

        Args:
            rows: In ``table.arrow_schema()``, columns in any order.

        Raises:
            SchemaError, MissingTable, AccessDenied, Unavailable: As ``writes.write``.
        """
        from propensity.edges import writes

        given = _conforming(rows, table)
        # A run writes a few times, minutes apart: a connection for each.
        with self._translated(), writes.client_of(self.settings) as client:
            writes.write(client, self.settings, table=table.name, rows=given)

    def append(self, table: Table, rows: pa.Table, *, job_id: str) -> None:
        """
        Append rows to a table by one load job, exactly once per ``job_id``.

        What people append by, whose rights are wide: BigQuery asks for the permission
        to create tables and to alter them, too. It refuses a second job of the same
        id, so that a load that is run again adds nothing.

        Args:
            rows: In ``table.arrow_schema()``, columns in any order.
            job_id: Letters, digits, underscores and dashes.
        """
        config = self._load_config(table)
        config.write_disposition = bigquery.WriteDisposition.WRITE_APPEND
        self._load(table, rows, config, job_id=job_id)

    def replace(self, table: Table, rows: pa.Table, *, job_id: str) -> None:
        """
        Replace all rows of a table, which exists, by one load job.

        Readers see the old rows or the new ones. A job that fails leaves the old ones.

        Args:
            rows: In ``table.arrow_schema()``, columns in any order.
            job_id: Letters, digits, underscores and dashes; of one load only.
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
            schema=_schema(table),
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            labels=self._labels,
            parquet_options=_LISTS,
        )

    def _load(self, table: Table, rows: pa.Table, config: Any, *, job_id: str) -> None:
        import pyarrow.parquet as pq

        file = io.BytesIO()
        pq.write_table(_conforming(rows, table), file, use_compliant_nested_type=True)
        file.seek(0)
        with self._translated():
            try:
                job: Any = self.client.load_table_from_file(
                    file,
                    self._named(table.name),
                    job_id=job_id,
                    job_config=config,
                    timeout=self._request,
                )
            except api.Conflict:
                job = self.client.get_job(
                    job_id, retry=self._retry, timeout=self._request
                )
            job.result(retry=self._retry, timeout=self._timeout)

    def lookup(self, sql: str, parameters: Parameters) -> tuple[list[Any], int]:
        """
        Run a short query with the limits of a lookup, and return its rows and its cost.

        BigQuery creates no job where it can do without, which saves a lookup a round
        trip. May be called by several threads; the object's meter does not count it.

        Returns:
            The rows, which must fit in one page, and the bytes billed for them: those
            processed, in whole MiB, 10 at least; none where BigQuery had them cached.

        Raises:
            MissingTable, SchemaError, QueryTooExpensive, Unavailable: As named.

        Source:
            https://cloud.google.com/bigquery/pricing, on-demand compute pricing.
        """
        config = bigquery.QueryJobConfig(
            default_dataset=f"{self.settings.project}.{self.settings.dataset}",
            query_parameters=[
                query_parameter(name, value) for name, value in parameters.items()
            ],
            maximum_bytes_billed=self.settings.lookup_maximum_bytes_billed,
            labels=self._labels,
        )
        limit = float(self.settings.lookup_timeout_s)
        self.client.default_job_creation_mode = "JOB_CREATION_OPTIONAL"
        with self._translated():
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

    def _start(
        self, sql: str, parameters: Parameters | None, *, dry_run: bool = False
    ) -> bigquery.QueryJob:
        config = bigquery.QueryJobConfig(
            default_dataset=f"{self.settings.project}.{self.settings.dataset}",
            query_parameters=[
                query_parameter(name, value)
                for name, value in (parameters or {}).items()
            ],
            maximum_bytes_billed=self.settings.maximum_bytes_billed,
            labels=self._labels,
            dry_run=dry_run,
            # What nobody waits for any more must not go on beside the next try.
            job_timeout_ms=1000 * self.settings.query_timeout_s,
        )
        job = self.client.query(
            sql,
            job_config=config,
            retry=self._retry,
            job_retry=None,
            timeout=self._request,
        )
        if not dry_run:
            job.add_done_callback(self._count)  # type: ignore[no-untyped-call]
        return job

    def _count(self, job: Any) -> None:
        self.bytes_billed += int(job.total_bytes_billed or 0)

    def _named(self, name: str) -> str:
        return f"{self.settings.project}.{self.settings.dataset}.{name}"

    @property
    def _labels(self) -> dict[str, str]:
        return {"application": "propensity"}

    @property
    def _retry(self) -> Any:
        return bigquery.DEFAULT_RETRY.with_timeout(self.settings.retry_deadline_s)

    @property
    def _timeout(self) -> float:
        return float(self.settings.query_timeout_s)

    @property
    def _request(self) -> float:
        return float(self.settings.retry_deadline_s)

    @contextlib.contextmanager
    def _translated(self, dataset: str = "") -> Iterator[None]:
        try:
            yield
        except PropensityError:
            raise
        except api.Forbidden as error:
            if not _is_denied(error):
                raise translated(error) from error
            raise self._denied(error, dataset) from error
        except (api.GoogleAPICallError, api.RetryError, *_TRANSPORT) as error:
            raise translated(error, self._credentials) from error

    def _denied(self, error: api.Forbidden, dataset: str) -> AccessDenied:
        """Return the error that says who lacks what, and on which dataset."""
        text = _told(error)
        named = _NAMED.search(text)
        found = dataset or (f"{named[1]}.{named[2]}" if named else "")
        remedy = rights.REMEDY
        if found and found == self.settings.export:
            remedy = f"Grant it roles/bigquery.dataViewer on the dataset {found}"
            if not found.startswith(f"{self.settings.project}."):
                remedy += (
                    ", which is for its owner to do; docs/deploy.md has the command"
                )
        return rights.denied(
            text,
            service="BigQuery",
            credentials=self._credentials,
            on=found,
            remedy=remedy,
        )

    @property
    def _credentials(self) -> Any:
        return getattr(self.client, "_credentials", None)


_TRANSPORT = (
    requests.exceptions.RequestException,
    auth.TransportError,
    ConnectionError,
    TimeoutError,
)

_LISTS = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
_LISTS.enable_list_inference = True


# What BigQuery says of a permission: the dataset, of itself or of a table in it.
_NAMED = re.compile(r"(?:Dataset|Table) ([a-z0-9.:-]+):([A-Za-z0-9_]+)")


def _told(error: Exception) -> str:
    # The client appends the reason, the message again, and on further lines the job.
    text = str(getattr(error, "message", "") or error)
    return text.partition("\n")[0].partition("; reason: ")[0]


def _is_denied(error: api.Forbidden) -> bool:
    """Tell a permission that is missing from a quota that is used up."""
    told = [one for one in error.errors or () if isinstance(one, Mapping)]
    reasons = {str(one.get("reason", "")) for one in told}
    return "accessDenied" in reasons or "Access Denied" in _told(error)


def translated(error: Exception, credentials: Any = None) -> PropensityError:  # noqa: PLR0911
    """
    Return the project's error for one of the BigQuery client's.

    Args:
        error: As the client raised it.
        credentials: The client's; an error of rights names their account.
    """
    text = _told(error)
    if isinstance(error, api.NotFound) or "does not match any table" in text:
        return MissingTable(
            f"BigQuery does not find a table or dataset: {text}. "
            "Run the set-up, and check PROPENSITY_GA4_DATASET and the export"
        )
    if "bytesBilledLimitExceeded" in str(error) or "limit for bytes billed" in text:
        return QueryTooExpensive(
            f"the query would bill more than PROPENSITY_MAXIMUM_BYTES_BILLED: {text}"
        )
    if isinstance(error, api.BadRequest) and any(w in text for w in _RACE_WORDS):
        return Conflict(f"another run wrote the same table meanwhile: {text}")
    if isinstance(error, api.BadRequest) and any(w in text for w in _SCHEMA_WORDS):
        return SchemaError(f"a table lacks what the statement reads: {text}")
    if isinstance(error, api.Unauthorized) or (
        isinstance(error, api.Forbidden) and _is_denied(error)
    ):
        return rights.denied(text, service="BigQuery", credentials=credentials)
    if isinstance(error, (api.BadRequest, api.Forbidden)):
        return PropensityError(f"BigQuery refuses the statement: {text}")
    return Unavailable(f"BigQuery did not answer in time: {type(error).__name__}")


def query_parameter(name: str, value: Any) -> Any:
    """
    Return ``value`` as the query parameter ``@name``.

    Raises:
        TypeError: The value has no BigQuery type here, or is an empty list.
    """
    if isinstance(value, (list, tuple)):
        if not value:
            raise TypeError(f"@{name} is an empty list, whose type cannot be told")
        return bigquery.ArrayQueryParameter(name, _kind(name, value[0]), list(value))
    return bigquery.ScalarQueryParameter(name, _kind(name, value), value)


def _kind(name: str, value: object) -> str:
    # bool before int and datetime before date: each is a subclass of the other.
    for types, kind in (
        (bool, "BOOL"),
        (int, "INT64"),
        (float, "FLOAT64"),
        (str, "STRING"),
        (datetime, "TIMESTAMP"),
        (date, "DATE"),
    ):
        if isinstance(value, types):
            return kind
    raise TypeError(f"@{name} has no BigQuery type: {type(value).__name__}")


def _credentials(endpoint: str) -> AnonymousCredentials | None:
    """Return None, the environment's own, where the endpoint is Google's."""
    return AnonymousCredentials() if endpoint else None  # type: ignore[no-untyped-call]


def _schema(table: Table) -> Sequence[bigquery.SchemaField]:
    def field(column: Any) -> bigquery.SchemaField:
        mode = "NULLABLE"
        if column.repeated or column.required:
            mode = "REPEATED" if column.repeated else "REQUIRED"
        return bigquery.SchemaField(
            column.name,
            column.type,
            mode=mode,
            description=column.description,
            fields=[field(part) for part in column.fields],
        )

    return [field(column) for column in table.columns]


def _conforming(rows: pa.Table, table: Table) -> pa.Table:
    """Return the rows in the table's own column order, or raise SchemaError."""
    wanted = table.arrow_schema()
    if set(rows.column_names) != set(wanted.names):
        missing = sorted(set(wanted.names) - set(rows.column_names))
        extra = sorted(set(rows.column_names) - set(wanted.names))
        raise SchemaError(
            f"rows for {table.name} lack {missing or 'nothing'} "
            f"and have {extra or 'nothing'} too many"
        )
    return rows.select(wanted.names).cast(wanted)


def record(values: Mapping[str, object], table: Table) -> pa.Table:
    """
    Return one row of ``table`` from values by column name; missing ones are null.

    Raises:
        SchemaError: A value belongs to no column.
    """
    import pyarrow as pa

    schema = table.arrow_schema()
    unknown = sorted(set(values) - set(schema.names))
    if unknown:
        raise SchemaError(f"{table.name} has no column {', '.join(unknown)}")
    return pa.Table.from_pylist([dict(values)], schema=schema)


def concatenated(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Return batches as one table, with ``schema`` where there are none."""
    import pyarrow as pa

    return pa.Table.from_batches(batches, schema=schema)
