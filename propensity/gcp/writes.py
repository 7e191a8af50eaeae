"""
Appends by BigQuery's Storage Write API, as Arrow record batches.

- ``Appends``: for instances that append all the time. Rows go to the table's default
  stream: visible once they are acknowledged, at least once.
- ``write``: for runs. Rows go to a pending stream, and are in the table once it is
  committed: all of them, once, or none.

The API demands only ``bigquery.tables.updateData`` on the table; a load job also needs
the rights to create and to alter tables.

Sources:
    https://cloud.google.com/bigquery/docs/write-api, required permissions;
    https://cloud.google.com/bigquery/docs/write-api-batch, pending streams;
    https://cloud.google.com/bigquery/docs/batch-loading-data, required permissions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.api_core import exceptions as api
from google.api_core import retry as api_retry
from google.cloud.bigquery_storage_v1.services.big_query_write import (
    BigQueryWriteAsyncClient,
    BigQueryWriteClient,
)
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcAsyncIOTransport,
    BigQueryWriteGrpcTransport,
)
from google.cloud.bigquery_storage_v1.types import (
    AppendRowsRequest,
    AppendRowsResponse,
    BatchCommitWriteStreamsRequest,
    StorageError,
    WriteStream,
)

from propensity.errors import (
    ADD_COLUMNS,
    MissingTable,
    PropensityError,
    SchemaError,
    Unavailable,
)
from propensity.gcp.clients import open_client
from propensity.gcp.errors import TRANSIENT, TRANSPORT, denied, of_grpc

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.schema import Table
    from propensity.settings import Settings

# The permission that the API demands on the table.
UPDATES = "bigquery.tables.updateData"

# Of one request of a run; BigQuery's limit is 10 MB for rows and envelope.
REQUEST_BYTES = 2 * 1024**2

# How often a run sends its rows where connections break.
_TRIES = 5

# Status codes of appends that may succeed later.
_TRANSIENT_CODES = {
    status.value[0]
    for status in (
        grpc.StatusCode.CANCELLED,
        *(kind.grpc_status_code for kind in TRANSIENT),
    )
    if status is not None
}


class RowsRefused(PropensityError):
    """The table refuses some rows for good; none of the batch was appended."""

    code = "rows_refused"

    def __init__(self, rows: Mapping[int, str]) -> None:
        super().__init__(f"the table refuses {len(rows)} rows")
        self.rows = rows


def _path(settings: Settings, table: str) -> str:
    return f"projects/{settings.project}/datasets/{settings.dataset}/tables/{table}"


def _metadata(stream: str) -> list[tuple[str, str]]:
    return [("x-goog-request-params", f"write_stream={stream}")]


def _check(answer: Any, *, on: str) -> None:
    """Raise the error in an AppendRowsResponse, if any; ``on`` is the table."""
    if answer.row_errors:
        raise RowsRefused({error.index: error.message for error in answer.row_errors})
    code, text = answer.error.code, answer.error.message
    if not code:
        return
    if code in _TRANSIENT_CODES:
        raise Unavailable(f"BigQuery did not take rows: {text}")
    if code == grpc.StatusCode.PERMISSION_DENIED.value[0]:
        raise denied(text, service="BigQuery", needs=UPDATES, on=on)
    if code == grpc.StatusCode.NOT_FOUND.value[0]:
        raise MissingTable(f"BigQuery does not find the table: {text}")
    raise SchemaError(f"BigQuery refuses rows: {text}. {ADD_COLUMNS}")


# -- appends of an instance -----------------------------------------------------------


class Appends:
    """
    Appends of one instance of a function. Belongs to one event loop.

    Requests are pipelined on one connection a table, and answers come in their order.
    Google's ``AppendRowsStream`` is for threads: it takes nearly three times as long,
    and looks for an answer in intervals.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._tables: dict[str, TableAppends] = {}

    @cached_property
    def _client(self) -> BigQueryWriteAsyncClient:
        return open_client(
            BigQueryWriteAsyncClient,
            BigQueryWriteGrpcAsyncIOTransport,
            endpoint=self.settings.bigquery_storage_endpoint,
            channel=grpc.aio.insecure_channel,
        )

    async def append(self, table: Table, rows: pa.RecordBatch) -> None:
        """
        Append rows; they are durable when this returns.

        Args:
            table: Of ``tables``.
            rows: In its Arrow schema; 10 MB at most.

        Raises:
            Unavailable: BigQuery failed or was too slow; rows may be there or not.
            RowsRefused: Some rows can never be appended; none was.
            MissingTable: There is no such table.
        """
        if not rows.num_rows:
            return
        if table.name not in self._tables:
            self._tables[table.name] = TableAppends(self._client, self.settings, table)
        await self._tables[table.name].append(rows)


class TableAppends:
    """The default stream of one table, reconnected when it breaks."""

    def __init__(self, client: Any, settings: Settings, table: Table) -> None:
        self._client = client
        self._timeout = float(settings.deadline_s)
        self._table = _path(settings, table.name)
        self._schema: bytes = table.arrow_schema().serialize().to_pybytes()
        self._connection: _Connection | None = None

    async def append(self, rows: pa.RecordBatch) -> None:
        """Append rows; see ``Appends.append``."""
        batch = bytes(rows.serialize())
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._send(batch)
        except TimeoutError:
            error = Unavailable("BigQuery did not acknowledge rows in time")
            # Answers come in order: a late answer holds up all behind it.
            if self._connection is not None:
                self._connection.close(error)
            raise error from None
        _check(answer, on=self._table)

    async def _send(self, batch: bytes) -> Any:
        """
        Send a batch, and return its answer.

        BigQuery closes a stream that is idle for minutes. An instance that had no
        processor meanwhile finds out by its next rows: they go by a new one.
        """
        request = AppendRowsRequest.pb()()
        request.arrow_rows.rows.serialized_record_batch = batch
        if self._connection is not None and not self._connection.is_closed:
            with contextlib.suppress(Unavailable):
                return await self._connection.send(request)
        if self._connection is None or self._connection.is_closed:
            self._connection = _Connection(self._client, self._table)
            request.write_stream = f"{self._table}/streams/_default"
            request.arrow_rows.writer_schema.serialized_schema = self._schema
        return await self._connection.send(request)


class _Connection:
    """One AppendRows call: requests out, answers in, in the same order."""

    def __init__(self, client: Any, table: str) -> None:
        self.is_closed = False
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._task = asyncio.get_running_loop().create_task(self._run(client, table))

    def send(self, request: Any) -> asyncio.Future[Any]:
        """
        Send a request at once, and return the future of its answer.

        If it were sent on await, a call that ends in between would never answer it.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._requests.put_nowait(request)
        return future

    def close(self, error: PropensityError) -> None:
        """End the call; each waiting request gets the error."""
        self.is_closed = True
        self._task.cancel()
        self._fail(error)

    async def _run(self, client: Any, table: str) -> None:
        error: PropensityError = Unavailable("BigQuery closed the stream")
        try:
            # No retry: of the call, it would lack the requests already sent.
            answers = await client.append_rows(
                self._feed(),
                retry=None,
                metadata=_metadata(f"{table}/streams/_default"),
            )
            async for answer in answers:
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(AppendRowsResponse.pb(answer))
        except (api.GoogleAPICallError, *TRANSPORT) as raised:
            error = of_grpc(
                raised, service="BigQuery", what="rows", needs=UPDATES, on=table
            )
        finally:
            self.is_closed = True
            self._requests.put_nowait(None)
            self._fail(error)

    async def _feed(self) -> AsyncIterator[Any]:
        # Ends with the call; else it would wait for ever.
        while (request := await self._requests.get()) is not None:
            yield request

    def _fail(self, error: PropensityError) -> None:
        while self._waiting:
            with contextlib.suppress(asyncio.InvalidStateError):
                self._waiting.popleft().set_exception(error)


# -- the rows of a run ----------------------------------------------------------------


def client_of(settings: Settings) -> BigQueryWriteClient:
    """Open a client; nothing is sent yet."""
    return open_client(
        BigQueryWriteClient,
        BigQueryWriteGrpcTransport,
        endpoint=settings.bigquery_storage_endpoint,
    )


def write(
    client: BigQueryWriteClient, settings: Settings, *, table: str, rows: pa.Table
) -> None:
    """
    Append rows to a table: all of them, or none if it raises.

    Where a connection breaks, all rows are sent again, to another pending stream: the
    first is never committed. After an error of the commit the rows may be there or not.

    Args:
        client: From ``client_of``.
        settings: Project and dataset, and deadlines.
        table: Its name in the dataset.
        rows: In the table's Arrow schema.

    Raises:
        RowsRefused, SchemaError: The table does not take rows.
        AccessDenied: The account may not change the table.
        Unavailable: BigQuery failed or was too slow.
        google.api_core.exceptions.GoogleAPICallError: From the calls around the append;
            ``Warehouse`` translates it.
    """
    limits: Any = {
        "retry": api_retry.Retry(
            predicate=api_retry.if_exception_type(*TRANSIENT),
            initial=0.1,
            maximum=2.0,
            timeout=float(settings.deadline_s),
        ),
        "timeout": float(settings.deadline_s),
    }
    parent = _path(settings, table)
    try:
        for tries_left in reversed(range(_TRIES)):
            pending = WriteStream(type_=WriteStream.Type.PENDING)
            stream = client.create_write_stream(
                parent=parent, write_stream=pending, **limits
            ).name
            try:
                _send(client, stream, rows, on=parent, timeout=settings.query_timeout_s)
                break
            except (*TRANSIENT, Unavailable) as error:
                if not tries_left:
                    name = type(error).__name__
                    message = f"BigQuery did not take rows: {name}"
                    raise Unavailable(message) from error
        # Both calls may be repeated: BigQuery reports a stream that is committed.
        n_rows = client.finalize_write_stream(name=stream, **limits).row_count
        if n_rows != len(rows):
            raise Unavailable(f"BigQuery has {n_rows} of {len(rows)} rows")
        request = BatchCommitWriteStreamsRequest(parent=parent, write_streams=[stream])
        answer = client.batch_commit_write_streams(request, **limits)
    except api.PermissionDenied as error:
        raise denied(
            error.message,
            service="BigQuery",
            credentials=getattr(client.transport, "_credentials", None),
            needs=UPDATES,
            on=parent,
        ) from error
    committed = StorageError.StorageErrorCode.STREAM_ALREADY_COMMITTED
    errors = [error for error in answer.stream_errors if error.code != committed]
    if errors:
        raise Unavailable(f"BigQuery did not commit rows: {errors[0].error_message}")


def _send(
    client: BigQueryWriteClient, stream: str, rows: pa.Table, *, on: str, timeout: float
) -> None:
    """Send rows to a stream, in one call."""
    parts = slices(rows)
    answers: Any = client.append_rows(
        _requests(stream, rows.schema, parts),
        # A retry by the client would lack the requests already sent.
        retry=None,
        timeout=float(timeout),
        metadata=_metadata(stream),
    )
    try:
        n_answers = 0
        for answer in answers:
            _check(answer, on=on)
            n_answers += 1
        if n_answers < len(parts):
            raise Unavailable("BigQuery closed the stream")
    finally:
        answers.cancel()


def slices(rows: pa.Table) -> list[pa.RecordBatch]:
    """Return rows in parts of one request each."""
    wide = max(1, -(-rows.nbytes // max(1, len(rows))))
    most = max(1, REQUEST_BYTES // wide)
    batches: list[pa.RecordBatch] = rows.combine_chunks().to_batches(most)
    return batches


def _requests(
    stream: str, schema: pa.Schema, parts: list[pa.RecordBatch]
) -> Iterator[Any]:
    for number, batch in enumerate(parts):
        request = AppendRowsRequest.pb()()
        if not number:
            request.write_stream = stream
            writer = request.arrow_rows.writer_schema
            writer.serialized_schema = schema.serialize().to_pybytes()
        serialized = batch.serialize().to_pybytes()
        request.arrow_rows.rows.serialized_record_batch = serialized
        yield AppendRowsRequest.wrap(request)
