"""
The edge to BigQuery's Storage Write API for the stream: durable appends, in groups.

Rows go to the table's default stream as Arrow record batches: visible once they are
acknowledged, at least once. Requests are pipelined on one connection, and answers come
in their order. Belongs to one event loop. Google's ``AppendRowsStream`` is for threads:
it takes nearly three times as long, and looks for an answer in intervals.

Source: https://cloud.google.com/bigquery/docs/write-api
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.api_core import exceptions as api
from google.auth.exceptions import GoogleAuthError
from google.cloud.bigquery_storage_v1.services.big_query_write import (
    BigQueryWriteAsyncClient,
)
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcAsyncIOTransport,
)
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse

from propensity.errors import (
    ADD_COLUMNS,
    MissingTable,
    PropensityError,
    SchemaError,
    Unavailable,
)
from propensity.gcp.clients import TRANSIENT, failure, open_client
from propensity.gcp.rights import denied

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.schema import Table
    from propensity.settings import Settings

# Status codes of appends that may succeed later.
_TRANSIENT = {
    status.value[0]
    for status in (
        grpc.StatusCode.CANCELLED,
        *(kind.grpc_status_code for kind in TRANSIENT),
    )
    if status is not None
}

# The permission that the API demands on the table.
UPDATES = "bigquery.tables.updateData"


class RowsRefused(PropensityError):
    """The table refuses some rows for good; none of the batch was appended."""

    code = "rows_refused"

    def __init__(self, rows: Mapping[int, str]) -> None:
        super().__init__(f"the table refuses {len(rows)} rows")
        self.rows = rows


class Appends:
    """The Storage Write API for one instance of a function."""

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
        self._stream = (
            f"projects/{settings.project}/datasets/{settings.dataset}"
            f"/tables/{table.name}/streams/_default"
        )
        self._schema: bytes = table.arrow_schema().serialize().to_pybytes()
        self._connection: Connection | None = None

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
        check(answer, on=self._stream.partition("/streams/")[0])

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
            self._connection = Connection(self._client, self._stream)
            request.write_stream = self._stream
            request.arrow_rows.writer_schema.serialized_schema = self._schema
        return await self._connection.send(request)


def check(answer: Any, *, on: str = "") -> None:
    """Raise the error in an AppendRowsResponse, if any; ``on`` is the table."""
    if answer.row_errors:
        raise RowsRefused({error.index: error.message for error in answer.row_errors})
    code, text = answer.error.code, answer.error.message
    if not code:
        return
    if code in _TRANSIENT:
        raise Unavailable(f"BigQuery did not take rows: {text}")
    if code == grpc.StatusCode.PERMISSION_DENIED.value[0]:
        raise denied(text, service="BigQuery", needs=UPDATES, on=on)
    if code == grpc.StatusCode.NOT_FOUND.value[0]:
        raise MissingTable(f"BigQuery does not find the table: {text}")
    raise SchemaError(f"BigQuery refuses rows: {text}. {ADD_COLUMNS}")


class Connection:
    """One AppendRows call: requests out, answers in, in the same order."""

    def __init__(self, client: Any, stream: str) -> None:
        self.is_closed = False
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._task = asyncio.get_running_loop().create_task(self._run(client, stream))

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

    async def _run(self, client: Any, stream: str) -> None:
        error: PropensityError = Unavailable("BigQuery closed the stream")
        try:
            # No retry: of the call, it would lack the requests already sent.
            answers = await client.append_rows(
                self._feed(),
                retry=None,
                metadata=[("x-goog-request-params", f"write_stream={stream}")],
            )
            async for answer in answers:
                if not self._waiting:
                    error = Unavailable("BigQuery answered what was not asked")
                    break
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(AppendRowsResponse.pb(answer))
        except (api.GoogleAPICallError, GoogleAuthError, OSError) as raised:
            error = failure(
                raised,
                service="BigQuery",
                what="rows",
                needs=UPDATES,
                on=stream.partition("/streams/")[0],
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
