"""
Files of postcodes: CSV or Parquet, packed or not, whose columns are guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from offline import csv_files
from propensity.errors import SchemaError
from propensity.events.postcodes import normalised

POSTCODE, INDEX = "postcode", "socioeconomic_idx"

# What the column of postcodes may be called, in small letters and digits: as most
# tables have it, and as the directories of the British statistics offices do.
POSTCODE_NAMES = frozenset(
    {"postcode", "postalcode", "pcd", "pcd2", "pcd7", "pcd8", "pcds", "zip", "zipcode"}
)

# The longest postcodes of the world have ten. The functions keep the table in memory,
# every row as wide as the widest.
MAXIMUM_CHARACTERS = 16

# As data frames and spreadsheets write that there is nothing.
NOTHING = ("", "-", "#N/A", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")
# As a program writes a column that it took for numbers: leading zeros are gone, and the
# zero behind the point would be a digit of another postcode.
_AS_A_NUMBER = r"^\s*\d+([.,]0+|([.,]\d+)?[eE]\+\d+)\s*$"
BATCH_ROWS = 2**16
SCHEMA = pa.schema([(POSTCODE, pa.string()), (INDEX, pa.float64())])


def columns_of(
    path: Path, postcode_column: str | None, index_column: str | None
) -> tuple[str, str]:
    """
    Return the names of a file's columns of postcodes and of the index.

    Raises:
        SchemaError: There is no such column, or none or several may be meant.
        pyarrow.ArrowException, OSError: The file can not be read.
    """
    if not path.is_file():
        raise SchemaError("there is no such file")
    if csv_files.is_parquet(path):
        return _chosen(pq.read_schema(path), postcode_column, index_column)
    dialect = csv_files.dialect_of(path)
    with path.open("rb") as raw, csv_files.reader(raw, dialect) as reader:
        return _chosen(reader.schema, postcode_column, index_column)


def batches_of(
    path: Path, postcode_column: str, index_column: str
) -> Iterator[pa.RecordBatch]:
    """
    Yield all rows as ``typed`` does, and show a bar on stderr.

    Raises:
        SchemaError: A row has a value that can be neither.
        pyarrow.ArrowException, OSError: The file is broken.
    """
    columns = [postcode_column, index_column]
    with (
        path.open("rb") as raw,
        tqdm.wrapattr(
            raw, "read", desc="reading", total=path.stat().st_size, disable=None
        ) as file,
    ):
        if csv_files.is_parquet(path):
            table = pq.ParquetFile(file)
            batches = table.iter_batches(batch_size=BATCH_ROWS, columns=columns)
        else:
            batches = _csv_batches(file, csv_files.dialect_of(path), columns)
        yield from typed(batches, *columns)


def _csv_batches(
    file: IO[bytes], dialect: csv_files.Dialect, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    row = 1
    # As they are written: a postcode may look like a number.
    with csv_files.reader(file, dialect, as_text=columns) as reader:
        for batch in reader:
            yield batch if dialect.decimal == "." else _with_points(batch, row)
            row += batch.num_rows


def _with_points(batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
    """Write the numbers of the second column with a point for their comma."""
    codes, numbers = batch.columns
    csv_files.refuse_points(numbers, batch.schema.names[1], first_row=first_row)
    points = pc.replace_substring_regex(
        numbers, pattern=csv_files.DECIMAL_COMMA, replacement=r"\1.\2"
    )
    return pa.RecordBatch.from_arrays([codes, points], schema=batch.schema)


def _chosen(
    schema: pa.Schema, postcode_column: str | None, index_column: str | None
) -> tuple[str, str]:
    postcode = postcode_column or _guessed(
        schema,
        POSTCODE,
        "postcode",
        lambda field: re.sub("[^a-z0-9]", "", field.name.lower()) in POSTCODE_NAMES,
    )
    index = index_column or _guessed(
        schema,
        INDEX,
        "index",
        lambda field: _is_numeric(field.type) and field.name != postcode,
    )
    for name, option in ((postcode, "postcode"), (index, "index")):
        if (count := schema.names.count(name)) != 1:
            raise SchemaError(
                f"there {'are several' if count else 'is no'} column {name!r}. "
                f"{_names(schema)}; name one by --{option}-column"
            )
    if postcode == index:
        raise SchemaError(f"{postcode!r} can not be both the postcode and the index")
    return postcode, index


def _guessed(
    schema: pa.Schema, usual: str, option: str, may_be: Callable[[pa.Field], bool]
) -> str:
    """Return the column of the usual name, or else the only one that may be meant."""
    names: list[str] = [name for name in schema.names if name.lower() == usual]
    if len(names) != 1:
        names = [field.name for field in schema if may_be(field)]
    if len(names) != 1:
        which = (
            f"the {option} may be any of {', '.join(names)}"
            if names
            else f"no column looks like the {option}"
        )
        raise SchemaError(f"{which}. {_names(schema)}; name it by --{option}-column")
    return names[0]


def _names(schema: pa.Schema) -> str:
    return f"Columns found: {', '.join(schema.names)}"


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    )


def typed(
    batches: Iterable[pa.RecordBatch], postcode_column: str, index_column: str
) -> Iterator[pa.RecordBatch]:
    """
    Yield batches as ``postcode``, normalised, and ``socioeconomic_idx``, finite.

    Either is null where a row has none.

    Raises:
        SchemaError: A row has something else; it is counted from 1, without a header.
    """
    row = 1
    for batch in batches:
        codes = _codes(batch.column(postcode_column), postcode_column, row)
        values = _values(batch.column(index_column), index_column, row)
        row += batch.num_rows
        yield pa.RecordBatch.from_arrays([codes, values], schema=SCHEMA)


def _codes(column: pa.Array, name: str, first_row: int) -> pa.Array:
    column = _plain(column)
    kind = column.type
    if not (pa.types.is_integer(kind) or _is_text(kind) or pa.types.is_null(kind)):
        raise SchemaError(f"column {name!r} holds no postcodes: its type is {kind}")
    texts = _without_nothing(column.cast(pa.string()))
    is_number = pc.match_substring_regex(texts, _AS_A_NUMBER)
    place = pc.index(is_number, True).as_py()
    if place >= 0:
        raise SchemaError(
            f"row {first_row + place}: {_shown(texts[place])} in column {name!r} is a "
            "number and no postcode; write the column as text, with its leading zeros"
        )
    codes = pa.array(
        [normalised(text or "") for text in texts.to_pylist()], pa.string()
    )
    lengths = pc.utf8_length(codes)
    place = pc.index(pc.greater(lengths, MAXIMUM_CHARACTERS), True).as_py()
    if place >= 0:
        raise SchemaError(
            f"row {first_row + place}: {_shown(texts[place])} in column {name!r} is no "
            f"postcode, it has more than {MAXIMUM_CHARACTERS} letters and digits"
        )
    return pc.if_else(pc.equal(lengths, 0), pa.scalar(None, pa.string()), codes)


def _values(column: pa.Array, name: str, first_row: int) -> pa.Array:
    column = _plain(column)
    kind = column.type
    if _is_text(kind):
        values = _numbers(column.cast(pa.string()), name, first_row)
    elif _is_numeric(kind) or pa.types.is_null(kind):
        values = column.cast(pa.float64(), safe=False)
    else:
        raise SchemaError(f"column {name!r} holds no numbers: its type is {kind}")
    # Data frames write NaN for a missing number.
    values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    place = pc.index(pc.is_inf(values), True).as_py()
    if place >= 0:
        raise SchemaError(
            f"row {first_row + place}: the index in column {name!r} is infinite"
        )
    # Minus zero is no other value.
    return pc.add(values, 0.0)


def _numbers(texts: pa.Array, name: str, first_row: int) -> pa.Array:
    texts = _without_nothing(pc.utf8_trim_whitespace(texts))
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid as error:
        place = next(at for at, text in enumerate(texts) if not _is_number(text))
        raise SchemaError(
            f"row {first_row + place}: wanted a number in column {name!r}, found "
            f"{_shown(texts[place])}"
        ) from error


def _without_nothing(texts: pa.Array) -> pa.Array:
    """Return texts, null for those of ``NOTHING``."""
    is_nothing = pc.is_in(pc.utf8_trim_whitespace(texts), pa.array(NOTHING))
    return pc.if_else(is_nothing, pa.scalar(None, pa.string()), texts)


def _is_number(text: pa.Scalar) -> bool:
    try:
        text.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _plain(column: pa.Array) -> pa.Array:
    kind = column.type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )


def _shown(text: pa.Scalar) -> str:
    shown = repr(str(text))
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
