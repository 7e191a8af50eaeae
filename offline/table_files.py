"""
Tables in files: Parquet, or CSV in one form, read whole.

CSV is written in UTF-8: a header, commas between columns, points before decimals; plain
or, by the ending of its name, packed by gzip (.gz) or Zstandard (.zst). It has texts
alone, and null where there is none: what a text means is decided by the type that
a person has declared for its column, by the rules that events have, and never by how
the values look.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from propensity.errors import SchemaError
from propensity.events.values import NUMERAL, Refused, label_of, numeral_of
from propensity.ids import INEXACT
from propensity.schema import Column, arrow_type
from propensity.timeframe import midnight, moment_of
from propensity.usecases.declaration import MOMENTS

FORMS = (
    "Use Parquet (.parquet), or CSV in UTF-8 with a header, commas between columns and "
    "points before decimals"
)

# How data frames and spreadsheets write a column of ids that they took for numbers.
_AS_NUMBER = r"^\s*\d+(\.0+|(\.\d+)?[eE]\+\d+)\s*$"


def read(path: Path, expected: Sequence[str]) -> pa.Table:
    """
    Read a file of rows; CSV has every column as texts.

    Args:
        expected: Columns that must be there; further ones are read as well.

    Raises:
        SchemaError: It cannot be read, or is in another form; it names the file.
    """
    wrong: list[str] = []
    if not path.is_file():
        raise SchemaError(f"there is no file {path}", hint="Check the path")
    if not path.stat().st_size:
        raise SchemaError(f"{path} is empty", hint=FORMS)
    try:
        is_parquet = path.suffix == ".parquet"
        table = pq.read_table(path) if is_parquet else _csv(path, wrong)
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        kind = "Parquet" if is_parquet else "CSV in UTF-8"
        raise SchemaError(f"{path} cannot be read as {kind}", hint=FORMS) from error
    if missing := [name for name in expected if name not in names]:
        raise SchemaError(
            f"{path} lacks the columns {', '.join(missing)}; it has "
            f"{', '.join(names)[:200]}",
            hint=FORMS,
        )
    if twice := {name for name in names if names.count(name) > 1}:
        raise SchemaError(
            f"{path} has several columns of the same name: {', '.join(sorted(twice))}",
            hint="Rename or remove them",
        )
    if wrong:
        hint = "Correct the row, and quote values with commas in them"
        raise SchemaError(f"{path}, {wrong[0]}", hint=hint)
    return table


def _csv(path: Path, wrong: list[str]) -> pa.Table:
    """Read the texts of a file, and add the faults of its rows."""

    def left_out(row: pa_csv.InvalidRow) -> str:
        if row.text.strip():
            wrong.append(
                # The header is a row as well.
                f"row {row.number - 1} has {row.actual_columns} columns instead of "
                f"{row.expected_columns}"
            )
        return "skip"

    # Arrow numbers rows only if it reads in one thread.
    reading = pa_csv.ReadOptions(use_threads=False)
    parsing = pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=left_out)
    with (
        pa.input_stream(str(path), compression="detect") as file,
        pa_csv.open_csv(file, reading, parsing) as beginning,
    ):
        names = beginning.schema.names
    if len(names) == 1 and (marks := set(";\t|").intersection(names[0])):
        raise SchemaError(
            f"{path} has {marks.pop()!r} between its columns",
            hint="Write commas between columns, and points before decimals",
        )
    texts = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )
    with pa.input_stream(str(path), compression="detect") as file:
        return pa_csv.read_csv(file, reading, parsing, texts)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Have the errors of a file's rows and columns name it."""
    try:
        yield
    except SchemaError as error:
        if str(path) in error.message:
            raise
        raise SchemaError(f"{path}, {error.problem}", hint=error.hint) from error


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column without its dictionary."""
    is_dictionary = pa.types.is_dictionary(column.type)
    return column.cast(column.type.value_type) if is_dictionary else column


def is_text(column: pa.ChunkedArray) -> bool:
    """Return whether a column holds texts; in CSV every column does."""
    return _plain(column).type in (pa.string(), pa.large_string())


def typed(table: pa.Table, name: str, kind: str) -> pa.ChunkedArray:
    """
    Return a column in a type of BigQuery; texts are read by the rules of events.

    Raises:
        SchemaError: A value is none of the type; it names row and column.
    """
    column, wanted = _plain(table[name]), arrow_type(Column(name, kind, ""))
    is_read = is_text(column)
    if kind in MOMENTS and not (is_read or pa.types.is_temporal(column.type)):
        raise SchemaError(
            f"column {name}: expected {kind}, found numbers ({column.type}), which say "
            "neither unit nor time zone; write times in ISO 8601"
        )
    try:
        if kind == "STRING" or not is_read:
            # Moments of data frames have nanoseconds, which BigQuery has not.
            return column.cast(wanted, safe=kind != "TIMESTAMP")
        if kind == "FLOAT64":
            # All are converted at once, unless one is not a number.
            numbers = pc.utf8_trim_whitespace(column).cast(wanted)
            if pc.all(pc.is_finite(numbers)).as_py() is not False:
                return numbers
    except pa.ArrowException as error:
        if not is_read:
            raise SchemaError(f"column {name} has other values than {kind}") from error
    expected, read_as = _READERS[kind]
    values = []
    for row, text in enumerate(column.to_pylist(), 1):
        try:
            value = None if text is None else read_as(text)
            values.append(pa.scalar(value, wanted))
        except (ValueError, Refused, pa.ArrowException) as error:
            raise SchemaError(
                f"row {row}: expected {expected} in column {name}, found {text[:64]!r}"
            ) from error
    return pa.chunked_array([pa.array(values, wanted)])


def _decimal(text: str) -> Decimal:
    """Return a number exactly as it is written."""
    numeral_of(text, field="")
    return Decimal(text.strip())


def _whole(text: str) -> int:
    """Return a whole number; data frames write those beside gaps with a point."""
    number = _decimal(text)
    if not -(2**63) <= number < 2**63 or number != int(number):
        raise ValueError
    return int(number)


def _truth(text: str) -> bool | None:
    """Return a label; data frames write those beside gaps as 0.0 and 1.0."""
    value = float(text) if NUMERAL.fullmatch(text.strip()) else text
    label = label_of(value, field="")
    return None if label is None else bool(label)


def _day(text: str) -> date:
    """Return a day, which may be written as its midnight."""
    moment = moment_of(text)
    if moment != midnight(moment.date()):
        raise ValueError
    return moment.date()


# The words for a type in messages, and the function that reads a text.
_READERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "INT64": ("a whole number of 64 bits", _whole),
    "FLOAT64": ("a finite number", lambda text: numeral_of(text, field="")),
    "NUMERIC": ("a number with 29 digits and 9 decimals at most", _decimal),
    "BOOL": ("true or false", _truth),
    "DATE": ("a day as YYYY-MM-DD", _day),
    "TIMESTAMP": ("a day or a time, for example 2026-03-01T08:30:00", moment_of),
}


def identities(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """
    Return ids as texts, null where there is none; whole numbers as they are written.

    Raises:
        SchemaError: One is another number, which may have lost digits.
    """
    column = _plain(column)
    if pa.types.is_integer(column.type):
        numbers = column.cast(pa.float64(), safe=False)
        is_wrong = pc.greater_equal(pc.abs(numbers), INEXACT)
    elif pa.types.is_floating(column.type):
        is_wrong = column.is_valid()
    else:
        is_wrong = pc.match_substring_regex(column.cast(pa.string()), _AS_NUMBER)
    row = pc.index(is_wrong, True).as_py()
    if row >= 0:
        raise SchemaError(
            f"row {row + 1}: {name} is the number {column[row].as_py()}, which may "
            "have lost digits; write the column as text"
        )
    return column.cast(pa.string())
