"""
A fitted preprocessor on Arrow columns.

A fitted ``ColumnTransformer`` is written for pandas, and building its frames costs more
than most models. ``Encoder`` has the same results, with the same fitted transformers:

- scikit-learn's transformers of numbers get a float array, from Arrow's buffers;
- its encoders of categories are run once, on all values that they know, a null and a
  new one; each row then looks its values up;
- with anything else, such as a user's own transformer, the whole preprocessor gets a
  pandas frame, which is slower.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    TargetEncoder,
)

from propensity.errors import SchemaError
from propensity.models.encoding import Array, floats_of, strings_of, to_frame

# Their transformers treat arrays as they treat frames of numbers, row by row.
_OF_ARRAYS = ("sklearn.preprocessing.", "sklearn.impute.", "sklearn.decomposition.")
_NEW = "a value that no encoder has seen: \N{REPLACEMENT CHARACTER}"


class Encoder:
    """
    Encode Arrow batches as a fitted preprocessor encodes pandas frames.

    Attributes:
        features: Kind of each feature that a batch must hold, in the preprocessor's
            order.
        width: Columns of the encoded array; None where only the preprocessor knows.
    """

    def __init__(self, preprocessor: Any, features: Mapping[str, str]) -> None:
        """
        Choose how to run each transformer.

        Args:
            preprocessor: Fitted on frames of ``to_frame``. Any transformer will do; a
                ``ColumnTransformer`` that names its columns is fast.
            features: Kind of each feature by name; may name more than were fitted.
        """
        names = list(map(str, getattr(preprocessor, "feature_names_in_", features)))
        unknown = [name for name in names if name not in features]
        if unknown:
            raise SchemaError(
                f"the preprocessor was fitted on {', '.join(map(repr, unknown))}, "
                f"which is not among the features {', '.join(features)}; train again",
                field=unknown[0],
            )
        self.features = {name: features[name] for name in names}
        self.width: int | None = None
        self._preprocessor = preprocessor
        self._parts = _parts(preprocessor, features)
        if self._parts is not None:
            self.width = max((columns.stop for columns, _ in self._parts), default=0)

    def encode(self, batch: pa.RecordBatch) -> Array:
        """Return the N > 0 checked rows of a batch, encoded and dense, (N, width)."""
        if self._parts is None:
            return _dense(self._preprocessor.transform(to_frame(batch, self.features)))
        blocks = [(columns, part.encode(batch)) for columns, part in self._parts]
        if len(blocks) == 1:
            return blocks[0][1]
        if not blocks:
            return np.empty((batch.num_rows, 0))
        assert self.width is not None
        kind = np.result_type(*(block.dtype for _, block in blocks))
        # Arrow has columns in one piece, and trees read these as fast as rows.
        encoded = np.empty((batch.num_rows, self.width), dtype=kind, order="F")
        for columns, block in blocks:
            encoded[:, columns] = block
        return encoded

    def project(self, batch: pa.RecordBatch, weights: Array) -> Array:
        """
        Return ``encode(batch) @ weights`` (N,), of an encoder with a ``width``.

        A category then costs one addition and not a row of zeros.
        """
        total = np.zeros(batch.num_rows)
        assert self._parts is not None
        for columns, part in self._parts:
            total += part.project(batch, weights[columns])
        return total


class _Numbers:
    """Runs transformers on a float array of columns of numbers."""

    def __init__(self, steps: Sequence[Any], names: Sequence[str]) -> None:
        self._steps = steps
        self._names = names
        for step in steps:
            # Else it would warn that an array has no names.
            vars(step).pop("feature_names_in_", None)
            if hasattr(step, "set_output"):
                step.set_output(transform="default")

    def encode(self, batch: pa.RecordBatch) -> Array:
        columns = [floats_of(batch.column(name)) for name in self._names]
        kind = np.result_type(*(column.dtype for column in columns))
        # In this order Arrow's buffers are copied whole.
        values: Any = np.empty((batch.num_rows, len(columns)), dtype=kind, order="F")
        for position, column in enumerate(columns):
            values[:, position] = column
        for step in self._steps:
            values = step.transform(values)
        return _dense(values)

    def project(self, batch: pa.RecordBatch, weights: Array) -> Array:
        product: Array = self.encode(batch) @ weights
        return product


class _Categories:
    """Gathers rows of tables: of each feature's known values, a null and a new one."""

    def __init__(self, tables: Mapping[str, tuple[pa.Array, Array]]) -> None:
        self._tables = tables

    def encode(self, batch: pa.RecordBatch) -> Array:
        return np.hstack([table[codes] for codes, table in self._coded(batch)])

    def project(self, batch: pa.RecordBatch, weights: Array) -> Array:
        total = np.zeros(batch.num_rows)
        start = 0
        for codes, table in self._coded(batch):
            stop = start + table.shape[1]
            total += (table @ weights[start:stop])[codes]
            start = stop
        return total

    def _coded(self, batch: pa.RecordBatch) -> Iterator[tuple[Array, Array]]:
        """Yield for each feature the rows' places in its table, and the table."""
        for name, (values, table) in self._tables.items():
            column = strings_of(batch.column(name))
            codes = pc.fill_null(pc.index_in(column, values), len(values) + 1)
            codes = pc.if_else(pc.is_null(column), len(values), codes)
            yield codes.to_numpy(zero_copy_only=False), table


_Part = _Numbers | _Categories


def _parts(
    preprocessor: Any, features: Mapping[str, str]
) -> list[tuple[slice, _Part]] | None:
    """Return columns and faster encoders; None where a transformer has none."""
    if type(preprocessor) is not ColumnTransformer or preprocessor.transformer_weights:
        return None
    parts = []
    for name, transformer, selection in preprocessor.transformers_:
        if not isinstance(selection, list | np.ndarray):
            return None
        if transformer == "drop" or not len(selection):
            continue
        if not all(isinstance(feature, str) for feature in selection):
            return None
        kinds = {feature: features[feature] for feature in selection}
        part = _fast(copy.deepcopy(transformer), kinds)
        if part is None:
            return None
        parts.append((preprocessor.output_indices_[name], part))
    return parts


def _fast(transformer: Any, features: Mapping[str, str]) -> _Part | None:
    steps = _steps(transformer)
    kinds = set(features.values())
    if kinds == {"number"} and all(map(_takes_arrays, steps)):
        return _Numbers(steps, list(features))
    if kinds == {"category"} and steps:
        return _categories(transformer, steps, features)
    return None


def _steps(transformer: Any) -> list[Any]:
    """Return the transformers of a pipeline, which may be nested, in order."""
    if transformer is None or isinstance(transformer, str):
        return []
    if type(transformer) is Pipeline:
        return [inner for _, step in transformer.steps for inner in _steps(step)]
    return [transformer]


def _takes_arrays(step: Any) -> bool:
    if type(step) is FunctionTransformer:
        is_by_element = step.func is np.clip or isinstance(step.func, np.ufunc)
        return step.func is None or is_by_element
    return type(step).__module__.startswith(_OF_ARRAYS)


def _categories(
    transformer: Any, steps: Sequence[Any], features: Mapping[str, str]
) -> _Part | None:
    """Encode each value once, and gather rows; None if a column is not by itself."""
    *imputers, encoder = steps
    if (
        type(encoder) not in {OneHotEncoder, OrdinalEncoder, TargetEncoder}
        or any(type(step) is not SimpleImputer for step in imputers)
        or encoder.n_features_in_ != len(features)
        or getattr(encoder, "target_type_", "") == "multiclass"
    ):
        return None
    categories = []
    for fit in encoder.categories_:
        categories.append([value for value in fit if isinstance(value, str)])
    # Below the known values a null, and at the end a new one.
    rows = max(map(len, categories)) + 2
    columns = dict[str, pd.Series]()
    for name, values in zip(features, categories, strict=True):
        gaps = [None] * (rows - 1 - len(values))
        columns[name] = pd.Series(values + gaps + [_NEW], dtype="str")
    try:
        with warnings.catch_warnings(action="ignore"):
            encoded = _dense(transformer.transform(pd.DataFrame(columns)))
        numbered = copy.deepcopy(encoder)
        vars(numbered).pop("feature_names_in_", None)
        # Scikit-learn has no other public way to tell whose column an encoded one is.
        column_names = numbered.get_feature_names_out(
            list(map(str, range(len(categories))))
        )
        owners = np.array([int(name.partition("_")[0]) for name in column_names])
    except ValueError:  # it refuses new values, or names columns in a way of its own
        return None
    tables = {}
    for position, (name, values) in enumerate(zip(features, categories, strict=True)):
        # The values, a null, and the new one at the end.
        encoded_rows = list(range(len(values) + 1)) + [-1]
        table = encoded[:, owners == position][encoded_rows]
        tables[name] = pa.array(values, pa.string()), table
    return _Categories(tables)


def _dense(values: Any) -> Array:
    """Return a transformer's output as a dense array of two dimensions."""
    dense = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    return dense if dense.ndim == 2 else dense.reshape(len(dense), -1)
