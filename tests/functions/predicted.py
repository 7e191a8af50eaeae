"""Publications of 01-Predictions, and rows that earlier runs have left."""

from __future__ import annotations

from datetime import UTC, datetime

from propensity.schema import Table
from tests.functions.conftest import TRAINED, Place
from tests.rows import append_rows
from tests.shop import WEEK

PUBLISHED = ("ma_predictions_table", "ma_predictions_history")


def state(place: Place) -> dict[str, list]:
    """Return all that is published, without run times."""
    return {
        name: sorted(
            tuple(str(value) for column, value in row.items() if column != "scored_at")
            for row in place.rows(f"SELECT * FROM {name}")
        )
        for name in PUBLISHED
    }


def add(place: Place, table: Table, **fields: object) -> None:
    """Write a row of a table as an earlier run would have."""
    row = {
        "use_case": "ga4_purchase",
        "as_of": TRAINED - WEEK,
        "probability": 0.25,
        "percentile": 60,
        "model_version": 0,
        "scored_at": datetime(2026, 4, 13, tzinfo=UTC),
        **fields,
    }
    append_rows(place.warehouse, table, [row])
