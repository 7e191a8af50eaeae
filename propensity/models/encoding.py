"""
Features as models read them: a pandas frame, floats, or texts, out of Arrow columns.

Training fits on the frames of ``to_frame``; ``encoder`` gives what they would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from propensity.errors import SchemaError

Kind = Literal["number", "category"]
Array = NDArray[Any]

# Integers up to here are exact in float64, and so are powers of ten up to 10**22.
_EXACT_INTEGER = 2**53
_EXACT_POWER = 22


def to_frame(batch: pa.RecordBatch, features: Mapping[str, Kind]) -> pd.DataFrame:
    """
    Convert features to the pandas frame that preprocessors are fitted on.

    Training fits on these frames and scoring gives what they would have given.

    Args:
        batch: N rows with at least ``features``, in any order.
        features: Kind of each feature by name, in the order of the frame.

    Returns:
        N rows, one column a feature: numbers as float64 (float32 stays so) with NaN
        for null, booleans as 0 and 1, decimals rounded once to the nearest float;
        categories as pandas' ``str`` with NaN for null.

    Raises:
        SchemaError: A feature is missing, twice there, or of another type.
    """
    check(batch.schema, features)
    return pd.DataFrame(
        {
            name: numbers_of(batch.column(name))
            if kind == "number"
            else pd.Series(texts_of(batch.column(name)).to_pandas(), dtype="str")
            for name, kind in features.items()
        },
        index=pd.RangeIndex(batch.num_rows),
        columns=list(features),
    )


def check(schema: pa.Schema, features: Mapping[str, Kind]) -> None:
    """
    Check that a schema holds the features, each once and with a type of its kind.

    Raises:
        SchemaError: A feature is missing, twice there, or of another type.
    """
    for name, kind in features.items():
        found = schema.get_all_field_indices(name)
        if len(found) != 1:
            state = "missing" if not found else f"there {len(found)} times"
            raise SchemaError(
                f"feature {name!r} ({kind}) is {state} among the columns "
                f"{', '.join(schema.names)}; the model was trained with it",
                field=name,
            )
        arrow_type = schema.field(found[0]).type
        if not _holds(arrow_type, kind):
            raise SchemaError(
                f"feature {name!r} is {arrow_type}, but a {kind} is expected: "
                + (
                    "an integer, float, decimal or boolean"
                    if kind == "number"
                    else "a string, plain or dictionary-encoded"
                ),
                field=name,
            )


class Rows:
    """
    A few rows that never were in Arrow, as they come with a request.

    Making an Arrow batch of them would take longer than most of what follows.

    Args:
        numbers: A float64 for each row and each of ``names``, (n, len(names)); NaN is
            null.
        names: Of the columns of numbers.
        texts: For each feature that is a category a text or None for each row.
    """

    def __init__(
        self,
        numbers: NDArray[np.float64],
        names: Mapping[str, int],
        texts: Mapping[str, Sequence[str | None]],
    ) -> None:
        self._numbers = numbers
        self._names = names
        self._texts = texts

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def num_rows(self) -> int:
        """Number of rows, as Arrow calls it."""
        return len(self._numbers)

    def array(self, names: Sequence[str]) -> Array:
        """Return columns of numbers as an array that the caller may write into."""
        places = [self._names[name] for name in names]
        if places == [*range(self._numbers.shape[1])]:
            return self._numbers.copy()
        # By columns, it would come out ordered by them; a row is together this way.
        return np.ascontiguousarray(self._numbers[:, places])

    def column(self, name: str) -> pa.Array:
        """Return a column as Arrow has it."""
        if name in self._texts:
            return pa.array(self._texts[name], pa.string())
        return pa.array(self._numbers[:, self._names[name]], from_pandas=True)

    def record_batch(self, names: Iterable[str]) -> pa.RecordBatch:
        """Return columns as an Arrow batch."""
        return pa.RecordBatch.from_pydict({name: self.column(name) for name in names})

    def lacks(self, features: Mapping[str, Kind]) -> str | None:
        """Return the first of the features that is not there, None if all are."""
        for name, kind in features.items():
            if name not in (self._names if kind == "number" else self._texts):
                return name
        return None


def _holds(arrow_type: pa.DataType, kind: Kind) -> bool:
    """Say whether an Arrow type can hold a feature of a kind."""
    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    if pa.types.is_null(arrow_type):
        return True
    if kind == "category":
        return bool(
            pa.types.is_string(arrow_type)
            or pa.types.is_large_string(arrow_type)
            or pa.types.is_string_view(arrow_type)
        )
    return bool(
        pa.types.is_integer(arrow_type)
        or pa.types.is_floating(arrow_type)
        or pa.types.is_decimal(arrow_type)
        or pa.types.is_boolean(arrow_type)
    )


def values_of(column: pa.Array, kind: Kind) -> pa.Array:
    """Return a column in the one Arrow type of its kind, to be looked up in."""
    if kind == "category":
        return texts_of(column)
    return pa.array(numbers_of(column), from_pandas=True)


def texts_of(column: pa.Array) -> pa.Array:
    """Return a column of categories as plain strings."""
    return column if column.type == pa.string() else column.cast(pa.string())


def numbers_of(column: pa.Array) -> Array:
    """Return a column of numbers as floats, NaN for null; a view where it can be."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        column = _rounded(column)
    elif pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.int8()).cast(pa.float64())
    values: Array = column.to_numpy(zero_copy_only=False)
    if values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float64)


def _rounded(column: pa.Array) -> pa.Array:
    """
    Return decimals as the nearest float64, as Python's ``float(Decimal)`` does.

    Arrow's own cast multiplies by a rounded power of ten and is off by one unit in
    the last place for many values. An integer below 2**53 divided by a power of ten
    up to 10**22 is rounded only once, and NUMERIC nearly always is such.
    """
    scale = column.type.scale
    if pa.types.is_decimal128(column.type) and 0 <= scale <= _EXACT_POWER:
        whole = np.frombuffer(column.buffers()[1], dtype="<i8").reshape(-1, 2)
        low, high = whole[column.offset : column.offset + len(column)].T
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        fits = (high == low >> 63) & (np.abs(low) <= _EXACT_INTEGER)
        if np.all(fits | ~valid):
            return pa.array(low / 10.0**scale, mask=~valid)
    return column.cast(pa.string()).cast(pa.float64())
