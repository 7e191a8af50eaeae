"""
Rows that are appended by BigQuery's Storage Write API, as Arrow record batches.

Those of a run or command (``write``) go to a pending stream, and are in the table once
it is committed: all of them, once, or none. A run that appends all the time
(``append``), and an instance (``Appends``), send rows to the table's default stream:
they are visible once they are acknowledged, at least once.

The API demands only ``bigquery.tables.updateData`` on the table; a load job also needs
the rights to create and to alter tables.

Sources:
    https://cloud.google.com/bigquery/docs/write-api, required permissions;
    https://cloud.google.com/bigquery/docs/write-api-batch, pending streams.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write import (
    BigQueryWriteAsyncClient,
    BigQueryWriteClient,
)

from propensity.errors import PropensityError, Unavailable
from propensity.gcp.clients import BIGQUERY, open_client, translated

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.schema import Table
    from propensity.settings import Settings

# The permission that the API demands on the table.
UPDATES = "bigquery.tables.updateData"

# Rows of one append of an instance, and of one request of a run. BigQuery's limit is 10
# MB for rows and envelope.
APPEND_BYTES = 8 * 1024**2
REQUEST_BYTES = 2 * 1024**2

_of_status: Any = api.from_grpc_status
_of_grpc: Any = api.from_grpc_error

# A closed connection raises these.
_BROKEN = (api.GoogleAPICallError, Unavailable, asyncio.InvalidStateError)

# Errors of calls that may succeed later.
_PASSING = if_exception_type(
    Unavailable,
    api.Aborted,
    api.DeadlineExceeded,
    api.InternalServerError,
    api.ResourceExhausted,
    api.ServiceUnavailable,
    api.Unknown,
)


class RowsRefused(PropensityError, code="rows_refused"):
    """The table refuses some rows for good; none of the batch was appended."""

    def __init__(self, rows: Mapping[int, str]) -> None:
        super().__init__(f"the table rejects {len(rows)} rows")
        self.rows = rows


def path_of(settings: Settings, table: str) -> str:
    return f"projects/{settings.project}/datasets/{settings.dataset}/tables/{table}"


def request_of(
    rows: pa.RecordBatch, stream: str = "", schema: pa.Schema | None = None
) -> Any:
    """Return a request; the first of a call names its stream, and the rows' schema."""
    request = types.AppendRowsRequest.pb()(write_stream=stream)
    request.arrow_rows.rows.serialized_record_batch = rows.serialize().to_pybytes()
    if schema is not None:
        writer = request.arrow_rows.writer_schema
        writer.serialized_schema = schema.serialize().to_pybytes()
    return types.AppendRowsRequest.wrap(request)


def metadata(stream: str) -> list[tuple[str, str]]:
    """Return the header by which calls are routed."""
    return [("x-goog-request-params", f"write_stream={stream}")]


def check_answer(answer: Any) -> None:
    """Raise the error in an AppendRowsResponse, if there is one."""
    if answer.row_errors:
        raise RowsRefused({error.index: error.message for error in answer.row_errors})
    if answer.error.code:
        raise _of_status(answer.error.code, answer.error.message)


def write(settings: Settings, table: str, rows: pa.Table) -> None:
    """
    Append rows to a table: all of them, or none if it raises.

    Where a connection breaks, all rows are sent again, to another pending stream: the
    first is never committed. After an error of the commit the rows may be there or not.
    """
    path = path_of(settings, table)
    client = open_client(BigQueryWriteClient, settings.bigquery_storage_endpoint)
    retry = Retry(
        predicate=_PASSING,
        initial=0.1,
        maximum=2.0,
        timeout=float(settings.query_timeout_s),
    )
    with translated(settings, BIGQUERY, on=path, needs=UPDATES), client:
        stream = retry(_staged)(client, path, rows, float(settings.query_timeout_s))
        # May be repeated: BigQuery reports a stream that is committed.
        answer = client.batch_commit_write_streams(
            types.BatchCommitWriteStreamsRequest(parent=path, write_streams=[stream]),
            retry=retry,
            timeout=float(settings.deadline_s),
        )
    committed = types.StorageError.StorageErrorCode.STREAM_ALREADY_COMMITTED
    errors = [error for error in answer.stream_errors if error.code != committed]
    if errors:
        raise Unavailable(f"BigQuery did not commit rows: {errors[0].error_message}")


def append(settings: Settings, table: str, rows: pa.Table) -> None:
    """
    Append rows to a table at once: all of them, or none if it raises.

    It takes one call by an open connection; after a failure rows may be there twice.
    Rows of several requests go as by ``write``.
    """
    if len(list(slices(rows))) != 1:
        write(settings, table, rows)
        return
    path = path_of(settings, table)
    client = open_writer(settings.bigquery_storage_endpoint)
    limit = float(settings.query_timeout_s)
    limits: Any = {"retry": None, "timeout": limit}
    retry = Retry(predicate=_PASSING, initial=0.1, maximum=2.0, timeout=limit)

    def send() -> None:
        if _sent(client, f"{path}/streams/_default", rows, limits) != 1:
            raise Unavailable("BigQuery closed the stream")

    with translated(settings, BIGQUERY, on=path, needs=UPDATES):
        retry(send)()


@cache
def open_writer(endpoint: str) -> BigQueryWriteClient:
    """Return the client by which this process appends."""
    return open_client(BigQueryWriteClient, endpoint)


def _staged(
    client: BigQueryWriteClient, path: str, rows: pa.Table, timeout: float
) -> str:
    """Send rows to a pending stream, and return its name."""
    # A call is not retried: a new connection would lack the requests already sent.
    limits: Any = {"retry": None, "timeout": timeout}
    pending = types.WriteStream(type_=types.WriteStream.Type.PENDING)
    stream = client.create_write_stream(parent=path, write_stream=pending, **limits)
    _sent(client, stream.name, rows, limits)
    stored = client.finalize_write_stream(name=stream.name, **limits).row_count
    if stored != len(rows):
        raise Unavailable(f"BigQuery has {stored} of {len(rows)} rows")
    return stream.name


def _sent(client: BigQueryWriteClient, stream: str, rows: pa.Table, limits: Any) -> int:
    """Send rows to a stream; return how many requests were answered."""

    def requests() -> Iterator[Any]:
        first: Any = (stream, rows.schema)
        for batch in slices(rows):
            yield request_of(batch, *first)
            first = ()

    answered = 0
    answers: Any = client.append_rows(requests(), metadata=metadata(stream), **limits)
    try:
        for answer in answers:
            check_answer(answer)
            answered += 1
    finally:
        answers.cancel()
    return answered


def slices(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    """Yield rows in parts of one request each."""
    for batch in rows.combine_chunks().to_batches():
        yield from parts(batch, REQUEST_BYTES)


def parts(
    rows: pa.RecordBatch, maximum: int = APPEND_BYTES
) -> Iterator[pa.RecordBatch]:
    """Yield rows in parts of so many bytes at most, or of a single row."""
    half = rows.num_rows // 2
    if half and rows.nbytes > maximum:
        yield from parts(rows[:half], maximum)
        yield from parts(rows[half:], maximum)
    else:
        yield rows


class Appends:
    """
    Appends of one instance of a function. Belongs to one event loop.

    Connections stay open. Google's ``AppendRowsStream`` is for threads: it takes nearly
    three times as long, and looks for an answer in intervals.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # Connections that wait for no answer, by table.
        self._idle: dict[str, list[Any]] = {}

    @cached_property
    def _client(self) -> BigQueryWriteAsyncClient:
        return open_client(
            BigQueryWriteAsyncClient, self.settings.bigquery_storage_endpoint
        )

    async def append(self, table: Table, rows: pa.RecordBatch) -> dict[int, str]:
        """
        Append rows, but for those that the table refuses; they are durable then.

        Returns:
            Why rows can never be appended, by their place.
        """
        path = path_of(self.settings, table.stored)
        refused = dict[int, str]()
        places = list(range(rows.num_rows))
        while places:
            try:
                with translated(self.settings, BIGQUERY, on=path, needs=UPDATES):
                    async with asyncio.timeout(float(self.settings.deadline_s)):
                        check_answer(await self._answer(path, rows))
                break
            except RowsRefused as error:
                # None was appended.
                refused |= {places[row]: detail for row, detail in error.rows.items()}
                rest = [row for row in range(len(places)) if row not in error.rows]
                rows = rows.take(rest)
                places = [places[row] for row in rest]
        return refused

    async def _answer(self, path: str, rows: pa.RecordBatch) -> Any:
        """
        Send rows by an idle connection, or by a new one.

        BigQuery closes a stream that is idle for minutes. An instance that had no
        processor meanwhile finds out by its next rows: they go by a new one.
        """
        idle = self._idle.setdefault(path, [])
        while idle:
            call = idle.pop()
            with contextlib.suppress(*_BROKEN):
                return await _exchange(call, request_of(rows), idle)
        stream = f"{path}/streams/_default"
        transport: Any = self._client.transport
        call = transport.append_rows(metadata=metadata(stream))
        return await _exchange(call, request_of(rows, stream, rows.schema), idle)


async def _exchange(call: Any, request: Any, idle: list[Any]) -> Any:
    """
    Send a request by a connection, and return its answer.

    After an error, or where the caller goes away, the connection is closed: the answer
    would be taken for that to the next request.
    """
    try:
        await call.write(request)
        answer = await call.read()
        if answer is grpc.aio.EOF:
            raise Unavailable("BigQuery closed the stream")
    except BaseException as error:
        call.cancel()
        if isinstance(error, grpc.RpcError):
            raise _of_grpc(error) from error
        raise
    idle.append(call)
    return answer
