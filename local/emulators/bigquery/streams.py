"""
BigQuery's Storage API: rows of Arrow, read by streams and appended.

An append is durable once it is answered. Rows of a pending stream are in memory until
it is committed: what is not committed may be lost, and is *not found* then.

Source: https://cloud.google.com/bigquery/docs/reference/storage/rpc
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import pyarrow as pa
from google.api_core import exceptions as api
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from local.emulators.bigquery.jobs import Jobs, Kept, problem_of
from local.ground.bigquery import BigQuery
from local.ground.sql import Path3
from local.processes import HOST

# A stream of appends has a thread for as long as it is open.
THREADS = 256
# Rows of one answer: a client holds one at a time.
ANSWER_ROWS = 10_000
TABLE = re.compile(r"projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)")
DEFAULT = "/streams/_default"
SERVICE = "google.cloud.bigquery.storage.v1.BigQuery"
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    501: grpc.StatusCode.UNIMPLEMENTED,
}
OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE.value[0]
INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]
EXISTS = grpc.StatusCode.ALREADY_EXISTS.value[0]

# The messages themselves: wrapped ones take a third of an append's time.
_Codes = types.StorageError.StorageErrorCode
_RowCodes = types.RowError.RowErrorCode


def path_of(name: str) -> Path3:
    """Return the table that a name of the API begins with."""
    found = TABLE.match(name)
    if found is None:
        raise api.BadRequest(f"Invalid table name: {name}")
    return found[1], found[2], found[3]


class Reads:
    """Sessions of reading: the rows of a table as they were when it began."""

    def __init__(self, ground: BigQuery, jobs: Jobs) -> None:
        self.ground = ground
        self.jobs = jobs
        self._rows: Kept[pa.Table] = Kept()

    def create_session(self, request: Any, _: Any) -> Any:
        wanted = request.read_session
        if wanted.data_format != types.DataFormat.ARROW:
            raise api.BadRequest("Only Arrow is read on this machine")
        path = path_of(wanted.table)
        rows = self._table(path, wanted.read_options)
        name = f"projects/{path[0]}/locations/us/sessions/{uuid.uuid4().hex}"
        session = types.ReadSession.pb()(
            name=name,
            table=wanted.table,
            data_format=wanted.data_format,
            estimated_row_count=len(rows),
        )
        session.arrow_schema.serialized_schema = rows.schema.serialize().to_pybytes()
        if len(rows):
            stream = f"{name}/streams/0"
            self._rows.put(stream, rows)
            session.streams.add(name=stream)
        return session

    def _table(self, path: Path3, options: Any) -> pa.Table:
        names = list(options.selected_fields)
        if path[1] == "_results":
            rows = self.jobs.result(path[2])
            if rows is None:
                raise api.NotFound(f"Not found: the result of {path[2]}")
            return rows.select(names) if names else rows
        if options.row_restriction:
            raise api.BadRequest("Rows are not restricted on this machine")
        fields = [bigquery.SchemaField(name, "") for name in names]
        return self.ground.list_rows(".".join(path), fields).table

    def read_rows(self, request: Any, _: Any) -> Iterator[Any]:
        rows = self._rows.find(request.read_stream)
        if rows is None:
            raise api.NotFound(f"Not found: Stream {request.read_stream}")
        answer = types.ReadRowsResponse.pb()
        first = True
        for batch in rows.slice(request.offset).to_batches(max_chunksize=ANSWER_ROWS):
            found = answer(row_count=batch.num_rows)
            data = batch.serialize().to_pybytes()
            found.arrow_record_batch.serialized_record_batch = data
            if first:
                schema = rows.schema.serialize().to_pybytes()
                found.arrow_schema.serialized_schema = schema
            first = False
            yield found


@dataclass
class Stream:
    """A pending stream of appends."""

    path: Path3
    batches: list[pa.RecordBatch] = field(default_factory=list)
    count: int = 0
    is_finalized: bool = False


class Writes:
    """Appends to a table's default stream, or to pending ones that are committed."""

    def __init__(self, ground: BigQuery) -> None:
        self.ground = ground
        self._streams: Kept[Stream] = Kept()

    def create(self, request: Any, _: Any) -> Any:
        path = path_of(request.parent)
        if request.write_stream.type_ != types.WriteStream.Type.PENDING:
            raise api.BadRequest("Streams on this machine are pending, or the default")
        self.ground.get_table(".".join(path))
        name = f"{request.parent}/streams/{uuid.uuid4().hex}"
        self._streams.put(name, Stream(path))
        return types.WriteStream.pb()(name=name, type_=request.write_stream.type_)

    def append(self, requests: Iterator[Any], _: Any) -> Iterator[Any]:
        """Answer each request in its turn; the first says the stream and the schema."""
        name = ""
        schema = None
        for request in requests:
            name = request.write_stream if request.write_stream else name
            given = request.arrow_rows
            if not request.HasField("arrow_rows"):
                raise api.BadRequest("Only rows of Arrow are appended on this machine")
            if given.writer_schema.serialized_schema:
                text = pa.py_buffer(given.writer_schema.serialized_schema)
                schema = pa.ipc.read_schema(text)
            rows = pa.py_buffer(given.rows.serialized_record_batch)
            batch = pa.ipc.read_record_batch(rows, schema)
            offset = request.offset.value if request.HasField("offset") else None
            answer = types.AppendRowsResponse.pb()(write_stream=name)
            if name.endswith(DEFAULT):
                self._append(path_of(name), batch, answer)
            else:
                self._stage(self._stream(name), batch, offset, answer)
            yield answer

    def _append(self, path: Path3, batch: pa.RecordBatch, answer: Any) -> None:
        """Append all rows of a request, or none and say which are to blame."""
        rows = pa.Table.from_batches([batch])
        try:
            self.ground.append(path, rows)
            answer.append_result.SetInParent()
        except api.BadRequest as error:
            refused = self.ground.refused(path, rows)
            answer.error.code = INVALID
            answer.error.message = str(error.message)
            for place, reason in refused.items():
                answer.row_errors.add(
                    index=place, code=_RowCodes.FIELDS_ERROR, message=reason
                )

    def _stage(
        self, stream: Stream, batch: pa.RecordBatch, offset: int | None, answer: Any
    ) -> None:
        """Keep the rows of a request until their stream is committed."""
        if stream.is_finalized:
            answer.error.code = INVALID
            answer.error.message = "The stream is finalized"
        elif offset is not None and offset != stream.count:
            answer.error.code = EXISTS if offset < stream.count else OUT_OF_RANGE
            answer.error.message = f"The next offset is {stream.count}, not {offset}"
        else:
            answer.append_result.offset.value = stream.count
            stream.batches.append(batch)
            stream.count += batch.num_rows

    def _stream(self, name: str) -> Stream:
        stream = self._streams.find(name)
        if stream is None:
            raise api.NotFound(f"Not found: Stream {name}")
        return stream

    def finalize(self, request: Any, _: Any) -> Any:
        stream = self._stream(request.name)
        stream.is_finalized = True
        return types.FinalizeWriteStreamResponse.pb()(row_count=stream.count)

    def commit(self, request: Any, _: Any) -> Any:
        """Commit streams of one table together; a repeated commit changes nothing."""
        answer = types.BatchCommitWriteStreamsResponse.pb()()
        staged = {}
        for name in request.write_streams:
            stream = self._streams.find(name)
            if name in self.ground.catalog.calls:
                code = _Codes.STREAM_ALREADY_COMMITTED
            elif stream is None:
                code = _Codes.STREAM_NOT_FOUND
            elif not stream.is_finalized:
                code = _Codes.INVALID_STREAM_STATE
            else:
                staged[name] = stream.batches
                continue
            said = f"{_Codes(code).name}: {name}"
            answer.stream_errors.add(code=code, entity=name, error_message=said)
        if staged and not answer.stream_errors:
            self.ground.commit(path_of(request.parent), staged)
            answer.commit_time.GetCurrentTime()
            for name in staged:
                self._streams.pop(name)
        return answer


def serve(ground: BigQuery, jobs: Jobs, port: int) -> Any:
    """Start the gRPC server; the port must be free."""
    reads = Reads(ground, jobs)
    writes = Writes(ground)
    unary = grpc.unary_unary_rpc_method_handler
    services: dict[str, dict[str, tuple[Any, Any]]] = {
        "Read": {
            "CreateReadSession": (unary, reads.create_session),
            "ReadRows": (grpc.unary_stream_rpc_method_handler, reads.read_rows),
        },
        "Write": {
            "CreateWriteStream": (unary, writes.create),
            "AppendRows": (grpc.stream_stream_rpc_method_handler, writes.append),
            "FinalizeWriteStream": (unary, writes.finalize),
            "BatchCommitWriteStreams": (unary, writes.commit),
        },
    }
    server = grpc.server(
        futures.ThreadPoolExecutor(THREADS, "grpc"),
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)],
    )
    for service, methods in services.items():
        handlers = {
            name: _handler(kind, function, getattr(types, f"{name}Request"))
            for name, (kind, function) in methods.items()
        }
        generic = grpc.method_handlers_generic_handler(f"{SERVICE}{service}", handlers)
        server.add_generic_rpc_handlers([generic])
    server.add_insecure_port(f"{HOST}:{port}")
    server.start()
    return server


def _handler(kind: Any, function: Callable[..., Any], request: Any) -> Any:
    """Return a method of a service, whose errors are said as Google's."""

    def answer(given: Any, context: Any) -> Any:
        try:
            return function(given, context)
        except BaseException as error:
            _abort(context, error)

    def answers(given: Any, context: Any) -> Iterator[Any]:
        try:
            yield from function(given, context)
        except grpc.RpcError:
            # The client has gone away.
            return
        except Exception as error:
            _abort(context, error)

    is_one = kind is grpc.unary_unary_rpc_method_handler
    return kind(
        answer if is_one else answers,
        request_deserializer=request.pb().FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )


def _abort(context: Any, error: BaseException) -> None:
    problem = problem_of(error)
    context.abort(CODES.get(problem.code, grpc.StatusCode.INTERNAL), problem.message)
