"""
Tables in files: Parquet, or CSV as people have it, read whole.

What a file is, and how it is packed, is told by its first bytes, and not by its name.
CSV has texts alone, and null where there is none: ``texts`` says what they mean in the
type that a person has declared for their column.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import csv
import gzip
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from propensity.errors import SchemaError
from propensity.ids import INEXACT
from propensity.schema import MOMENTS, Column, arrow_type
from propensity.table_files.texts import as_declared, unwrapped

FORMS = "Use Parquet, or CSV in UTF-8 with a header"
ENDINGS = (".csv", ".tsv", ".parquet")
PACKED = (".gz", ".bz2", ".zst", ".zip")

# A file may unpack to so many times its bytes, or to so many: more would fill a memory.
_TIMES_PACKED = 50
_UNPACKED_BYTES = 1 << 28
_CHUNK_BYTES = 1 << 20
# The entries of archives that are spreadsheets, and how older spreadsheets begin.
_SHEETS = ("xl/", "content.xml", "Index/")
_OLD_SHEET = bytes.fromhex("d0cf11e0a1b11ae1")
# How JSON, HTML and PDF begin.
_OTHER_FORMS = ("{", "[", "<", "%PDF")
# What libraries raise for a file that is cut off, damaged or locked.
_DAMAGED = (
    pa.ArrowException,
    EOFError,
    OSError,
    RuntimeError,
    UnicodeError,
    zipfile.BadZipFile,
    zlib.error,
)
_TEXTS = (pa.string(), pa.large_string())
# How data frames and spreadsheets write a column of ids that they took for numbers.
_AS_NUMBER = r"^\s*\d+(\.0+|(\.\d+)?[eE]\+\d+)\s*$"


def is_table(name: str) -> bool:
    """Return whether a file is a table by the ending of its name."""
    name = name.lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    return name.endswith(ENDINGS)


def read_file(path: Path, expected: Sequence[str]) -> pa.Table:
    """
    Read a file of rows; CSV has every column as texts.

    Args:
        expected: Columns that must be there; further ones are read as well.
    """
    if not path.is_file():
        raise SchemaError(f"there is no file {path}", hint="Check the path")
    if not path.stat().st_size:
        raise SchemaError(f"{path} is empty", hint=FORMS)
    try:
        content = _unpacked(path)
        if content[:4].to_pybytes() == b"PAR1":
            table = _parquet(path, content)
        else:
            table = _csv(path, content)
    except pa.ArrowNotImplementedError as error:
        raise SchemaError(
            f"{path} is packed in a way that cannot be read, or has values of an "
            "unknown type",
            hint="Write it again, with texts, numbers and times",
        ) from error
    except _DAMAGED as error:
        raise _unreadable(path) from error
    names = table.column_names
    missing = [name for name in expected if name not in names]
    if missing:
        raise SchemaError(
            f"{path} lacks the columns {', '.join(missing)}; it has "
            f"{', '.join(names)[:200]}",
            hint="Rename its columns, which must be as they are expected",
        )
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SchemaError(
            f"{path} has several columns of the same name: {', '.join(sorted(twice))}",
            hint="Rename or remove them",
        )
    return table


def _unpacked(path: Path) -> pa.Buffer:
    """Return the bytes of a file, or of the file that is packed in it."""
    plain = pa.memory_map(str(path)).read_buffer()
    beginning = plain[:8].to_pybytes()
    packed: Any
    if beginning.startswith(b"\x1f\x8b"):
        packed = gzip.GzipFile(path)
    elif beginning.startswith(b"BZh"):
        packed = bz2.BZ2File(path)
    elif beginning.startswith(b"\x28\xb5\x2f\xfd"):
        packed = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    elif beginning.startswith(b"PK\3\4"):
        packed = _archived(path)
    elif beginning == _OLD_SHEET:
        raise _spreadsheet(path)
    else:
        return plain
    content = io.BytesIO()
    with packed:
        for chunk in iter(partial(packed.read, _CHUNK_BYTES), b""):
            content.write(chunk)
            _check_size(path, content.tell(), packed=len(plain))
    return pa.py_buffer(content.getbuffer())


def _check_size(path: Path, size: int, *, packed: int) -> None:
    limit = max(_UNPACKED_BYTES, _TIMES_PACKED * packed)
    if size > limit:
        raise SchemaError(
            f"{path} unpacks to more than {limit / 1e6:,.0f} MB",
            hint="Use fewer rows, or unpack it first",
        )


def _archived(path: Path) -> Any:
    """Open the one file of an archive."""
    archive = zipfile.ZipFile(path)
    names = []
    for name in archive.namelist():
        if name.startswith(_SHEETS):
            raise _spreadsheet(path)
        # macOS adds hidden files.
        if not name.endswith("/") and not name.startswith("__MACOSX/"):
            names.append(name)
    if len(names) != 1:
        problem = f"{path} has {len(names):,} files: {', '.join(names)[:200]}"
        raise SchemaError(problem, hint="Unpack it, and use one of them")
    return archive.open(names[0])


def _unreadable(path: Path, why: str = "") -> SchemaError:
    problem = f"{path} cannot be read: it is damaged, or neither Parquet nor CSV{why}"
    return SchemaError(problem, hint=FORMS)


def _spreadsheet(path: Path) -> SchemaError:
    hint = "Open it, and save its table as CSV UTF-8"
    return SchemaError(f"{path} is a spreadsheet, which cannot be read", hint=hint)


def _parquet(path: Path, content: pa.Buffer) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(content))
    size = 0
    texts = []
    for group in range(file.num_row_groups):
        for number in range(file.metadata.num_columns):
            column = file.metadata.row_group(group).column(number)
            size += max(column.total_uncompressed_size, 8 * column.num_values)
            if column.physical_type == "BYTE_ARRAY":
                texts.append(column.path_in_schema)
    _check_size(path, size, packed=len(content))
    # A text that many rows have is stored once, and read once until it is counted.
    table = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts).read()
    size = sum(_size_of(chunk) for column in table.columns for chunk in column.chunks)
    _check_size(path, size, packed=len(content))
    for number, declared in enumerate(file.schema_arrow):
        table = table.set_column(
            number, declared.name, _as_declared(table[number], declared.type)
        )
    return table


def _as_declared(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return a column in the type of its file; of views and UUIDs their plain ones."""
    if kind == pa.uuid():
        ids = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(ids, pa.string())])
    if pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_binary_view(kind):
        return column.cast(pa.binary())
    if pa.types.is_nested(kind):
        return column
    return column.cast(kind)


def _size_of(values: pa.Array) -> int:
    """Return the bytes of values, of texts as often as they are there."""
    if pa.types.is_dictionary(values.type):
        lengths = pc.binary_length(values.dictionary)
        size = pc.sum(lengths.take(values.indices)).as_py()
        return 0 if size is None else int(size)
    if pa.types.is_list(values.type) or pa.types.is_map(values.type):
        return _size_of(values.flatten())
    if pa.types.is_struct(values.type):
        return sum(map(_size_of, values.flatten()))
    return int(values.nbytes)


def _csv(path: Path, content: pa.Buffer) -> pa.Table:
    """Read texts; raise SchemaError for a row with more or fewer columns."""
    wrong: list[str] = []

    def left_out(row: pa_csv.InvalidRow) -> str:
        if row.text.strip():
            wrong.append(
                # The header is a row as well.
                f"row {row.number - 1} has {row.actual_columns} columns instead of "
                f"{row.expected_columns}"
            )
        return "skip"

    written = _encoding(path, content)
    beginning = content[:_CHUNK_BYTES].to_pybytes().decode(written, "ignore")
    if beginning.lstrip("\ufeff \r\n").startswith(_OTHER_FORMS):
        raise _unreadable(path)
    if "\0" in beginning:
        line = beginning[: beginning.index("\0")].count("\n") + 1
        raise _unreadable(path, f"; line {line} has a NUL byte")
    delimiter, skipped = _form(beginning.removeprefix("\ufeff"))
    # Arrow numbers rows only if it reads in one thread.
    reading = pa_csv.ReadOptions(use_threads=False, encoding=written, skip_rows=skipped)
    parsing = pa_csv.ParseOptions(
        delimiter=delimiter, newlines_in_values=True, invalid_row_handler=left_out
    )
    with pa_csv.open_csv(pa.BufferReader(content), reading, parsing) as opened:
        names = opened.schema.names
    texts = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )
    wrong.clear()
    table = pa_csv.read_csv(pa.BufferReader(content), reading, parsing, texts)
    if len(table) and _is_open(table.slice(len(table) - 1), content):
        wrong.append(f"row {len(table)} has a quotation mark that is not closed")
    if wrong:
        hint = f"Correct the row, and quote values with {delimiter!r} in them"
        raise SchemaError(f"{path}, {wrong[0]}", hint=hint)
    columns = []
    for number, name in enumerate(names):
        column = name.strip()
        if not column:
            # As data frames call a column without a name, which is their index.
            column = f"Unnamed: {number}"
        columns.append(column)
    return table.rename_columns(columns)


def _is_open(last: pa.Table, content: pa.Buffer) -> bool:
    """Return whether a last row has taken all lines after a quotation mark."""
    [values] = last.to_pylist()
    if not any(value and "\n" in value for value in values.values()):
        return False
    return sum(part.count(b'"') for part in _chunks(content)) % 2 == 1


def _chunks(content: pa.Buffer) -> Iterator[bytes]:
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES].to_pybytes()


def _encoding(path: Path, content: pa.Buffer) -> str:
    """Return whether texts are in UTF-8 or UTF-16; raise SchemaError for neither."""
    if content[:2].to_pybytes() in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    try:
        for chunk in _chunks(content):
            line += decoder.decode(chunk).count("\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
        problem = f"{path} is not in UTF-8, as line {line} shows"
        raise SchemaError(problem, hint="Save it as CSV UTF-8") from None
    return "utf-8"


def _form(beginning: str) -> tuple[str, int]:
    """
    Return what is between columns, and how many lines are above the header.

    The header is the first row of the usual width with several names; none of them is a
    number. Of two signs that fit, the one with fewer lines above it counts.
    """
    if beginning.startswith("sep="):
        return beginning[4], 1
    forms = []
    for delimiter in ";\t|,":
        reader = csv.reader(io.StringIO(beginning, newline=""), delimiter=delimiter)
        headers: dict[int, tuple[int, list[str]]] = {}
        widths = Counter[int]()
        line = 0
        with contextlib.suppress(csv.Error):
            for row in reader:
                names = [name.strip() for name in row if name.strip()]
                # A title has a row of its own, which spreadsheets fill with blanks.
                if len(names) > 1:
                    headers.setdefault(len(row), (line, names))
                widths[len(row)] += 1
                line = reader.line_num
        for width, count in widths.most_common(1):
            if width in headers:
                lines_above, names = headers[width]
                # Signs that may be between columns are in no name.
                is_header = all(name.strip(" +-.,;|\t0123456789") for name in names)
                forms.append((is_header, -lines_above, count, width, delimiter))
    if not forms:
        return ",", 0
    is_header, lines_above, _, _, delimiter = max(forms)
    # Rows that are wider than the header are no reason to take one for it.
    return delimiter, -lines_above if is_header else 0


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Have the errors of a file's rows and columns name it."""
    try:
        yield
    except SchemaError as error:
        if str(path) in error.message:
            raise
        raise SchemaError(f"{path}, {error.problem}", hint=error.hint) from error


def typed(
    table: pa.Table, name: str, kind: str, *, is_needed: bool = False
) -> pa.ChunkedArray:
    """
    Return a column in a type of BigQuery.

    Args:
        is_needed: Whether a row without a value is refused.
    """
    values = _typed(table, name, kind, is_needed=is_needed)
    row = pc.index(values.is_null(nan_is_null=True), True).as_py() if is_needed else -1
    if row >= 0:
        raise SchemaError(
            f"column {name}, row {row + 1} has no value", hint="Fill it in"
        )
    return values


def _typed(
    table: pa.Table, name: str, kind: str, *, is_needed: bool
) -> pa.ChunkedArray:
    column = _plain(table[name])
    wanted = arrow_type(Column(name, kind, ""))
    is_text = column.type in _TEXTS
    if kind in MOMENTS and not (is_text or pa.types.is_temporal(column.type)):
        raise SchemaError(
            f"column {name} has numbers ({column.type}), which say neither unit nor "
            "time zone",
            hint="Write times in ISO 8601",
        )
    if kind == "STRING":
        return unwrapped(_as_texts(column, name))
    if not is_text:
        with contextlib.suppress(pa.ArrowException):
            # Moments of data frames have nanoseconds, which BigQuery has not.
            exact = pc.round(column, 9) if pa.types.is_decimal(column.type) else column
            if kind == "BOOL":
                exact = _of_zeros_and_ones(exact)
            return exact.cast(wanted, safe=kind != "TIMESTAMP")
        column = _as_texts(column, name)
    written = column.to_pandas().astype("object").rename(name)
    values = as_declared(written, kind, is_needed=is_needed)
    return pa.chunked_array([pa.array(values, wanted, from_pandas=True)])


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column without its dictionary."""
    is_dictionary = pa.types.is_dictionary(column.type)
    return column.cast(column.type.value_type) if is_dictionary else column


def _as_texts(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return values as texts; raise SchemaError where they are several, or bytes."""
    try:
        return column.cast(pa.string())
    except pa.ArrowException as error:
        problem = f"column {name} has lists, records or bytes"
        hint = "Write one text, number or time a row"
        raise SchemaError(problem, hint=hint) from error


def _of_zeros_and_ones(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return truths that are written as numbers; ArrowInvalid for another number."""
    if pa.types.is_boolean(column.type):
        return column
    numbers = column.cast(pa.float64())
    numbers = pc.if_else(pc.is_nan(numbers), None, numbers)
    if pc.any(pc.invert(pc.is_in(numbers, pa.array([0.0, 1.0, None])))).as_py():
        raise pa.ArrowInvalid("neither 0 nor 1")
    return numbers


def identities(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """
    Return ids as texts, null where there is none; whole numbers as they are written.
    """
    column = _plain(column)
    texts = _as_texts(column, name)
    if pa.types.is_integer(column.type):
        numbers = column.cast(pa.float64(), safe=False)
        is_wrong = pc.greater_equal(pc.abs(numbers), INEXACT)
    elif pa.types.is_floating(column.type):
        is_wrong = column.is_valid()
    else:
        is_wrong = pc.match_substring_regex(texts, _AS_NUMBER)
    row = pc.index(is_wrong, True).as_py()
    if row >= 0:
        raise SchemaError(
            f"column {name}, row {row + 1}: {column[row].as_py()} is a number, which "
            "may have lost digits",
            hint="Write the column as text",
        )
    return unwrapped(texts)
