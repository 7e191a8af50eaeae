"""
Record batches as the bytes that the Storage Write API takes, put together from buffers.

Arrow makes a batch of a table's rows by some forty calls, each of which takes as long
as fifty values: more, for a group of 64 events, than all of their values. Here a column
is its buffers, and all columns are joined to an IPC message. Arrow itself writes the
head, once for each schema; only counts and places differ from group to group.

Source: https://arrow.apache.org/docs/format/Columnar.html, "RecordBatch message".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import accumulate, chain
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

STRING = pa.string()

# A column: how many of its values are null, and its buffers; the first says which
# values are there, and is empty if all are.
Column = tuple[int, tuple[bytes, ...]]

_ALIGNMENT = 8
_PADDING = tuple(bytes(-size % _ALIGNMENT) for size in range(_ALIGNMENT))
# Rows of the batch whose head is the template: a number that is nothing else's there.
_TEMPLATE_ROWS = 54_321


class Layout:
    """Writes the record batches of a schema without nested columns."""

    def __init__(self, schema: pa.Schema) -> None:
        """
        Raises:
            ValueError: Arrow writes the head of a batch otherwise than this knows.
        """
        self.schema = schema
        self.names: Sequence[str] = schema.names
        nulls = [pa.nulls(_TEMPLATE_ROWS, field.type) for field in schema]
        written = pa.RecordBatch.from_arrays(nulls, schema=schema).serialize()
        nodes, places, body = _layout(_TEMPLATE_ROWS, [*map(column_of, nulls)])
        size = sum(map(len, body))
        self._head = written.to_pybytes()[:-size]
        self._nodes = struct.Struct(f"<{len(nodes)}q")
        self._places = struct.Struct(f"<{len(places)}q")
        self._number = struct.Struct("<q")
        self._nodes_at = self._at(self._nodes.pack(*nodes))
        self._places_at = self._at(self._places.pack(*places))
        self._size_at = self._at(self._number.pack(size))
        before, _, behind = self._head.partition(self._nodes.pack(*nodes))
        blank = before + bytes(self._nodes.size) + behind
        self._count_at = self._at(self._number.pack(_TEMPLATE_ROWS), within=blank)

    def _at(self, part: bytes, *, within: bytes | None = None) -> int:
        head = self._head if within is None else within
        if head.count(part) != 1:
            raise ValueError("Arrow's record batches have another head")
        return head.index(part)

    def batch(self, count: int, columns: Sequence[Column]) -> Batch:
        """
        Return a batch.

        Args:
            count: Of its rows.
            columns: One for each field of the schema, in its order.
        """
        nodes, places, body = _layout(count, columns)
        head = bytearray(self._head)
        self._nodes.pack_into(head, self._nodes_at, *nodes)
        self._places.pack_into(head, self._places_at, *places)
        self._number.pack_into(head, self._count_at, count)
        self._number.pack_into(head, self._size_at, places[-2] + _padded(places[-1]))
        return Batch(self.schema, count, b"".join([head, *body]))


class Batch:
    """Rows as bytes, which Arrow reads on demand."""

    def __init__(self, schema: pa.Schema, num_rows: int, message: bytes) -> None:
        """
        Args:
            schema: Of the rows.
            num_rows: Their number.
            message: The rows as an IPC message.
        """
        self.schema = schema
        self.num_rows = num_rows
        self._message = message

    @classmethod
    def of(cls, rows: pa.RecordBatch) -> Batch:
        """Return rows of Arrow as a batch."""
        return cls(rows.schema, rows.num_rows, rows.serialize().to_pybytes())

    @cached_property
    def rows(self) -> pa.RecordBatch:
        """The rows, over the bytes of the message."""
        return pa.ipc.read_record_batch(pa.py_buffer(self._message), self.schema)

    def serialize(self) -> bytes:
        """Return the IPC message, as ``pa.RecordBatch`` does."""
        return self._message

    def take(self, rows: Sequence[int]) -> Batch:
        """Return some of the rows; itself for all of them."""
        if len(rows) == self.num_rows:
            return self
        return Batch.of(self.rows.take(pa.array(rows, pa.int64())))


def _padded(size: int) -> int:
    return size + -size % _ALIGNMENT


def _layout(
    count: int, columns: Sequence[Column]
) -> tuple[list[int], list[int], list[bytes]]:
    """Return the counts, the places of the buffers, and the buffers with padding."""
    null_counts, parts = zip(*columns, strict=True)
    nodes = [count] * (2 * len(columns))
    nodes[1::2] = null_counts
    buffers = [*chain.from_iterable(parts)]
    sizes = [*map(len, buffers)]
    body = [b""] * (2 * len(buffers))
    body[::2] = buffers
    body[1::2] = [_PADDING[size & 7] for size in sizes]
    places = [0] * len(body)
    places[1::2] = sizes
    end = 0
    # Each buffer begins where the padding of the one before it ends.
    places[2::2] = [end := end + (size + 7 & -8) for size in sizes[:-1]]
    return nodes, places, body


# -- columns ---------------------------------------------------------------------------


def column_of(array: pa.Array) -> Column:
    """Return an Arrow array, which must not be a slice, as a column."""
    count = len(array)
    valid, *others = array.buffers()
    # The buffers of an array may be longer than its values.
    if array.type == STRING:
        offsets, texts = others
        ends = offsets.to_pybytes()[: 4 * (count + 1)]
        end = int.from_bytes(ends[-4:], "little")
        values: tuple[bytes, ...] = (ends, texts.to_pybytes()[:end] if end else b"")
    else:
        values = (others[0].to_pybytes()[: -(-count * array.type.bit_width // 8)],)
    is_there = valid.to_pybytes()[: -(-count // 8)] if array.null_count else b""
    return array.null_count, (is_there, *values)


@lru_cache(maxsize=4096)
def nulls(kind: pa.DataType, count: int) -> Column:
    """Return a column of nulls."""
    return column_of(pa.nulls(count, kind))


def dense_texts(texts: Sequence[str]) -> Column:
    """Return a column of texts; most columns are ASCII, and many of one width."""
    count = len(texts)
    joined = "".join(texts)
    if not (count and joined.isascii()):
        return column_of(pa.array(texts, STRING)) if count else nulls(STRING, 0)
    widths = [*map(len, texts)]
    ends = (
        _even_ends(widths[0], count)
        if widths.count(widths[0]) == count
        else offsets(accumulate(widths, initial=0), count)
    )
    return 0, (b"", ends, joined.encode())


def few_texts(texts: Sequence[str]) -> Column:
    """Return a column of texts of a catalogue, which may all be the same."""
    if texts and texts.count(texts[0]) == len(texts):
        return _repeated(texts[0], len(texts))
    return dense_texts(texts)


@lru_cache(maxsize=256)
def _repeated(text: str, count: int) -> Column:
    return dense_texts([text] * count)


@lru_cache(maxsize=4096)
def _even_ends(width: int, count: int) -> bytes:
    """Return the offsets of so many texts of one width."""
    return offsets([width * row for row in range(count + 1)], count)


def offsets(ends: Iterable[int], count: int) -> bytes:
    """Return where so many texts end, behind a first 0, as Arrow has it."""
    return struct.pack(f"<{count + 1}i", *ends)


def sparse_texts(texts: Mapping[int, bytes], count: int) -> Column:
    """Return a column of texts in UTF-8, by row in ascending order; others are null."""
    if len(texts) == count:
        ends = offsets(accumulate(map(len, texts.values()), initial=0), count)
        return 0, (b"", ends, b"".join(texts.values()))
    starts, end, last = [], 0, -1
    for row, text in texts.items():
        starts.append(end.to_bytes(4, "little") * (row - last))
        end, last = end + len(text), row
    starts.append(end.to_bytes(4, "little") * (count - last))
    valid = bits(texts, count)
    return count - len(texts), (valid, b"".join(starts), b"".join(texts.values()))


def sparse_values(values: Mapping[int, Any], count: int, code: str) -> Column:
    """Return a column of numbers, of a code of ``struct``, by row; others are null."""
    pack_into, size = struct.Struct(code).pack_into, struct.calcsize(code)
    column = bytearray(size * count)
    for row, value in values.items():
        pack_into(column, size * row, value)
    valid = bits(values, count) if len(values) < count else b""
    return count - len(values), (valid, bytes(column))


def present(values: NDArray[Any]) -> Column:
    """Return a column without nulls from numpy's values."""
    return 0, (b"", values.tobytes())


def bits(rows: Iterable[int], count: int, *, are_set: bool = True) -> bytes:
    """Return bits of so many rows that are set in these rows, or in all others."""
    number = 0
    for row in rows:
        number |= 1 << row
    if not are_set:
        number ^= (1 << count) - 1
    return number.to_bytes(-(-count // 8), "little")
