"""
The edge to BigQuery's Storage Write API for runs: all rows or none.

Rows go to a pending stream as Arrow record batches, each at its offset, and are in the
table once the stream is committed. BigQuery knows a repeated request by its offset, and
commits a stream once, so that no retry adds a row. The documentation demands only
``bigquery.tables.updateData`` on the table; a load job also needs the rights to create
and to alter tables. ``appends.py`` is for instances that append all the time.

Sources:
    https://cloud.google.com/bigquery/docs/write-api, required permissions;
    https://cloud.google.com/bigquery/docs/write-api-batch, pending streams;
    https://cloud.google.com/bigquery/docs/batch-loading-data, required permissions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import grpc
from google.api_core import exceptions as api
from google.api_core import retry as api_retry
from google.cloud.bigquery_storage_v1.services.big_query_write import (
    BigQueryWriteClient,
)
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcTransport,
)
from google.cloud.bigquery_storage_v1.types import (
    AppendRowsRequest,
    BatchCommitWriteStreamsRequest,
    StorageError,
    WriteStream,
)

from propensity.errors import Unavailable
from propensity.gcp.appends import UPDATES, check
from propensity.gcp.clients import TRANSIENT, open_client
from propensity.gcp.rights import denied

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.settings import Settings

# Of one request; BigQuery's limit is 10 MB for rows and envelope.
REQUEST_BYTES = 2 * 1024**2

# Connections in a row that may break without an acknowledged request.
_TRIES = 5

_ALREADY_THERE = grpc.StatusCode.ALREADY_EXISTS.value[0]


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

    After an error of the commit itself the rows may be there or not.

    Args:
        client: From ``client_of``.
        settings: Project and dataset, and deadlines.
        table: Its name in the dataset.
        rows: In the table's Arrow schema.

    Raises:
        RowsRefused, SchemaError: The table does not take rows.
        MissingTable: There is no such table.
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
    parent = f"projects/{settings.project}/datasets/{settings.dataset}/tables/{table}"
    try:
        pending = WriteStream(type_=WriteStream.Type.PENDING)
        stream = client.create_write_stream(
            parent=parent, write_stream=pending, **limits
        ).name
        _send(client, stream, rows, timeout=float(settings.query_timeout_s))
        _commit(client, parent, stream, rows=len(rows), limits=limits)
    except api.PermissionDenied as error:
        raise denied(
            error.message,
            service="BigQuery",
            credentials=getattr(client.transport, "_credentials", None),
            needs=UPDATES,
            on=parent,
        ) from error


def _commit(
    client: BigQueryWriteClient, parent: str, stream: str, *, rows: int, limits: Any
) -> None:
    """Commit the rows of a stream to its table, at once."""
    # Both calls may be repeated: BigQuery reports a stream that is committed already.
    counted = client.finalize_write_stream(name=stream, **limits).row_count
    if counted != rows:
        raise Unavailable(f"BigQuery has {counted} of {rows} rows, and committed none")
    request = BatchCommitWriteStreamsRequest(parent=parent, write_streams=[stream])
    answer = client.batch_commit_write_streams(request, **limits)
    committed = StorageError.StorageErrorCode.STREAM_ALREADY_COMMITTED
    errors = [error for error in answer.stream_errors if error.code != committed]
    if errors:
        raise Unavailable(f"BigQuery did not commit rows: {errors[0].error_message}")


def _send(
    client: BigQueryWriteClient, stream: str, rows: pa.Table, *, timeout: float
) -> None:
    """Send rows to a stream; a new connection goes on where the last one broke."""
    parts = list(slices(rows))
    n_sent, tries = 0, 0
    while n_sent < len(parts):
        answers: Any = None
        try:
            answers = client.append_rows(
                _requests(stream, rows.schema, parts[n_sent:]),
                # A retry by the client would lack the requests already sent.
                retry=None,
                timeout=timeout,
                metadata=(("x-goog-request-params", f"write_stream={stream}"),),
            )
            for answer in answers:
                # The rows of a request may be there from a connection that broke.
                if answer.error.code != _ALREADY_THERE:
                    check(answer, on=stream.partition("/streams/")[0])
                n_sent, tries = n_sent + 1, 0
            if n_sent < len(parts):
                raise Unavailable("BigQuery closed the stream")
        except (*TRANSIENT, Unavailable) as error:
            tries += 1
            if tries >= _TRIES:
                raise Unavailable(
                    f"BigQuery did not take rows: {type(error).__name__}"
                ) from error
        finally:
            if answers is not None:
                answers.cancel()


def slices(rows: pa.Table) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield rows in parts of one request each, and the offset of each part."""
    wide = max(1, -(-rows.nbytes // max(1, len(rows))))
    most = max(1, REQUEST_BYTES // wide)
    offset = 0
    for batch in rows.combine_chunks().to_batches(max_chunksize=most):
        yield offset, batch
        offset += len(batch)


def _requests(
    stream: str, schema: pa.Schema, parts: list[tuple[int, pa.RecordBatch]]
) -> Iterator[Any]:
    for number, (offset, batch) in enumerate(parts):
        request = AppendRowsRequest.pb()()
        if not number:
            request.write_stream = stream
            writer = request.arrow_rows.writer_schema
            writer.serialized_schema = schema.serialize().to_pybytes()
        request.offset.value = offset
        serialized = batch.serialize().to_pybytes()
        request.arrow_rows.rows.serialized_record_batch = serialized
        yield AppendRowsRequest.wrap(request)
