"""
Proxies between an instance and the emulators, which fail on demand.

A ``TcpProxy`` loses connections, a ``WriteProxy`` answers the Storage Write API as a
service in trouble does.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types as storage_types

from local.processes import HOST
from tests.functions.streaming import DEADLINE_S
from tests.proxy import Asked, GrpcProxy


class TcpProxy:
    """Between a client and a server: loses their connections, and takes no new ones."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_refusing = False
        self.connections = 0

    def __enter__(self) -> TcpProxy:
        self._listener = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def refuse(self) -> None:
        """Cut every connection, and each new one at once."""
        self.is_refusing = True
        self._call(self._cut)

    def accept(self) -> None:
        """Let connections through again."""
        self.is_refusing = False

    def cut(self) -> None:
        """Cut every connection that there is now."""
        self._call(self._cut)

    def _call(self, function: Callable[[], None]) -> None:
        completed = threading.Event()

        def call() -> None:
            function()
            completed.set()

        self._loop.call_soon_threadsafe(call)
        assert completed.wait(DEADLINE_S)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        started = asyncio.start_server(self._serve, sock=self._listener)
        server = self._loop.run_until_complete(started)
        self._loop.run_forever()
        server.close()
        self._cut()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            self._loop.run_until_complete(
                asyncio.gather(*self._tasks, return_exceptions=True)
            )
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            if self.is_refusing:
                return
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
            self._writers.add(up_writer)
            await asyncio.gather(
                self._pump(reader, up_writer), self._pump(up_reader, writer)
            )
            up_writer.transport.abort()
            self._writers.discard(up_writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@dataclass(frozen=True)
class Appended:
    """One request to append: to which table, and its rows."""

    table: str
    rows: pa.RecordBatch


Rule = Callable[[Appended], Any]


class WriteProxy(GrpcProxy):
    """
    The emulator's Storage API, whose appends a rule may answer instead.

    The rule returns None to let an append through, a ``grpc.StatusCode`` to end its
    call with, ``LOST`` to append and then end the call, texts by row to refuse rows. It
    may also wait: then the service is slow.
    """

    LOST = "lost"
    APPEND = "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows"

    def __init__(self, upstream: str, rule: Rule = lambda _: None) -> None:
        super().__init__({"/": upstream})
        self.rule = rule
        self.appended: list[Appended] = []

    def __exit__(self, *_: object) -> None:
        self.rule = lambda _: grpc.StatusCode.UNAVAILABLE
        super().__exit__()

    def serve(
        self, method: str, sent: Iterator[bytes], context: Any
    ) -> Iterator[bytes]:
        """Answer as the emulator does, but for what the rule says of appends."""
        if method != self.APPEND:
            yield from super().serve(method, sent, context)
            return
        through: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        call = self.call(method, iter(through.get, None), context)
        request = storage_types.AppendRowsRequest.pb()
        table, schema, opening = "", None, None
        try:
            for data in sent:
                append_request = request.FromString(data)
                if append_request.write_stream:
                    table = append_request.write_stream.split("/")[-3]
                    opening = append_request
                arrow_rows = append_request.arrow_rows
                if written := arrow_rows.writer_schema.serialized_schema:
                    schema = pa.ipc.read_schema(pa.py_buffer(written))
                rows = pa.ipc.read_record_batch(
                    pa.py_buffer(arrow_rows.rows.serialized_record_batch), schema
                )
                appended = Appended(table, rows)
                outcome = self.rule(appended)
                if isinstance(outcome, grpc.StatusCode):
                    context.abort(outcome, "injected")
                if isinstance(outcome, Mapping):
                    yield _refusing(outcome)
                    continue
                # Where the first was refused, the next one opens the stream up there.
                if opening and not append_request.write_stream:
                    append_request.write_stream = opening.write_stream
                    append_request.arrow_rows.writer_schema.CopyFrom(
                        opening.arrow_rows.writer_schema
                    )
                opening = None
                through.put(append_request.SerializeToString())
                answer = next(call)
                self.appended.append(appended)
                if outcome == self.LOST:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "injected")
                yield answer
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        finally:
            through.put(None)


def _refusing(rows: Mapping[int, str]) -> bytes:
    response = storage_types.AppendRowsResponse.pb()()
    response.error.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    response.error.message = "Errors found while processing rows"
    for index, text in rows.items():
        response.row_errors.add(index=index, code=1, message=text)
    return bytes(response.SerializeToString())


def beyond_the_limit(*marks: bytes) -> Callable[[Asked], tuple[int, bytes] | None]:
    """Refuse queries that have all the marks, as BigQuery does those that cost much."""
    text = b'{"error": {"message": "Query exceeded limit for bytes billed: 1"}}'

    def rule(asked: Asked) -> tuple[int, bytes] | None:
        return (400, text) if all(mark in asked.body for mark in marks) else None

    return rule
