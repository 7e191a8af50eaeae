"""A place with predictions that are published, and all that is stored of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from propensity import tables
from propensity.edges.artifacts import Artifacts
from propensity.edges.warehouse import Warehouse
from propensity.schema import Table
from tests.functions.conftest import TRAINED, Place
from tests.shop import WEEK

PUBLISHED = ("ma_predictions_table", "ma_predictions_history")


def state(place: Place) -> dict[str, list]:
    """What is published, but for the time of the run that published it, and for the
    places that its rows have in the features that it kept."""
    own = {"scored_at", "feature_row"}
    return {
        name: sorted(
            tuple(str(value) for column, value in row.items() if column not in own)
            for row in place.rows(f"SELECT * FROM {name}")
        )
        for name in PUBLISHED
    }


def add(place: Place, table: Table, **row: object) -> None:
    """Write a row of a table as an earlier run would have."""
    full = {
        "use_case": "ga4_purchase",
        "as_of": TRAINED - WEEK,
        "probability": 0.25,
        "percentile": 60,
        "model_version": 0,
        "scored_at": datetime(2026, 4, 13, tzinfo=UTC),
        **row,
    }
    rows = pa.Table.from_pylist([full], table.arrow_schema())
    name = re.sub(r"[^A-Za-z0-9]", "-", f"{place.workplace.dataset}-{row}-{table.name}")
    place.warehouse.append(table, rows, job_id=name[:900])


@pytest.fixture(scope="module")
def published(new_place, with_champion) -> Place:
    """A place where a week is published, with rows that the run had to leave."""
    place = with_champion(new_place())
    add(place, tables.PREDICTIONS, user_id="gone.1")
    add(place, tables.PREDICTIONS, user_id="user.001", as_of=TRAINED - WEEK)
    other = {"user_id": "user.001", "use_case": "first_day_churn", "as_of": TRAINED}
    add(place, tables.PREDICTIONS, **other)
    add(place, tables.PREDICTIONS_HISTORY, **other)
    add(
        place,
        tables.PREDICTIONS_HISTORY,
        user_id="of an earlier try",
        as_of=TRAINED,
    )
    place.run("predictions", TRAINED)
    return place


@pytest.fixture(scope="module")
def published_once(new_place, with_champion) -> tuple[Place, dict[str, Any]]:
    """A place with one publication, and the answer of its run."""
    place = with_champion(new_place())
    return place, place.run("predictions", TRAINED)


EDGES = [
    (Warehouse, name) for name in ("rows", "execute", "batches", "write")
] + [(Artifacts, name) for name in ("find", "_write")]  # fmt: skip
