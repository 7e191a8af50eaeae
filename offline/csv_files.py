"""
CSV files as people have them: packed or not, separated and with decimals as they are.

The content decides: the first bytes say how a file is packed, the header what separates
its columns, the first rows whether numbers have a decimal comma.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from propensity.errors import SchemaError

READ_BYTES = 2**20
LOOKED_AT_BYTES = 2**16
DECIMAL_COMMA = r"^\s*([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)\s*$"
_GZIP, _ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# By their first bytes: files that hold another file, or no lines of text.
_OTHERS = {
    b"PK\x03\x04": "a ZIP archive or an Excel file; unpack it, or save it as CSV",
    b"PAR1": "a packed Parquet file; unpack it",
}
_SEPARATORS = ",;\t|"
_COMMA = re.compile(DECIMAL_COMMA)
# What some programs write before the header, so that Excel knows the separator.
_EXCEL_SEPARATOR = re.compile(r'\ufeff?"?(sep=[^\s"])"?\s*')
_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")
# A comma before three digits may as well stand between thousands.
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")


@contextlib.contextmanager
def refusals_of(path: Path) -> Iterator[None]:
    """Raise SchemaError with the file's path for what is wrong with the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # Arrow decodes the names of a Parquet file's columns when they are read.
        raise SchemaError(f"{path} can not be read: {error}") from error
    except SchemaError as error:
        raise SchemaError(f"{path}: {error.message}") from error


@dataclass(frozen=True)
class Dialect:
    """What separates the values of a file, and what the decimals of a number."""

    separator: str
    decimal: str


def is_parquet(path: Path) -> bool:
    """Return whether the first bytes of a file are those of Parquet."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def decompressed(raw: IO[bytes]) -> IO[bytes]:
    """
    Return the content of a file that is packed by gzip, by Zstandard or not at all.

    Args:
        raw: At its beginning; closing the result may close it.
    """
    start = raw.read(len(_ZSTANDARD))
    raw.seek(0)
    codec = "gzip" if start.startswith(_GZIP) else "zstd"
    if codec == "zstd" and start != _ZSTANDARD:
        return raw
    stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), codec)
    return io.BufferedReader(stream, READ_BYTES)


def dialect_of(path: Path) -> Dialect:
    """
    Return a file's dialect.

    Raises:
        SchemaError: Its first line is no UTF-8, or no header, or it is no CSV.
    """
    with path.open("rb") as raw:
        file = decompressed(raw)
        header, start = file.readline(READ_BYTES), file.read(LOOKED_AT_BYTES)
    for first, what in _OTHERS.items():
        if header.startswith(first):
            raise SchemaError(f"it is {what}")
    # Without a mark at its beginning UTF-16 shows by its zeros.
    if header.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in header:
        raise SchemaError("it is written in UTF-16; save it as UTF-8")
    try:
        names = header.decode()
    except UnicodeDecodeError as error:
        raise SchemaError(
            "the names of its columns are not written in UTF-8; save it as UTF-8"
        ) from error
    if match := _EXCEL_SEPARATOR.fullmatch(names):
        raise SchemaError(f"its first line, {match[1]}, is for Excel alone; delete it")
    separator = max(_SEPARATORS, key=names.count)
    return Dialect(separator, "," if _has_commas(start, separator) else ".")


def _has_commas(start: bytes, separator: str) -> bool:
    """Return whether the numbers of the first rows have a decimal comma."""
    if separator == ",":
        return False
    values = [
        value.strip().strip('"')
        for line in start.decode(errors="replace").splitlines()
        for value in line.split(separator)
    ]
    return not any(map(_POINT.fullmatch, values)) and any(
        _COMMA.match(value) and not _THOUSANDS.fullmatch(value) for value in values
    )


def reader(
    raw: IO[bytes], dialect: Dialect, *, as_text: Sequence[str] = ()
) -> csv.CSVStreamingReader:
    """
    Open the rows of a file.

    Args:
        as_text: The only columns to read, as they are written; empty for all columns,
            with the types that they look like.
    """
    return csv.open_csv(decompressed(raw), **_options(dialect, as_text, only=as_text))


def _options(
    dialect: Dialect, as_text: Sequence[str], *, only: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        # In one thread, so that an error names its row.
        "read_options": csv.ReadOptions(use_threads=False),
        "parse_options": csv.ParseOptions(
            delimiter=dialect.separator, newlines_in_values=True
        ),
        "convert_options": csv.ConvertOptions(
            include_columns=list(only),
            column_types=dict.fromkeys(as_text, pa.string()),
            decimal_point=dialect.decimal,
        ),
    }


def table_of(path: Path, *, as_text: Sequence[str] = ()) -> pa.Table:
    """
    Read a whole file, with columns of the types that they look like.

    Args:
        as_text: Columns to read as they are written, if they are there.

    Raises:
        SchemaError: It is not written in UTF-8, or has both kinds of decimals.
        pyarrow.ArrowException: It is no CSV.
        OSError: It is not there, or cannot be unpacked.
    """
    dialect = dialect_of(path)
    with path.open("rb") as raw:
        table = csv.read_csv(decompressed(raw), **_options(dialect, as_text))
    if dialect.decimal == ",":
        for name, column in zip(table.column_names, table.columns, strict=True):
            if name not in as_text and _are_texts_of_numbers(column):
                refuse_points(column, name)
    return table


def _are_texts_of_numbers(column: pa.ChunkedArray) -> bool:
    """Return whether values are texts that are numbers with decimal points."""
    if not pa.types.is_string(column.type):
        return False
    try:
        column.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def refuse_points(
    column: pa.Array | pa.ChunkedArray, name: str, *, first_row: int = 1
) -> None:
    """
    Refuse points among numbers with decimal commas: 1.234 may be a thousand.

    Raises:
        SchemaError: It names the row.
    """
    place = pc.index(pc.match_substring(column, "."), True).as_py()
    if place >= 0:
        raise SchemaError(
            f"row {first_row + place}: {str(column[place])[:40]!r} in column {name!r} "
            "has a point, and other numbers of the file have a decimal comma; write "
            "all of them alike"
        )


def one_of_each(names: Sequence[str], wanted: Sequence[str]) -> None:
    """
    Refuse a table that has a column of ``wanted`` twice.

    Raises:
        SchemaError: It names them.
    """
    twice = [name for name in wanted if list(names).count(name) > 1]
    if twice:
        raise SchemaError(f"there are several columns {', '.join(twice)}")
