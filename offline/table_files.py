"""
Tables in files: Parquet, or CSV in one form, read whole.

CSV is written in UTF-8: a header, commas between columns, points before decimals; plain
or, by the ending of its name, packed by gzip (.gz) or Zstandard (.zst).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from propensity.errors import SchemaError
from propensity.ids import INEXACT

# How data frames and spreadsheets write a column of ids that they took for numbers.
_AS_NUMBER = r"^\s*\d+(\.0+|(\.\d+)?[eE]\+\d+)\s*$"


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
        if path.name.endswith(".parquet"):
            table = pq.read_table(path)
        else:
            table = pa_csv.read_csv(
                pa.input_stream(str(path), compression="detect"),
                # In one thread, so that an error names its row.
                read_options=pa_csv.ReadOptions(use_threads=False),
                parse_options=pa_csv.ParseOptions(newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(texts, pa.string()),
                    strings_can_be_null=True,
                ),
            )
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path} can not be read: {error}") from error
    if missing := [name for name in expected if name not in names]:
        raise SchemaError(
            f"{path} lacks the columns {', '.join(missing)}; it has "
            f"{', '.join(names)[:200]}. Expected is Parquet (.parquet), or CSV in "
            "UTF-8 with a header, commas between columns and points before decimals"
        )
    if twice := {name for name in names if names.count(name) > 1}:
        raise SchemaError(f"{path} has several columns {', '.join(sorted(twice))}")
    return table


def identities(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """
    Return ids as texts, null where there is none; whole numbers as they are written.

    Raises:
        SchemaError: One is another number, which may have lost digits.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
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
