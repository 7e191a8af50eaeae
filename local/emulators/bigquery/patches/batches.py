"""Arrow batches that are stored as they come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.grpc.write": (
        "def _decoder(",
        "def _insert(",
    ),
}


class Batch:
    """An Arrow batch in the place of the emulator's list of rows."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def __iter__(self) -> Iterator[Batch]:
        """Be one element of the rows that wait for a stream's commit."""
        yield self


def append_batches(lock: threading.RLock) -> None:
    """
    Store Arrow batches of the Storage Write API as they come.

    The emulator makes JSON of every row and parses it again: 12 ms for 30 rows. It
    still does for batches that do not fit, to find out which rows are to blame.
    """
    import duckdb
    import pyarrow as pa
    from local_bigquery.catalog import tables
    from local_bigquery.engine import database
    from local_bigquery.grpc import write

    decoder_of = write._decoder
    insert_rows = write._insert

    def decoder(request: Any) -> Any:
        if "arrow_rows" not in request:
            return decoder_of(request)
        serialized = request.arrow_rows.writer_schema.serialized_schema
        if not serialized:
            return None
        schema = pa.ipc.read_schema(pa.py_buffer(serialized))

        def decode(request: Any, fields: Any) -> Batch:
            rows = pa.py_buffer(request.arrow_rows.rows.serialized_record_batch)
            return Batch(pa.ipc.read_record_batch(rows, schema))

        return decode

    def insert(stream: Any, rows: Any) -> list[Any]:
        batches = [part.batch for part in rows if isinstance(part, Batch)]
        if not batches:
            return list(insert_rows(stream, rows)) if rows else []
        table = pa.Table.from_batches(batches)
        try:
            with lock:
                _insert(stream.table, table)
        except (duckdb.Error, KeyError):
            plain = [write._plain(row) for row in table.to_pylist()]
            return list(insert_rows(stream, plain))
        return []

    def _insert(reference: tuple[str, str, str], rows: Any) -> None:
        name = tables.name(*reference)
        with database.writing(*reference), database.cursor() as cursor:
            try:
                target = cursor.sql(f"SELECT * FROM {name} LIMIT 0")
            except duckdb.CatalogException:
                tables.load(*reference)  # raises if it is missing
                raise
            columns = {
                column.casefold(): (database.quote(column), kind)
                for column, kind in zip(target.columns, target.types, strict=True)
            }
            into = [columns[column.casefold()] for column in rows.column_names]
            values = [
                f"CAST({database.quote(column)} AS {kind})"
                for column, (_, kind) in zip(rows.column_names, into, strict=True)
            ]
            # DuckDB reads a stream at once; of a table it would make a data set first.
            cursor.register("__rows", rows.__arrow_c_stream__())
            cursor.execute(
                f"INSERT INTO {name} ({', '.join(column for column, _ in into)}) "
                f"SELECT {', '.join(values)} FROM __rows"
            )

    write._decoder = decoder
    write._insert = insert
