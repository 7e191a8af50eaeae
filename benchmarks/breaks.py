"""
Ways in which features break: in exports, in statements and in pipelines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity.usecases import CATEGORY, NUMBER, UseCase


@dataclass(frozen=True, kw_only=True)
class Break:
    """A way in which features break."""

    kind: str
    name: str
    apply: Callable[[pa.Table], pa.Table]


def breaks(use_case: UseCase) -> Iterator[Break]:
    """Yield breaks as they happen in exports, statements and pipelines."""
    numbers = [n for n, kind in use_case.features.items() if kind == NUMBER]
    for name in numbers:
        yield Break(kind="zero", name=name, apply=_scaled([name], 0.0))
        yield Break(kind="null", name=name, apply=_nulled([name]))
        yield Break(kind="× 1,000", name=name, apply=_scaled([name], 1000.0))
        yield Break(kind="÷ 100", name=name, apply=_scaled([name], 0.01))
        yield Break(kind="halved", name=name, apply=_scaled([name], 0.5))
        yield Break(kind="null for 30%", name=name, apply=_nulled([name], share=0.3))
    for name, kind in use_case.features.items():
        if kind == CATEGORY:
            yield Break(kind="null", name=name, apply=_nulled([name]))
            yield Break(kind="renamed", name=name, apply=_renamed(name))
            yield Break(kind="a value vanishes", name=name, apply=_without_top(name))
    money = [n for n in numbers if "revenue" in n or "value" in n]
    yield Break(kind="cents", name="all money", apply=_scaled(money, 100.0))
    counts = [
        name
        for name in numbers
        if "days" not in name and "per" not in name and name != "events_trend"
    ]
    yield Break(kind="half of the events", name="counts", apply=_scaled(counts, 0.5))
    newest = [name for name in numbers if name.endswith("_7d")]
    yield Break(kind="a week missing", name="_7d", apply=_scaled(newest, 0.0))
    for share in (0.3, 0.5, 0.7):
        lost = _scaled(newest, 1 - share)
        yield Break(kind="part of a week", name=f"{share:.0%} of _7d", apply=lost)
    for share in (0.1, 0.2, 0.3, 0.5):
        yield Break(
            kind="users without events",
            name=f"{share:.0%}",
            apply=_zeroed(counts, share=share),
        )
    for event in ("purchase", "view_item", "add_to_cart", "session", "engagement"):
        named = [name for name in numbers if event in name]
        yield Break(kind="event missing", name=event, apply=_scaled(named, 0.0))


def _changed(
    names: Sequence[str], change: Callable[[Any], Any]
) -> Callable[[pa.Table], pa.Table]:
    def apply(rows: pa.Table) -> pa.Table:
        for name in names:
            place = rows.column_names.index(name)
            column = rows[name].combine_chunks()
            rows = rows.set_column(place, name, change(column))
        return rows

    return apply


def _scaled(names: Sequence[str], factor: float) -> Callable[[pa.Table], pa.Table]:
    return _changed(
        names, lambda column: pc.multiply(pc.cast(column, pa.float64(), False), factor)
    )


def _nulled(
    names: Sequence[str], *, share: float = 1.0
) -> Callable[[pa.Table], pa.Table]:
    def nulled(column: Any) -> Any:
        gone = np.random.default_rng(0).random(len(column)) < share
        return pc.if_else(pa.array(gone), pa.scalar(None, column.type), column)

    return _changed(names, nulled)


def _zeroed(names: Sequence[str], *, share: float) -> Callable[[pa.Table], pa.Table]:
    def zeroed(column: Any) -> Any:
        # The same users in all columns.
        gone = np.random.default_rng(0).random(len(column)) < share
        return pc.if_else(pa.array(gone), pa.scalar(0.0), pc.cast(column, pa.float64()))

    return _changed(names, zeroed)


def _renamed(name: str) -> Callable[[pa.Table], pa.Table]:
    return _changed(
        [name], lambda column: pc.binary_join_element_wise("new", column, "-")
    )


def _without_top(name: str) -> Callable[[pa.Table], pa.Table]:
    """Remove the users of the most frequent value."""

    def apply(rows: pa.Table) -> pa.Table:
        top = pc.mode(pc.dictionary_encode(rows[name].combine_chunks()).indices)
        encoded = pc.dictionary_encode(rows[name].combine_chunks())
        value = encoded.dictionary[top[0]["mode"].as_py()]
        return rows.filter(pc.fill_null(pc.not_equal(rows[name], value), True))

    return apply
