"""
A proxy between an instance and the emulators, which fails on demand: it answers the
Storage Write API as a service in trouble does.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types as storage_types

from tests.proxy import GrpcProxy


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
