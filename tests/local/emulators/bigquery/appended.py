"""A table that rows are appended to over the write API."""

from __future__ import annotations

import grpc
import pyarrow as pa
import pytest
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcTransport,
)

from tests.local.emulators.bigquery.conftest import Warehouse

DDL = """
    CREATE TABLE t (
      id STRING NOT NULL, n INT64, f FLOAT64, b BOOL, day DATE, at TIMESTAMP,
      amount NUMERIC, raw BYTES, tags ARRAY<STRING>,
      place STRUCT<city STRING, floor INT64>
    )
    PARTITION BY day CLUSTER BY id
"""


def write_client(address: str) -> BigQueryWriteClient:
    """Return a client with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.insecure_channel(address, options=options)
    return BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))


def requests(stream, batches):
    """Yield what appends batches of one schema to a stream."""
    for number, batch in enumerate(batches):
        rows = types.ArrowRecordBatch(
            serialized_record_batch=batch.serialize().to_pybytes()
        )
        data = types.AppendRowsRequest.ArrowData(rows=rows)
        request = types.AppendRowsRequest(arrow_rows=data)
        if number == 0:
            request.write_stream = stream
            data = request.arrow_rows
            data.writer_schema.serialized_schema = batch.schema.serialize().to_pybytes()
        yield request


class Table(Warehouse):
    """A table ``t``, and what appends to it."""

    def __init__(self, workplace):
        super().__init__(workplace)
        self.address = workplace.bigquery.storage_address
        self.name = self.path("t")
        self.rows(DDL)

    def path(self, table):
        return (
            f"projects/{self.client.project}/datasets/{self.dataset}/tables/{table}"
            "/streams/_default"
        )

    def append(self, *batches, stream=None):
        """Append over one connection, pipelined; return the responses."""
        sent = requests(stream or self.name, batches)
        return list(write_client(self.address).append_rows(sent))

    def count(self):
        [(found,)] = self.rows("SELECT COUNT(*) FROM t")
        return found


@pytest.fixture
def table(workplace):
    return Table(workplace)


def ids(*values, **columns):
    return pa.RecordBatch.from_pydict({"id": list(values), **columns})


ID_AND_N = pa.schema([("id", pa.string()), ("n", pa.int64())])


def column(kind, value):
    return pa.array([value], kind)
