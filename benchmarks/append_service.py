"""
A service for what functions append and publish, which counts the rows.

It speaks the Storage Write API and Pub/Sub's Publish on Google's own types, in a thread
of the benchmark's process. It answers an append after 10 ms, and a publish at
once: the emulators are not measured.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse
from google.pubsub_v1.types import PublishRequest, PublishResponse

from local.processes import HOST, free_ports

APPEND_S = 0.010


class AppendService(grpc.GenericRpcHandler):  # type: ignore[misc]
    """BigQueryWrite.AppendRows and Publisher.Publish, and what they were sent."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._appended: list[tuple[str, int]] = []

    def service(self, call: Any) -> Any:
        """Return the handler of a method; grpc calls this."""
        if call.method.endswith("/AppendRows"):
            return grpc.stream_stream_rpc_method_handler(
                self._append,
                AppendRowsRequest.pb().FromString,
                AppendRowsResponse.pb().SerializeToString,
            )
        return grpc.unary_unary_rpc_method_handler(
            lambda request, _: PublishResponse.pb()(
                message_ids=[message.message_id or "1" for message in request.messages]
            ),
            PublishRequest.pb().FromString,
            PublishResponse.pb().SerializeToString,
        )

    def _append(self, requests: Iterable[Any], _: Any) -> Iterator[Any]:
        stream, schema = "", pa.schema([])
        for request in requests:
            stream, rows = request.write_stream or stream, request.arrow_rows
            if rows.writer_schema.serialized_schema:
                buffer = pa.py_buffer(rows.writer_schema.serialized_schema)
                schema = pa.ipc.read_schema(buffer)
            buffer = pa.py_buffer(rows.rows.serialized_record_batch)
            batch = pa.ipc.read_record_batch(buffer, schema)
            self._appended.append((stream, batch.num_rows))
            time.sleep(APPEND_S)
            yield AppendRowsResponse.pb()(
                append_result=AppendRowsResponse.AppendResult.pb()()
            )

    def appended(self, table: str) -> list[int]:
        """Return the rows of each append to a table."""
        return [rows for stream, rows in self._appended if f"/{table}/" in stream]


@contextlib.contextmanager
def append_service() -> Iterator[AppendService]:
    """Run the service on a free port."""
    [port] = free_ports(1)
    service = AppendService(port)
    server = grpc.server(
        ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)]
    )
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"{HOST}:{port}")
    server.start()
    try:
        yield service
    finally:
        server.stop(None)
