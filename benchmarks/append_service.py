"""
A service for what a consumer of the stream appends and publishes, and its counts.

    python -m benchmarks.append_service PORT

It speaks the Storage Write API and Pub/Sub's Publish on Google's own types. It answers
an append 10 ms after it came, many at a time and in their order, and a publish at once:
the emulators are not what is measured. It counts rows, and reads their ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pyarrow as pa
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse
from google.pubsub_v1.types import PublishRequest, PublishResponse

from local.processes import HOST, free_ports, spawn, stop, stop_with
from local.stack.state import ROOT
from propensity import tables

APPEND_S = 0.010

_WRITE = "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows"
_PUBLISH = "/google.pubsub.v1.Publisher/Publish"
_TAKE = "/benchmark.Counts/Take"


@dataclass(frozen=True)
class Counts:
    """What the service was sent since it was last asked: a number for each append."""

    rows: Sequence[int]
    event_ids: frozenset[str]
    refused: int


@dataclass(frozen=True)
class Appended:
    """An append as it came: looked into once the load is over."""

    schema: bytes
    batch: bytes
    is_events: bool

    def rows(self) -> pa.RecordBatch:
        schema = pa.ipc.read_schema(pa.py_buffer(self.schema))
        return pa.ipc.read_record_batch(pa.py_buffer(self.batch), schema)


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    """BigQueryWrite.AppendRows and Publisher.Publish, and what they were sent."""

    def __init__(self) -> None:
        self._appended: list[Appended] = []
        self._message_ids = 0

    def service(self, call: Any) -> Any:
        """Return the handler of a method; grpc calls this."""
        if call.method == _WRITE:
            return grpc.stream_stream_rpc_method_handler(
                self._append,
                AppendRowsRequest.pb().FromString,
                AppendRowsResponse.pb().SerializeToString,
            )
        if call.method == _PUBLISH:
            return grpc.unary_unary_rpc_method_handler(
                self._publish,
                PublishRequest.pb().FromString,
                PublishResponse.pb().SerializeToString,
            )
        return (
            grpc.unary_unary_rpc_method_handler(self._take)
            if call.method == _TAKE
            else None
        )

    async def _append(
        self, requests: AsyncIterator[Any], _: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        """Answer every request ``APPEND_S`` after it came, in their order."""
        loop = asyncio.get_running_loop()
        due: asyncio.Queue[float | None] = asyncio.Queue()

        async def read() -> None:
            schema, is_events = b"", False
            async for request in requests:
                due.put_nowait(loop.time() + APPEND_S)
                if request.write_stream:
                    schema = request.arrow_rows.writer_schema.serialized_schema
                    is_events = f"/{tables.STREAM_EVENTS.name}/" in request.write_stream
                batch = request.arrow_rows.rows.serialized_record_batch
                self._appended.append(Appended(schema, batch, is_events))
            due.put_nowait(None)

        reading = asyncio.create_task(read())
        try:
            while (moment := await due.get()) is not None:
                await asyncio.sleep(max(0.0, moment - loop.time()))
                yield AppendRowsResponse.pb()(
                    append_result=AppendRowsResponse.AppendResult.pb()()
                )
        finally:
            reading.cancel()

    async def _publish(self, request: Any, _: grpc.aio.ServicerContext) -> Any:
        count = len(request.messages)
        first = self._message_ids
        self._message_ids += count
        return PublishResponse.pb()(
            message_ids=[str(first + number) for number in range(count)]
        )

    async def _take(self, _: bytes, __: grpc.aio.ServicerContext) -> bytes:
        appended, self._appended = self._appended, []
        events = [append for append in appended if append.is_events]
        rows = [append.rows() for append in events]
        ids = {event_id for batch in rows for event_id in batch["event_id"].to_pylist()}
        others = [append for append in appended if not append.is_events]
        counts = {
            "rows": [batch.num_rows for batch in rows],
            "event_ids": sorted(ids),
            "refused": sum(append.rows().num_rows for append in others),
        }
        return json.dumps(counts).encode()


async def serve(port: int) -> None:
    """Serve appends and publishes on a port of 127.0.0.1 until this process ends."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Service(),))
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    await server.wait_for_termination()


def take_counts(port: int) -> Counts:
    """Return what the service was sent since this was last asked."""
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"{HOST}:{port}", options=options) as channel:
        taken = channel.unary_unary(_TAKE)(b"", timeout=60, wait_for_ready=True)
    counts = json.loads(taken)
    return Counts(**counts | {"event_ids": frozenset(counts["event_ids"])})


@contextlib.contextmanager
def append_service(folder: Path) -> Iterator[int]:
    """Run the append service; yields its port."""
    port = free_ports(1)[0]
    process = spawn(
        "appends",
        [sys.executable, "-m", "benchmarks.append_service", str(port)],
        environment={**os.environ, "PYTHONUNBUFFERED": "1"},
        folder=ROOT,
        port=port,
        log=folder / "appends.log",
    )
    try:
        take_counts(port)
        yield port
    finally:
        stop([process])


if __name__ == "__main__":
    stop_with(os.getppid())
    asyncio.run(serve(int(sys.argv[1])))
