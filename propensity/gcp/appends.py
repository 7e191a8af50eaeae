"""
Appends of an instance that appends all the time, by BigQuery's Storage Write API.

Rows go to the table's default stream, as Arrow record batches: visible once they are
acknowledged, at least once. ``writes`` is for runs and commands.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.api_core import exceptions as api
from google.cloud.bigquery_storage_v1.services.big_query_write import (
    BigQueryWriteAsyncClient,
)

from propensity.errors import Unavailable
from propensity.gcp.clients import open_client
from propensity.gcp.errors import BIGQUERY, translated
from propensity.gcp.writes import UPDATES, check, metadata, path_of, request_of

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.schema import Table
    from propensity.settings import Settings

# Of a connection that is closed.
_BROKEN = (api.GoogleAPICallError, Unavailable, asyncio.InvalidStateError)

_of_grpc: Any = api.from_grpc_error


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
        path = path_of(self.settings, table.stored)
        with translated(self.settings, BIGQUERY, on=path, needs=UPDATES):
            async with asyncio.timeout(float(self.settings.deadline_s)):
                check(await self._answer(path, rows))

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
