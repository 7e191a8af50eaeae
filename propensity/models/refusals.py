"""
Rows that a preprocessor or a model refuses, and why: the feature, never the value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import pyarrow as pa

from propensity.errors import SchemaError
from propensity.models.encoding import Kind, numbers_of


class RefusedRows(ValueError):  # noqa: N818
    """A preprocessor or a model raised ValueError; its cause is that error."""

    def __init__(self, rows: pa.RecordBatch) -> None:
        super().__init__("rows were refused")
        self.rows = rows


def refusal(
    rows: pa.RecordBatch,
    features: Mapping[str, Kind],
    *,
    unfilled: Callable[[], Collection[str]],
) -> SchemaError:
    """
    Return what is wrong with rows that were refused, as far as that can be told.

    Args:
        rows: Of which one or more were refused.
        unfilled: Returns the numbers that must not be null.
    """
    numbers = [name for name, kind in features.items() if kind == "number"]
    for name in numbers:
        if np.isinf(numbers_of(rows.column(name))).any():
            return SchemaError(
                f"feature {name!r} is infinite in some rows, which no model takes: "
                "look for a division by 0 in the statement of the features",
                field=name,
            )
    for name in unfilled():
        if np.isnan(numbers_of(rows.column(name))).any():
            return SchemaError(
                f"feature {name!r} is null in some rows, and the model has nothing to "
                "put in its place: it was trained without gaps there, or its "
                "preprocessor has no imputer",
                field=name,
            )
    return SchemaError(
        "the preprocessor or the model refuses some rows: a number is too large for "
        "them, or a category is null or new, and the encoder takes none that is"
    )
