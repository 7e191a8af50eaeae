"""
Let the BigQuery emulator append Arrow batches as they are.

The emulator makes JSON of every row of a Storage Write request and parses it again:
12 ms for 30 rows. Here a batch goes into its table as it came, as in BigQuery:

- Columns are matched by name. A nullable one that is not given is null, a repeated one
  is empty.
- A request is stored whole or not at all. A null where a value is required, a column
  that the table does not have and a value that does not fit are answered with the rows
  that they are in.
- What is answered is durable and in every query that starts then. Requests of a stream
  are answered in their order.
- Requests that wait for the same table, behind each other or behind another writer,
  share one commit.

- Batches of a pending stream wait as they came, and are stored at once when the stream
  is committed; of a stream that was committed before, a commit says so.

Batches of buffered streams, and requests in protocol buffers, take the emulator's way.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, NoReturn

from local.emulators.bigquery.layouts import (
    ROWS,
    Layout,
    Reference,
    RowError,
    explain,
    has_holes,
    layout_of,
)
from local.emulators.bigquery.lookups import Catalog


@dataclass(frozen=True)
class Append:
    """One request's batch for a table, and what will have become of it."""

    reference: Reference
    batch: Any
    problems: futures.Future[list[RowError]] = field(default_factory=futures.Future)


class Appends:
    """
    Batches on their way into tables; one thread writes them.

    Args:
        catalog: Says when a table may have changed.
        lock: What all writers hold while they write.
    """

    def __init__(self, catalog: Catalog, lock: threading.RLock) -> None:
        self._catalog = catalog
        self._lock = lock
        self._waiting: queue.SimpleQueue[Append] = queue.SimpleQueue()
        self._layouts: dict[Reference, tuple[int, Layout]] = {}
        threading.Thread(target=self._write, name="appends", daemon=True).start()

    def append(self, reference: Reference, batch: Any) -> list[RowError]:
        """
        Store a record batch, or nothing of it.

        Returns:
            What is wrong with its rows; empty when they are stored.

        Raises:
            BigQueryError: There is no such table.
            StorageError: Another transaction is in the way; trying again may help.
        """
        append = Append(reference, batch)
        self._waiting.put(append)
        return append.problems.result()

    def problems(self, reference: Reference, batch: Any) -> list[RowError]:
        """Return what is wrong with rows that are not stored yet; empty for nothing."""
        return explain(self._layout(reference), batch)

    def _write(self) -> NoReturn:
        while True:
            appends = [self._waiting.get()]
            with self._lock:
                with contextlib.suppress(queue.Empty):
                    while True:
                        appends.append(self._waiting.get_nowait())
                groups: dict[Any, list[Append]] = {}
                for append in appends:
                    key = (append.reference, append.batch.schema)
                    groups.setdefault(key, []).append(append)
                for (reference, _), group in groups.items():
                    self._write_group(reference, group)

    def _write_group(self, reference: Reference, group: list[Append]) -> None:
        if len(group) > 1:
            try:
                self._insert(reference, [append.batch for append in group])
            except Exception:  # found and told one by one
                pass
            else:
                for append in group:
                    append.problems.set_result([])
                return
        for append in group:
            try:
                problems = self._insert_or_explain(reference, append.batch)
            except Exception as error:
                append.problems.set_exception(error)
            else:
                append.problems.set_result(problems)

    def _insert_or_explain(self, reference: Reference, batch: Any) -> list[RowError]:
        import duckdb
        import grpc
        from local_bigquery.grpc.read import StorageError

        try:
            self._insert(reference, [batch])
        except duckdb.TransactionException as error:
            raise StorageError(grpc.StatusCode.ABORTED, str(error)) from error
        except (duckdb.Error, ValueError):
            problems = explain(self._layout(reference), batch)
            if not problems:
                raise
            return problems
        return []

    def _insert(self, reference: Reference, batches: list[Any]) -> None:
        """Insert batches of one schema; ValueError or DuckDB's where it cannot."""
        import pyarrow as pa
        from local_bigquery.engine import database

        layout = self._layout(reference)
        rows = pa.Table.from_batches(batches)
        insert = layout.insert(rows.schema)
        if any(has_holes(column) for column in rows.columns):
            raise ValueError("null in an array")
        with database.cursor() as cursor:
            # DuckDB reads a stream at once; of a table it would make a data set first.
            cursor.register(ROWS, rows.__arrow_c_stream__())
            cursor.execute(insert)

    def _layout(self, reference: Reference) -> Layout:
        from local_bigquery.catalog import metadata, tables
        from local_bigquery.models import Table

        generation = self._catalog.generation
        known = self._layouts.get(reference)
        if (
            known is not None
            and known[0] == generation
            and not tables.expired(metadata.load(Table, *reference))
        ):
            return known[1]
        tables.load(*reference)
        layout = layout_of(reference)
        if generation is not None:
            self._layouts[reference] = generation, layout
        return layout


def append_directly(catalog: Catalog, lock: threading.RLock) -> None:  # noqa: PLR0915
    """Have streams store Arrow batches through ``Appends``."""
    import pyarrow as pa
    from google.cloud.bigquery_storage_v1 import types
    from local_bigquery.errors import BigQueryError
    from local_bigquery.grpc import server, write

    appends = Appends(catalog, lock)
    waiting: dict[str, list[Any]] = {}
    # Of two connections that send the same rows of a stream one is later.
    in_turn = threading.Lock()
    insert_rows, commit_streams = write._insert, write.commit

    def insert(stream: Any, rows: Any) -> list[RowError]:
        if isinstance(rows, pa.RecordBatch):
            return appends.append(stream.table, rows)
        errors: list[RowError] = insert_rows(stream, rows) if rows else []
        return errors

    def batch(request: Any, schema: Any) -> Any:
        if schema is None:
            raise BigQueryError("invalid", "The first request must bring its schema.")
        serialized = request.arrow_rows.rows.serialized_record_batch
        try:
            return pa.ipc.read_record_batch(pa.py_buffer(serialized), schema)
        except (pa.ArrowException, OSError) as error:
            raise BigQueryError(
                "invalid", f"Unreadable record batch: {error}"
            ) from error

    def keep(stream: Any, rows: Any, offset: int | None) -> Any:
        """Let a batch wait for its stream's commit, once it is known to fit."""
        with in_turn:
            answer = write._append(stream, [], offset)
            if answer.error.code:
                return answer
            if problems := appends.problems(stream.table, rows):
                return _refusal(stream, problems)
            waiting.setdefault(stream.name, []).append(rows)
            stream.count += len(rows)
        return answer

    def append(requests: Iterator[Any]) -> Iterator[Any]:
        name = schema = None
        decode: Any = None
        for request in requests:
            raw = types.AppendRowsRequest.pb(request)
            name = raw.write_stream or name
            stream = write._stream(name)
            if serialized := raw.arrow_rows.writer_schema.serialized_schema:
                schema = pa.ipc.read_schema(pa.py_buffer(serialized))
                columns = write.tables.columns(*stream.table)
                there = {column.name.casefold() for column in columns}
                if extra := [n for n in schema.names if n.casefold() not in there]:
                    names = ",".join(extra)
                    why = "Input schema has more fields than BigQuery schema"
                    yield _refusal(stream, [], f"{why}, extra fields: '{names}'")
                    return
            offset = raw.offset.value if raw.HasField("offset") else None
            is_arrow = raw.HasField("arrow_rows")
            if is_arrow and stream.type == write.Type.PENDING:
                yield keep(stream, batch(raw, schema), offset)
                continue
            if is_arrow and stream.type == write.Type.COMMITTED:
                rows = batch(raw, schema)
            else:
                decode = write._decoder(request) or decode
                rows = decode(request, write.tables.columns(*stream.table))
            yield write._append(stream, rows, offset)

    def commit(request: Any) -> Any:
        streams = [write._stream(name) for name in request.write_streams]
        before = [stream for stream in streams if stream.committed]
        if before:
            code = types.StorageError.StorageErrorCode.STREAM_ALREADY_COMMITTED
            return types.BatchCommitWriteStreamsResponse(
                stream_errors=[
                    types.StorageError(
                        code=code,
                        entity=stream.name,
                        error_message="Stream is already committed",
                    )
                    for stream in before
                ]
            )
        if all(stream.finalized for stream in streams):
            for stream in streams:
                if batches := waiting.pop(stream.name, []):
                    rows = pa.Table.from_batches(batches).combine_chunks()
                    appends.append(stream.table, rows.to_batches()[0])
        return commit_streams(request)

    def get(request: Any) -> Any:
        """Return a stream, with its table's columns where the whole of it is asked."""
        found = write.get(request)
        if request.view == types.WriteStreamView.FULL:
            columns = write.tables.columns(*write._stream(request.name).table)
            fields = [write._field(column) for column in columns]
            found.table_schema = types.TableSchema(fields=fields)
        return found

    write._insert = insert
    write_service = server.SERVICES["google.cloud.bigquery.storage.v1.BigQueryWrite"]
    write_service["AppendRows"] = server._streaming(
        append,
        types.AppendRowsRequest,
        types.AppendRowsResponse,
        bidirectional=True,
    )
    write_service["GetWriteStream"] = server._unary(
        get, types.GetWriteStreamRequest, types.WriteStream
    )
    write_service["BatchCommitWriteStreams"] = server._unary(
        commit,
        types.BatchCommitWriteStreamsRequest,
        types.BatchCommitWriteStreamsResponse,
    )


def _refusal(
    stream: Any, problems: list[RowError], why: str = "Rows are invalid"
) -> Any:
    """Return what answers a batch that its table cannot take, for its rows or whole."""
    import grpc
    from google.cloud.bigquery_storage_v1 import types
    from local_bigquery.grpc import write

    answer = types.AppendRowsResponse(write_stream=stream.name)
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    answer.error = write._status(invalid, why)
    answer.row_errors = [
        types.RowError(
            index=problem["index"],
            code=types.RowError.RowErrorCode.FIELDS_ERROR,
            message=problem["errors"][0]["message"],
        )
        for problem in problems
    ]
    return answer
