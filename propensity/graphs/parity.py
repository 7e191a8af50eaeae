"""
Parity: whether a graph gives the probabilities of the scorer, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from propensity.graphs.builder import OUTPUT, Unsupported
from propensity.graphs.categories import MISSING, PREFIX
from propensity.models.encoding import Kind, numbers_of, texts_of

Floats = NDArray[np.float64]

# The largest difference between two probabilities of a row.
TOLERANCE = 1e-10
# Rows whose probabilities differ by less are tied: orders of the same sum differ so.
TIE = 1e-12

_CHUNK_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class Parity:
    """
    How a graph's probabilities compare with the scorer's.

    Attributes:
        largest_difference: Of two probabilities of a row; NaN where only one is a
            number.
        moved_ranks: Rows that another one overtakes which the scorer puts behind.
    """

    rows: int
    largest_difference: float
    moved_ranks: int

    @property
    def holds(self) -> bool:
        """Whether the graph may stand for the scorer; never without a row."""
        return (
            self.rows > 0
            and self.largest_difference <= TOLERANCE
            and not self.moved_ranks
        )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """
    A version in another form, which may stand for it.

    Attributes:
        data: Its bytes; None where there is none.
        note: How equal it is to what serves, or why there is none.
    """

    data: bytes | None
    note: str


def compare(probability: Floats, expected: Floats) -> Parity:
    """
    Compare the probabilities of a graph with those of the scorer.

    Args:
        probability: Of each row, by the graph.
        expected: Of the same rows, by the scorer; NaN where it refuses a row.
    """
    both = np.isnan(probability) & np.isnan(expected)
    apart = np.abs(probability - expected)[~both]
    in_order = probability[np.argsort(expected, kind="stable")]
    known = in_order[~np.isnan(in_order)]
    is_overtaken = np.maximum.accumulate(known) - known > TIE
    return Parity(
        rows=len(expected),
        largest_difference=float(apart.max(initial=0.0)),
        moved_ranks=int(is_overtaken.sum()),
    )


def run(graph: bytes, rows: pa.Table, *, features: Mapping[str, Kind]) -> Floats:
    """
    Return a graph's probabilities of rows, by ONNX Runtime, (rows,).

    Raises:
        Unsupported: ONNX Runtime cannot run it.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        names = {each.name for each in session.get_inputs()}
        read = {name: kind for name, kind in features.items() if name in names}
        parts = [
            session.run([OUTPUT], inputs(rows.slice(start, _CHUNK_ROWS), read))[0]
            for start in range(0, len(rows), _CHUNK_ROWS)
        ]
    except (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.NotImplemented,
        state.RuntimeException,
    ) as error:
        raise Unsupported(f"ONNX Runtime: {error}") from error
    return np.concatenate(parts) if parts else np.empty(0)


def inputs(rows: pa.Table, features: Mapping[str, Kind]) -> dict[str, NDArray[Any]]:
    """Return rows as the inputs of a graph, as the statements of ``sql`` give them."""
    columns: dict[str, NDArray[Any]] = {}
    for name, kind in features.items():
        column = rows[name].combine_chunks()
        if kind == "number":
            values: NDArray[Any] = numbers_of(column).astype(np.float64)
        else:
            texts = texts_of(column).to_pylist()
            marked = [MISSING if text is None else PREFIX + text for text in texts]
            # Python's texts: an array of numpy's own drops zero bytes at their ends.
            values = np.array(marked, dtype=object)
        columns[name] = values.reshape(-1, 1)
    return columns
