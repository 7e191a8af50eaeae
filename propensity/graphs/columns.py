"""
A fitted preprocessor as columns of a graph.

Trees and sums need different things of an encoded column. A sum needs its value, which
a graph can compute a last bit apart from scikit-learn. A tree asks on which side of a
threshold the value is, where a last bit can send a row another way. So a block gives
both: ``encoded``, the values; and ``raw``, values that are exact, with the thresholds
that mean the same for them. Raw are a feature as it came, with its gaps filled as the
preprocessor fills them, a mark of a gap, and the encodings of a category. All further
steps are increasing functions, so the raw threshold is the largest number that they
keep at or below the encoded one: it is found by bisection, with the
arithmetic of scikit-learn's transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

from propensity.graphs.builder import Graph, Unsupported
from propensity.graphs.categories import CategoryBlock
from propensity.models.encoder import Encoder
from propensity.models.encoder_parts import Categories, Numbers

Floats = NDArray[np.float64]


class Block(Protocol):
    """Some of the encoded columns."""

    @property
    def width(self) -> int:
        """Number of columns."""

    def forward(self, raw: Floats) -> Floats:
        """Return what the preprocessor makes of exact values, (rows, width)."""

    def raw(self, graph: Graph) -> str:
        """Return the exact values, (n, width)."""

    def encoded(self, graph: Graph) -> str:
        """Return the values that the preprocessor gives, (n, width)."""

    def product(self, graph: Graph, weights: Floats) -> str:
        """Return ``encoded @ weights``, (n,)."""

    def refused(self, graph: Graph) -> str | None:
        """Return NaN for rows that it refuses and else 0, (n,); None for no check."""


def blocks_of(encoder: Encoder) -> list[Block]:
    """
    Return the blocks of a compiled preprocessor, in the order of its columns.

    Raises:
        Unsupported: A transformer is none that a graph can hold.
    """
    if encoder.fallbacks:
        raise Unsupported(
            f"the preprocessor's {', '.join(encoder.fallbacks)} runs Python code"
        )
    blocks: list[Block] = []
    for columns, part in sorted(encoder.parts, key=lambda pair: pair[0].start):
        if isinstance(part, Numbers):
            block: Block = _NumberBlock.of(part)
        elif isinstance(part, Categories):
            block = CategoryBlock.of(part)
        else:
            raise Unsupported("the preprocessor runs Python code")
        if block.width != columns.stop - columns.start:
            raise Unsupported(
                f"the preprocessor gives {columns.stop - columns.start} columns where "
                f"the graph has {block.width}"
            )
        blocks.append(block)
    return blocks


def raw_thresholds(
    forward: Callable[[Floats], Floats],
    thresholds: Sequence[Floats],
    *,
    is_single: bool,
) -> list[Floats]:
    """
    Return for each encoded threshold the raw one that sends the same rows left.

    Args:
        forward: Increasing functions of the columns, as a block has them.
        thresholds: Of each column; a row goes left at or below.
        is_single: Whether encoded values are rounded to float32 before they are
            compared, as forests do.

    Returns:
        Of each column as many; minus infinity where no row goes left.
    """
    most = max((len(column) for column in thresholds), default=0)
    if not most:
        return [np.empty(0) for _ in thresholds]
    edges = np.full((most, len(thresholds)), np.inf)
    for place, column in enumerate(thresholds):
        edges[: len(column), place] = column

    def goes_left(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        with np.errstate(all="ignore"):
            encoded = forward(_number(keys))
            if is_single:
                encoded = encoded.astype(np.float32)
            # What is not a number is so on the left: below the domain of a function.
            return np.asarray(~(encoded > edges))

    shape = edges.shape
    low = np.full(shape, _key(np.array(-np.inf)))
    high = np.full(shape, _key(np.array(np.inf)))
    while (high - low > 1).any() or (high - low < 0).any():
        # The sum of both could overflow, as their difference above does.
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        is_left = goes_left(middle)
        low, high = np.where(is_left, middle, low), np.where(is_left, high, middle)
    values = _number(low)
    return [values[: len(column), place] for place, column in enumerate(thresholds)]


def _key(numbers: Floats) -> NDArray[np.int64]:
    """Return integers in the order of the numbers, neighbours one apart."""
    bits = numbers.view(np.int64)
    return np.where(bits < 0, -(bits & np.int64(2**63 - 1)), bits)


def _number(keys: NDArray[np.int64]) -> Floats:
    magnitude = np.abs(keys).view(np.float64)
    return np.where(keys < 0, -magnitude, magnitude)


@dataclass(frozen=True)
class _NumberBlock:
    """Numbers: gaps filled first, then increasing functions of each column."""

    names: tuple[str, ...]
    fill: Floats | None
    # Places of the features with a column that marks their gaps.
    marked: tuple[int, ...]
    steps: tuple[Any, ...]

    @classmethod
    def of(cls, part: Numbers) -> _NumberBlock:
        fill: Floats | None = None
        marked: tuple[int, ...] = ()
        steps = list(part.steps)
        if steps and type(steps[0]) is SimpleImputer:
            imputer = steps.pop(0)
            fill = np.asarray(imputer.statistics_, dtype=np.float64)
            is_nan = isinstance(imputer.missing_values, float) and np.isnan(
                imputer.missing_values
            )
            if not is_nan or np.isnan(fill).any():
                raise Unsupported("an imputer of other gaps than NaN, or without fill")
            if imputer.add_indicator:
                marked = tuple(int(place) for place in imputer.indicator_.features_)
        for step in steps:
            _check(step)
        return cls(part.names, fill, marked, tuple(steps))

    @property
    def width(self) -> int:
        return len(self.names) + len(self.marked)

    def raw(self, graph: Graph) -> str:
        raw = graph.add("Concat", *self.names, axis=1)
        if self.fill is not None:
            # IsNaN of ONNX Runtime 1.12 has no float64.
            gaps = graph.add("Not", graph.add("Equal", raw, raw))
            raw = graph.add("Where", gaps, graph.constant(self.fill[np.newaxis]), raw)
            if self.marked:
                places = graph.constant(list(self.marked))
                marks = graph.cast(graph.add("Gather", gaps, places, axis=1))
                raw = graph.add("Concat", raw, marks, axis=1)
        lowest = self._lowest()
        if np.isinf(lowest).all():
            return raw
        is_outside = graph.add("Less", raw, graph.constant(lowest[np.newaxis]))
        return graph.add("Where", is_outside, graph.constant([[np.nan]]), raw)

    def _lowest(self) -> Floats:
        """Return the first numbers in the domain of the functions, (width,)."""

        def is_inside(raw: Floats) -> Floats:
            return (~np.isnan(self.forward(raw))).astype(np.float64)

        # What is not a number is 0, and goes left.
        below = raw_thresholds(is_inside, [np.zeros(1)] * self.width, is_single=False)
        ends = np.concatenate(below)
        return np.where(np.isinf(ends), -np.inf, np.nextafter(ends, np.inf))

    def encoded(self, graph: Graph) -> str:
        tensor = self.raw(graph)
        for step in self.steps:
            tensor = _written(graph, step, tensor)
        return tensor

    def product(self, graph: Graph, weights: Floats) -> str:
        # Not MatMul: ONNX Runtime fuses it with a scale, which it keeps as float32.
        values = graph.constant(weights[np.newaxis])
        return graph.total(graph.add("Mul", self.encoded(graph), values))

    def refused(self, graph: Graph) -> str | None:
        # Imputers and scalers take no infinite number, and functions may make one.
        checked = (
            [graph.add("Concat", *self.names, axis=1)] if self.fill is not None else []
        )
        tensor = self.raw(graph)
        for step in self.steps:
            if type(step) in _SCALERS:
                checked.append(tensor)
            tensor = _written(graph, step, tensor)
        if not checked:
            return None
        every = graph.add("Abs", graph.add("Concat", *checked, axis=1))
        is_infinite = graph.add("Equal", every, graph.constant([[np.inf]]))
        marks = (graph.constant([[mark]]) for mark in (np.nan, 0.0))
        return graph.total(graph.add("Where", is_infinite, *marks))

    def forward(self, raw: Floats) -> Floats:
        for step in self.steps:
            raw = _applied(step, raw)
        return raw


def _arcsinh(graph: Graph, x: str) -> str:
    size = graph.add("Abs", x)
    squares = graph.add("Mul", size, size)
    root = graph.add("Sqrt", graph.add("Add", squares, graph.constant(1.0)))
    near = graph.add("Log", graph.add("Add", size, root))
    # Squares overflow, and beyond this root and size are equal to the last bit.
    far = graph.add("Add", graph.add("Log", size), graph.constant(np.log(2.0)))
    is_far = graph.add("Greater", size, graph.constant(1e9))
    return graph.add("Mul", graph.add("Sign", x), graph.add("Where", is_far, far, near))


def _log1p(graph: Graph, x: str) -> str:
    return graph.add("Log", graph.add("Add", x, graph.constant(1.0)))


_FUNCTIONS: Mapping[Any, Callable[[Graph, str], str]] = {
    None: lambda graph, x: x,
    np.arcsinh: _arcsinh,
    np.log: lambda graph, x: graph.add("Log", x),
    np.log1p: _log1p,
    np.sqrt: lambda graph, x: graph.add("Sqrt", x),
}
_SCALERS = (StandardScaler, RobustScaler, MaxAbsScaler, MinMaxScaler)


def _check(step: Any) -> None:
    is_function = type(step) is FunctionTransformer and step.func in _FUNCTIONS
    if not is_function and type(step) not in _SCALERS:
        raise Unsupported(
            f"the preprocessor's {step} is none of the steps that a graph can hold: an "
            "imputer in front, scalers, arcsinh, log, log1p and sqrt for numbers"
        )


def _arithmetic(step: Any) -> list[tuple[str, Floats]]:
    """Return a scaler as operations on whole columns, in scikit-learn's own order."""
    if type(step) is MinMaxScaler:
        parts = [("Mul", step.scale_), ("Add", step.min_)]
    elif type(step) is StandardScaler:
        parts = [
            ("Sub", step.mean_ if step.with_mean else None),
            ("Div", step.scale_ if step.with_std else None),
        ]
    elif type(step) is RobustScaler:
        parts = [
            ("Sub", step.center_ if step.with_centering else None),
            ("Div", step.scale_ if step.with_scaling else None),
        ]
    else:
        parts = [("Div", step.scale_)]
    return [(name, np.asarray(own)) for name, own in parts if own is not None]


def _ends(step: Any) -> tuple[float, float] | None:
    """Return what a scaler clips to; None if it does not."""
    if type(step) is not MinMaxScaler or not step.clip:
        return None
    least, most = step.feature_range
    return float(least), float(most)


def _written(graph: Graph, step: Any, x: str) -> str:
    """Add a step's computation."""
    if type(step) is FunctionTransformer:
        return _FUNCTIONS[step.func](graph, x)
    for operator, values in _arithmetic(step):
        x = graph.add(operator, x, graph.constant(values[np.newaxis]))
    ends = _ends(step)
    return graph.add("Clip", x, *map(graph.constant, ends)) if ends else x


def _applied(step: Any, x: Floats) -> Floats:
    """Return a step's results; scikit-learn refuses what is infinite."""
    if type(step) is FunctionTransformer:
        return x if step.func is None else np.asarray(step.func(x))
    for operator, values in _arithmetic(step):
        x = _NUMPY[operator](x, values)
    ends = _ends(step)
    return np.clip(x, *ends) if ends else x


_NUMPY: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}


class Columns:
    """The encoded columns of a graph; each block is computed once for all models."""

    def __init__(self, graph: Graph, encoder: Encoder) -> None:
        self.graph = graph
        self._blocks = blocks_of(encoder)
        self.width = sum(block.width for block in self._blocks)
        for name, kind in encoder.features.items():
            graph.input(name, kind)

    @cached_property
    def raw(self) -> str:
        """The exact values of all columns, (n, width)."""
        blocks = [block.raw(self.graph) for block in self._blocks]
        return self.graph.add("Concat", *blocks, axis=1)

    @cached_property
    def narrow(self) -> str:
        """The encoded columns as float32, infinite beyond its range, (n, width)."""
        from onnx import TensorProto

        blocks = [block.encoded(self.graph) for block in self._blocks]
        encoded = self.graph.add("Concat", *blocks, axis=1)
        return self.graph.add("Cast", encoded, to=TensorProto.FLOAT)

    def but_for_refused(self, probability: str) -> str:
        """Return a number of each row, NaN for rows that the preprocessor refuses."""
        for block in self._blocks:
            refused = block.refused(self.graph)
            if refused is not None:
                probability = self.graph.add("Add", probability, refused)
        return probability

    def product(self, weights: Floats) -> str:
        """Return the product of the encoded columns with weights, (n,)."""
        products = [
            block.product(self.graph, weights[columns])
            for block, columns in self.slices()
        ]
        return self.graph.add("Sum", *products)

    def raw_thresholds(
        self, thresholds: Sequence[Floats], *, is_single: bool
    ) -> list[Floats]:
        """Return the raw thresholds of all columns; see ``raw_thresholds``."""
        raw: list[Floats] = []
        for block, columns in self.slices():
            raw += raw_thresholds(
                block.forward, thresholds[columns], is_single=is_single
            )
        return raw

    def slices(self) -> list[tuple[Block, slice]]:
        """Return each block with its columns."""
        ends = np.cumsum([0, *(block.width for block in self._blocks)]).tolist()
        columns = map(slice, ends[:-1], ends[1:])
        return list(zip(self._blocks, columns, strict=True))
