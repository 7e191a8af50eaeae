"""An export of traps, and an empty one, in the emulator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests import shop
from tests.shop import event
from tests.usecases.ga4_purchase.exports import Export, ago, traps


@pytest.fixture(scope="module")
def over() -> Iterator[Callable[..., Export]]:
    """Open the export of a workplace with some settings, and close it in the end."""
    with contextlib.ExitStack() as stack:

        def opened(place: Any, **extra: str) -> Export:
            export = Export(place, **extra)
            stack.callback(export.warehouse.close)
            return export

        yield opened


@pytest.fixture(scope="module")
def export(module_workplace, over) -> Export:
    """Everybody's events, and tables that the view must leave out."""
    tables = shop.shards(traps())
    only_there = shop.shards([event("not daily", ago(3)), event("at last", ago(3))])
    [(daily, rows)] = only_there.items()
    day = daily.removeprefix("events_")
    kinds = ("fresh", "intraday", "fresh_intraday")
    others = [f"{kind}_{day}" for kind in kinds]
    for name in (*others, f"{day}_backup", day[:6]):
        tables[f"events_{name}"] = rows
    shop.load_shards(module_workplace, tables)
    return over(module_workplace).prepare()


# What a training row has beside its features.
OUTCOME = {"label", "label_amount", "weight"}


@pytest.fixture(scope="module")
def rows(export) -> list[dict[str, Any]]:
    """Everybody's training rows."""
    return export.training_rows()


@pytest.fixture(scope="module")
def features(rows) -> Mapping[str, dict[str, Any]]:
    """Everybody's features, by user."""
    return {
        row["user_id"]: {name: row[name] for name in row.keys() - OUTCOME}
        for row in rows
    }
