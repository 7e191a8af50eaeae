"""
Which rows of a file are about users: Parquet, CSV, and prediction indexes.

Ids are in columns of the name ``user_id``, of any type and however deep.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from propensity.errors import ArtifactError
from propensity.ids import USER
from propensity.registry.index import Index
from propensity.registry.versions import parquet_of
from propensity.spreadsheet import csv_of, rows_of_csv


def parquet_without(
    file: pq.ParquetFile, users: Collection[str], use_case: str
) -> bytes | None:
    """
    Return a file without users, empty if only they are in it; None without them.

    Only ids are read of a file without them.

    Args:
        use_case: The only one that is meant, where a column says of whose a row is;
            empty for all.
    """
    schema = file.schema
    paths = [schema.column(index).path for index in range(len(schema))]
    ids = [path for path in paths if USER in path.split(".")]
    if not ids:
        return None
    is_gone = reduce(
        pc.or_, [_has_any(column, users) for column in file.read(ids).columns]
    )
    if use_case and "use_case" in paths:
        cases = file.read(["use_case"])["use_case"]
        is_gone = pc.and_(is_gone, _has_any(cases, [use_case]))
    if not pc.any(is_gone).as_py():
        return None
    kept = file.read().filter(pc.invert(is_gone))
    return parquet_of(kept) if len(kept) else b""


def csv_without(content: bytes, users: Collection[str]) -> bytes | None:
    """As ``parquet_without``, of an audience's list for people."""
    header, *rows = rows_of_csv(content)
    column = header.index(USER)
    kept = [row for row in rows if row[column] not in users]
    if len(kept) == len(rows):
        return None
    return csv_of(header, kept) if kept else b""


def index_has(data: bytes, users: Collection[str]) -> bool:
    """Return whether a prediction index has users; of a damaged one nobody knows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index")
        path.write_bytes(data)
        try:
            index = Index(path)
            return any(index.find(user) for user in users)
        except ArtifactError:
            return True


def _has_any(column: pa.ChunkedArray, texts: Collection[str]) -> Any:
    """Return for each value whether it is one of the texts, or contains one."""
    if column.type in (pa.string(), pa.large_string()):
        return pc.is_in(column, value_set=pa.array(texts, column.type))
    wanted = frozenset(texts)
    values = column.to_pylist()
    return pa.array([not wanted.isdisjoint(_texts(value)) for value in values])


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value of any type, and its numbers as they are written."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    else:
        # Data frames make 7.0 of the id 7 where another one is missing.
        yield f"{value:.17g}" if isinstance(value, float) else str(value)
