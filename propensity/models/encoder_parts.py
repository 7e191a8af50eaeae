"""
Ways to run a fitted transformer on a batch, with their output columns.

``Numbers`` passes a float array, ``Categories`` new values only, and ``Frame`` a pandas
frame, which is always right and never fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity.models.encoding import (
    Array,
    Kind,
    Rows,
    numbers_of,
    to_frame,
    values_of,
)

# Values remembered per column. A column with more is re-encoded chunk by chunk, so
# that neither memory nor the look-up grows with the number of users.
VOCABULARY_LIMIT = 20_000


class Block(Protocol):
    """Some of the encoded columns of a batch."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def dense(self) -> Array: ...

    def write(self, out: Array) -> None: ...

    def add_product(self, weights: Array, total: Array) -> None: ...


class Part(Protocol):
    """
    A source of some of the encoded columns.

    Of ``rows`` rows, where that is more than the batch has, the further ones are
    anything that the model takes; a block of codes leaves them out.
    """

    def block(self, batch: pa.RecordBatch | Rows, rows: int) -> Block: ...


@dataclass(frozen=True)
class Dense:
    """Columns as an array."""

    values: Array

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    def dense(self) -> Array:
        return self.values

    def write(self, out: Array) -> None:
        out[...] = self.values

    def add_product(self, weights: Array, total: Array) -> None:
        total += self.values @ weights


@dataclass(frozen=True)
class Coded:
    """Columns as codes into tables of rows: one pair for each feature."""

    codes: tuple[Array, ...]
    tables: tuple[Array, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(table.dtype for table in self.tables))

    def dense(self) -> Array:
        width = sum(table.shape[1] for table in self.tables)
        out = np.empty((len(self.codes[0]), width), dtype=self.dtype)
        self.write(out)
        return out

    def write(self, out: Array) -> None:
        start = 0
        for codes, table in zip(self.codes, self.tables, strict=True):
            stop = start + table.shape[1]
            if table.shape[1] == 1:
                out[: len(codes), start] = table[:, 0][codes]
            else:
                out[: len(codes), start:stop] = table[codes]
            start = stop

    def add_product(self, weights: Array, total: Array) -> None:
        start = 0
        for codes, table in zip(self.codes, self.tables, strict=True):
            stop = start + table.shape[1]
            total[: len(codes)] += (table @ weights[start:stop])[codes]
            start = stop


@dataclass(frozen=True)
class Numbers:
    """Runs transformers on a float array of all the columns."""

    names: tuple[str, ...]
    steps: tuple[Any, ...]

    def block(self, batch: pa.RecordBatch | Rows, rows: int) -> Block:
        values: Any
        if isinstance(batch, Rows):
            values = batch.array(self.names)
        else:
            values = self._array(batch, rows)
        for step in self.steps:
            values = step.transform(values)
        return Dense(as_array(values))

    def _array(self, batch: pa.RecordBatch, rows: int) -> Array:
        columns = [numbers_of(batch.column(name)) for name in self.names]
        # By column: Arrow's buffers are copied whole, and most transformers are
        # fastest on it. It is ours, so they may write into it.
        values: Array = np.empty(
            (rows, len(columns)),
            dtype=np.result_type(*(column.dtype for column in columns)),
            order="F",
        )
        for index, column in enumerate(columns):
            values[: len(column), index] = column
            values[len(column) :, index] = column[-1:]
        return values


@dataclass
class Categories:
    """Runs a transformer on new values, and gathers rows from its output."""

    transformer: Any
    features: Mapping[str, Kind]
    # The output columns of each feature.
    columns: tuple[slice, ...]
    known: list[pa.Array] = field(default_factory=list)
    tables: list[Array] = field(default_factory=list)

    def block(self, batch: pa.RecordBatch | Rows, rows: int) -> Block:
        values = [
            values_of(batch.column(name), kind) for name, kind in self.features.items()
        ]
        if not self.known:
            self._learn([pc.unique(column) for column in values])
        codes = self._codes(values)
        if any(column.null_count for column in codes):
            self._learn(
                [
                    pc.unique(column.filter(code.is_null()))
                    for column, code in zip(values, codes, strict=True)
                ]
            )
            if any(len(known) > VOCABULARY_LIMIT for known in self.known):
                self.known, self.tables = [], []
                self._learn([pc.unique(column) for column in values])
            codes = self._codes(values)
        return Coded(
            tuple(code.to_numpy() for code in codes),
            tuple(self.tables),
        )

    def _codes(self, values: Sequence[pa.Array]) -> list[pa.Array]:
        """Return each row's place among the known values, null for new values."""
        return [
            pc.index_in(column, value_set=known)
            for column, known in zip(values, self.known, strict=True)
        ]

    def _learn(self, unseen: Sequence[pa.Array]) -> None:
        """Encode new values and remember the result."""
        # The transformer takes all its columns at once. Shorter columns repeat their
        # own values, since it may refuse others.
        padding = self.known or unseen
        fresh = [
            values if len(values) else spare[:1]
            for values, spare in zip(unseen, padding, strict=True)
        ]
        rows = np.arange(max(len(values) for values in fresh))
        frame = to_frame(
            pa.RecordBatch.from_arrays(
                [values.take(pa.array(rows % len(values))) for values in fresh],
                names=list(self.features),
            ),
            self.features,
        )
        encoded = as_array(self.transformer.transform(frame))
        tables = [
            encoded[: len(values), columns]
            for values, columns in zip(unseen, self.columns, strict=True)
        ]
        if self.known:
            self.known = [
                pa.concat_arrays(pair) for pair in zip(self.known, unseen, strict=True)
            ]
            self.tables = [
                np.vstack(pair) for pair in zip(self.tables, tables, strict=True)
            ]
        else:
            self.known, self.tables = list(unseen), tables


@dataclass(frozen=True)
class Frame:
    """Runs a transformer on a pandas frame: always right, never fast."""

    transformer: Any
    # A single name is a column that is passed as a series.
    names: tuple[str, ...] | str
    features: Mapping[str, Kind]

    def block(self, batch: pa.RecordBatch | Rows, rows: int) -> Block:
        if isinstance(batch, Rows):
            batch = batch.record_batch(self.features)
        elif rows > batch.num_rows:
            batch = batch.take(pa.array(np.arange(rows).clip(max=batch.num_rows - 1)))
        frame = to_frame(batch, self.features)
        selection = self.names if isinstance(self.names, str) else list(self.names)
        return Dense(as_array(self.transformer.transform(frame[selection])))


def as_array(values: Any) -> Array:
    """Return a transformer's output as a dense array of two dimensions."""
    dense = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    return dense.reshape(len(dense), -1) if dense.ndim != 2 else dense
