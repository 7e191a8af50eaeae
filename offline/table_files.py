"""
Tables in files: Parquet, or CSV in one form, read whole.

CSV is written in UTF-8: a header, commas between columns, points before decimals; plain
or packed by gzip or Zstandard. A file in any other form is refused by its first line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from propensity.errors import SchemaError
from propensity.ids import INEXACT

READ_BYTES = 2**20
_GZIP, _ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# How data frames and spreadsheets write a column of ids that they took for numbers.
_AS_NUMBER = r"^\s*\d+(\.0+|(\.\d+)?[eE]\+\d+)\s*$"


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


def is_utf16(start: bytes) -> bool:
    """Return whether a text begins with a mark of UTF-16, or has its zeros."""
    return start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start[:4]


def read(path: Path, expected: Sequence[str], *, texts: Sequence[str] = ()) -> pa.Table:
    """
    Read a file of rows.

    Args:
        expected: Columns that must be there; further ones are read as well.
        texts: Columns that CSV has as texts, whatever they look like.

    Raises:
        SchemaError: It cannot be read, or is in another form; it names the file.
    """
    try:
        with path.open("rb") as raw:
            is_parquet = raw.read(4) == b"PAR1"
            raw.seek(0)
            if is_parquet:
                table = pq.read_table(raw)
                _check(table.column_names, expected, "its columns are")
                return table
            line = decompressed(raw).readline(READ_BYTES)
            _check_header(line, expected)
        with path.open("rb") as raw:
            return pa_csv.read_csv(
                decompressed(raw),
                # In one thread, so that an error names its row.
                read_options=pa_csv.ReadOptions(use_threads=False),
                parse_options=pa_csv.ParseOptions(newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(texts, pa.string()),
                    strings_can_be_null=True,
                ),
            )
    except SchemaError as error:
        raise SchemaError(f"{path}: {error.message}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # Arrow decodes the names of a Parquet file's columns when they are read.
        raise SchemaError(f"{path} can not be read: {error}") from error


def _check_header(line: bytes, expected: Sequence[str]) -> None:
    if is_utf16(line):
        raise SchemaError("it is written in UTF-16; save it as UTF-8")
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SchemaError(
            f"its first line, {line[:40]!r}, is no text in UTF-8; expected CSV in "
            "UTF-8, plain or packed by gzip or Zstandard, or Parquet"
        ) from error
    names = next(csv.reader([text]), [])
    _check(names, expected, f"its first line is {text[:200]!r}:")


def _check(names: Sequence[str], expected: Sequence[str], found: str) -> None:
    """Refuse columns of which one is missing, or is there twice."""
    if missing := [name for name in expected if name not in names]:
        if found.endswith("are"):
            found = f"{found} {', '.join(names[:40])}:"
        raise SchemaError(
            f"{found} it lacks {', '.join(missing)}. Expected are the columns "
            f"{', '.join(expected)}; in CSV separated by commas"
        )
    if twice := {name for name in names if list(names).count(name) > 1}:
        raise SchemaError(f"there are several columns {', '.join(sorted(twice))}")


def identities(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """
    Return ids as texts, null where there is none.

    Whole numbers are taken as they are written.

    Raises:
        SchemaError: One is another number, which may have lost digits.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    is_text = any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_null,
        )
    )
    if is_text:
        column = column.cast(pa.string())
        is_wrong = pc.match_substring_regex(column, _AS_NUMBER)
    elif pa.types.is_integer(kind):
        numbers = column.cast(pa.float64(), safe=False)
        is_wrong = pc.greater_equal(pc.abs(numbers), INEXACT)
    else:
        is_wrong = column.is_valid()
    row = pc.index(is_wrong, True).as_py()
    if row >= 0:
        raise SchemaError(
            f"row {row + 1}: {name} is the number {column[row].as_py()}, which may "
            "have lost digits; write the column as text"
        )
    return column.cast(pa.string())
