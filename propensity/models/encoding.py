"""
Features from Arrow columns: as a pandas frame, floats, or texts; types of arrays.

Training fits on the frames of ``to_frame``; ``encoder`` has the same results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from propensity.errors import SchemaError

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
# Counts, and places in other arrays.
Integers = NDArray[np.intp]


def to_frame(
    batch: pa.RecordBatch | pa.Table, features: Mapping[str, str]
) -> pd.DataFrame:
    """
    Convert features to the pandas frame that preprocessors are fitted on.

    Returns:
        N rows, a column per feature: numbers as float64 (float32 stays) with NaN for
        null, booleans as 0 and 1, decimals rounded once to the nearest float;
        categories as pandas' ``str`` with NaN for null.
    """
    import pandas as pd  # 03 has none

    check_features(batch.schema, features)
    columns = {}
    for name, kind in features.items():
        column = batch.column(name)
        if kind == "number":
            columns[name] = floats_of(column)
        else:
            columns[name] = pd.Series(strings_of(column).to_pandas(), dtype="str")
    index = pd.RangeIndex(batch.num_rows)
    return pd.DataFrame(columns, index=index, columns=list(features))


def check_features(schema: pa.Schema, features: Mapping[str, str]) -> None:
    """Raise SchemaError unless each feature is there once, with a type of its kind."""
    for name, kind in features.items():
        positions = schema.get_all_field_indices(name)
        if len(positions) != 1:
            state = f"there {len(positions)} times" if positions else "missing"
            raise SchemaError(
                f"feature {name!r} ({kind}) is {state} among the columns "
                f"{', '.join(schema.names)}; the model was trained with it",
                field=name,
            )
        arrow_type = schema.field(positions[0]).type
        if not _holds(arrow_type, kind):
            expected = {
                "number": "an integer, float, decimal or boolean",
                "category": "a string, plain or dictionary-encoded",
            }
            raise SchemaError(
                f"feature {name!r} is {arrow_type}, but a {kind} is expected: "
                f"{expected[kind]}",
                field=name,
            )


def _holds(arrow_type: pa.DataType, kind: str) -> bool:
    if types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    checks = [types.is_null]
    if kind == "number":
        checks += [types.is_integer, types.is_floating]
        checks += [types.is_decimal, types.is_boolean]
    else:
        checks += [types.is_string, types.is_large_string, types.is_string_view]
    return any(holds(arrow_type) for holds in checks)


def strings_of(column: pa.Array) -> pa.Array:
    """Return a column of categories as plain strings."""
    return column if column.type == pa.string() else column.cast(pa.string())


def floats_of(column: pa.Array | pa.ChunkedArray) -> Array:
    """Return a column of numbers as floats, NaN for null; a view if possible."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_decimal(column.type):
        # Arrow's own cast of money is off in the last place for two amounts of five.
        column = column.cast(pa.string()).cast(pa.float64())
    elif types.is_boolean(column.type) or types.is_null(column.type):
        column = column.cast(pa.int8()).cast(pa.float64())
    values: Array = column.to_numpy(zero_copy_only=False)
    return values if values.dtype.kind == "f" else values.astype(np.float64)
