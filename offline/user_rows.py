"""
Which rows of a file are about users: Parquet, CSV, and prediction indexes.

Ids are in columns of the name ``user_id``, of any type and however deep.
"""

from __future__ import annotations

import operator
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from propensity.errors import ArtifactError
from propensity.ids import USER
from propensity.registry.index import Index

# The files of versions, whose rows have numbers in the place of ids.
MODELS = "models/"


def named_rows(
    name: str, file: pq.ParquetFile, users: Sequence[str], use_case: str
) -> list[bool]:
    """
    Tell of each row of a file whether it is about users; empty where no row can be.

    Args:
        name: Of the object.
        use_case: The only one that is meant; empty for all.
    """
    schema = file.schema
    paths = [schema.column(index).path for index in range(len(schema))]
    ids = [path for path in paths if USER in path.split(".")]
    if not ids or (name.startswith(MODELS) and _is_numbered(file.schema_arrow)):
        return []
    columns = [_has_any(column, users) for column in file.read(ids).columns]
    is_named = [any(row) for row in zip(*columns, strict=True)]
    if use_case and "use_case" in paths:
        cases = _has_any(file.read(["use_case"])["use_case"], [use_case])
        is_named = list(map(operator.and_, is_named, cases))
    return is_named


def named_cells(rows: Sequence[Sequence[str]], users: Sequence[str]) -> list[bool]:
    """Tell of each row of a CSV file whether it is about users; its header is not."""
    indices = [index for index, name in enumerate(rows[0]) if name == USER]
    return [any(row[index] in users for index in indices) for row in rows]


def _is_numbered(schema: pa.Schema) -> bool:
    """Return whether rows have numbers in the place of ids."""
    return USER in schema.names and pa.types.is_integer(schema.field(USER).type)


def _has_any(column: pa.ChunkedArray, texts: Sequence[str]) -> list[bool]:
    """Return for each value whether it is one of the texts, or contains one."""
    if column.type in (pa.string(), pa.large_string()):
        is_in = pc.is_in(column, value_set=pa.array(texts, column.type))
        return list(is_in.to_pylist())
    wanted = frozenset(texts)
    return [not wanted.isdisjoint(_texts(value)) for value in column.to_pylist()]


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


def without(rows: pa.Table, is_named: Sequence[bool]) -> pa.Table:
    """Return the other rows, by slices: Arrow cannot filter rows of every type."""
    kept = []
    start = 0
    for row, is_removed in enumerate(is_named):
        if is_removed:
            kept.append(rows.slice(start, row - start))
            start = row + 1
    kept.append(rows.slice(start))
    return pa.concat_tables(kept).combine_chunks()


def index_has(data: bytes, users: Sequence[str]) -> bool:
    """Return whether a prediction index has users."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index")
        path.write_bytes(data)
        try:
            opened = Index(path)
        except ArtifactError:
            # Whom it contains cannot be known, so it is deleted as well.
            return True
        return any(opened.find(user) for user in users)
