"""
The edge to BigQuery's Storage Write API for runs: rows of a table, all of them or none.

Rows go to a pending stream as Arrow record batches, each at its offset, and are in the
table once the stream is committed. A request that is sent again is known by its offset,
and a stream is committed once, so that no retry adds a row. The documentation asks for
``bigquery.tables.updateData`` on the table and nothing else, where it asks for the
rights to create and to alter tables for a load job. ``appends.py`` is for instances
that append all the time.

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

from propensity.edges.appends import UPDATES, check
from propensity.edges.channels import open_client
from propensity.edges.rights import denied
from propensity.errors import Unavailable

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.settings import Settings

# Of one request; BigQuery takes 10 MB with all that is around the rows.
REQUEST_BYTES = 2 * 1024**2

# How often a connection that broke is opened again without a row acknowledged between.
_TRIES = 5

_PASSING = (
    api.Aborted,
    api.DeadlineExceeded,
    api.InternalServerError,
    api.ResourceExhausted,
    api.ServiceUnavailable,
    api.Unknown,
)
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
    Append rows to a table: all are in it when this returns, none where it raises.

    An error after the commit was sent leaves open whether it was done.

    Args:
        client: As ``open_client`` gives it.
        settings: Project and dataset, and how long a request may take.
        table: Its name in the dataset.
        rows: In the table's Arrow schema.

    Raises:
        RowsRefused, SchemaError: The table does not take rows.
        MissingTable: There is no such table.
        AccessDenied: The account may not change the table.
        Unavailable: BigQuery failed or was too slow.
        google.api_core.exceptions.GoogleAPICallError: The same, of calls but the
            appending one; ``Warehouse`` translates them.
    """
    limits: Any = {
        "retry": api_retry.Retry(
            predicate=api_retry.if_exception_type(*_PASSING),
            initial=0.1,
            maximum=2.0,
            timeout=float(settings.retry_deadline_s),
        ),
        "timeout": float(settings.retry_deadline_s),
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
    """Put what a stream holds into its table, at once."""
    # Both may be sent again: a finalized stream stays so, and a committed one says so.
    counted = client.finalize_write_stream(name=stream, **limits).row_count
    if counted != rows:
        raise Unavailable(f"BigQuery has {counted} of {rows} rows, and committed none")
    request = BatchCommitWriteStreamsRequest(parent=parent, write_streams=[stream])
    answer = client.batch_commit_write_streams(request, **limits)
    committed = StorageError.StorageErrorCode.STREAM_ALREADY_COMMITTED
    wrong = [one for one in answer.stream_errors if one.code != committed]
    if wrong:
        raise Unavailable(f"BigQuery did not commit rows: {wrong[0].error_message}")


def _send(
    client: BigQueryWriteClient, stream: str, rows: pa.Table, *, timeout: float
) -> None:
    """Send rows to a stream, from where it was left each time a connection breaks."""
    parts = list(slices(rows))
    sent, tries = 0, 0
    while sent < len(parts):
        answers: Any = None
        try:
            answers = client.append_rows(
                _requests(stream, rows.schema, parts[sent:]),
                # Tried again by the client, a call would lack what it has sent.
                retry=None,
                timeout=timeout,
                metadata=(("x-goog-request-params", f"write_stream={stream}"),),
            )
            for answer in answers:
                # What was sent before a connection broke may be there.
                if answer.error.code != _ALREADY_THERE:
                    check(answer, on=stream.partition("/streams/")[0])
                sent, tries = sent + 1, 0
            if sent < len(parts):
                raise Unavailable("BigQuery closed the stream")
        except (*_PASSING, Unavailable) as error:
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
