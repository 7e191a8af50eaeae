"""Rows of Arrow as the REST API writes them: ``{"f": [{"v": value}, …]}``."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def rows_of(table: pa.Table, *, in_microseconds: bool) -> list[dict[str, Any]]:
    """
    Return the rows of a table.

    Args:
        in_microseconds: Whether a TIMESTAMP is a whole number of them, instead of a
            number of seconds with a point.
    """
    columns = []
    for column in table.columns:
        columns.append(_values(column.combine_chunks(), in_microseconds))
    return _records(columns, len(table))


def _records(columns: list[list[Any]], count: int) -> list[dict[str, Any]]:
    if not columns:
        return [{"f": []}] * count
    return [{"f": _cells(row)} for row in zip(*columns, strict=True)]


def _cells(values: Iterable[Any]) -> list[dict[str, Any]]:
    return [{"v": value} for value in values]


def _values(column: Any, in_microseconds: bool) -> list[Any]:
    """Return the values of a column: texts, lists of cells, records, or None."""
    types = pa.types
    kind = column.type
    if types.is_list(kind):
        inside = _cells(_values(column.flatten(), in_microseconds))
        lists = []
        start = 0
        for length in pc.list_value_length(column).to_pylist():
            count = length if length else 0
            lists.append(inside[start : start + count])
            start += count
        return lists
    if types.is_struct(kind):
        parts = [_values(part, in_microseconds) for part in column.flatten()]
        records = _records(parts, len(column))
        valid = column.is_valid().to_pylist()
        pairs = zip(records, valid, strict=True)
        return [record if is_there else None for record, is_there in pairs]
    if types.is_binary(kind):
        return [
            None if value is None else base64.b64encode(value).decode()
            for value in column.to_pylist()
        ]
    if types.is_timestamp(kind) and kind.tz is not None:
        column = column.cast(pa.int64())
        if not in_microseconds:
            column = pc.divide(column.cast(pa.float64()), 1e6)
    elif types.is_timestamp(kind):
        column = pc.strftime(column, format="%Y-%m-%dT%H:%M:%S")
    if types.is_decimal(kind):
        # BigQuery writes no zeros at the end, and no exponent.
        return [
            None if value is None else f"{value.normalize():f}"
            for value in column.to_pylist()
        ]
    return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]
