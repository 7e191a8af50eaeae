"""
Categories in a graph: the place of a text among the known ones, and a row for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from propensity.graphs.builder import ML, Graph, Unsupported
from propensity.models.encoder import steps_of
from propensity.models.encoder_parts import Categories

Floats = NDArray[np.float64]

# A category as a graph reads it: a tensor has no NULL, and a text may be empty.
MISSING, PREFIX = "", "="
# A text that no preprocessor was fitted on.
_UNSEEN = "\ue000never seen\ue000"

_LOOKUPS = (OneHotEncoder, OrdinalEncoder, TargetEncoder)


@dataclass(frozen=True)
class CategoryBlock:
    """Categories: the place of a text among the known ones, and a row for each."""

    names: tuple[str, ...]
    # Known texts, and rows for a missing one, each of these, and any other.
    texts: tuple[tuple[str, ...], ...]
    tables: tuple[Floats, ...]

    @classmethod
    def of(cls, part: Categories) -> CategoryBlock:
        kinds = {*part.features.values()}
        if kinds != {"category"}:
            numbers = [n for n, kind in part.features.items() if kind == "number"]
            raise Unsupported(
                f"{', '.join(numbers)} are numbers, encoded as categories"
            )
        texts = _vocabularies(part)
        values = [[None, *known, _UNSEEN] for known in texts]
        most = max(map(len, values))
        batch = pa.RecordBatch.from_pydict(
            {
                name: pa.array([own[n % len(own)] for n in range(most)], pa.string())
                for name, own in zip(part.features, values, strict=True)
            }
        )
        try:
            coded: Any = Categories(part.transformer, part.features, part.columns)
            block = coded.block(batch, batch.num_rows)
        except ValueError as error:
            raise Unsupported(
                f"the encoder of {', '.join(part.features)} refuses a category that is "
                f"missing or new to it, which a graph cannot: {error}"
            ) from error
        tables = [
            table[codes][: len(own)].astype(np.float64)
            for table, codes, own in zip(block.tables, block.codes, values, strict=True)
        ]
        return cls(tuple(part.features), tuple(texts), tuple(tables))

    @property
    def width(self) -> int:
        return sum(table.shape[1] for table in self.tables)

    def _codes(self, graph: Graph) -> list[str]:
        codes = []
        for name, known in zip(self.names, self.texts, strict=True):
            keys = [MISSING, *(PREFIX + text for text in known)]
            code = graph.add(
                "LabelEncoder",
                name,
                domain=ML,
                keys_strings=keys,
                values_int64s=list(range(len(keys))),
                default_int64=len(keys),
            )
            codes.append(graph.flat(code))
        return codes

    def raw(self, graph: Graph) -> str:
        rows = [
            graph.add("Gather", graph.constant(table), codes, axis=0)
            for table, codes in zip(self.tables, self._codes(graph), strict=True)
        ]
        return graph.add("Concat", *rows, axis=1)

    def encoded(self, graph: Graph) -> str:
        return self.raw(graph)

    def product(self, graph: Graph, weights: Floats) -> str:
        ends = np.cumsum([0, *(table.shape[1] for table in self.tables)])
        products = [
            graph.add("Gather", graph.constant(table @ weights[start:stop]), codes)
            for table, codes, start, stop in zip(
                self.tables, self._codes(graph), ends[:-1], ends[1:], strict=True
            )
        ]
        return graph.add("Sum", *products) if len(products) > 1 else products[0]

    def refused(self, graph: Graph) -> str | None:
        return None

    def forward(self, raw: Floats) -> Floats:
        return raw


def _vocabularies(part: Categories) -> list[tuple[str, ...]]:
    """Return the texts of each feature that a preprocessor tells apart."""
    steps = steps_of(part.transformer)
    special = {
        value
        for step in steps
        for value in (
            getattr(step, "missing_values", None),
            getattr(step, "fill_value", None),
        )
        if isinstance(value, str)
    }
    known: list[set[str]] = [set(special) for _ in part.features]
    for step in steps:
        if type(step) in _LOOKUPS:
            for own, categories in zip(known, step.categories_, strict=True):
                own |= {text for text in categories if isinstance(text, str)}
    return [tuple(sorted(own)) for own in known]
