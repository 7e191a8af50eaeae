"""Evaluated weeks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from propensity.tables.models import IN_METRICS

if TYPE_CHECKING:
    from tests.functions.conftest import Place

MONDAY = date(2026, 3, 2)
USERS = 200


def evaluations(place: Place) -> list[dict]:
    """Return the rows of evaluated weeks, and all their metrics as if columns."""
    rows = place.rows("SELECT * FROM ma_model_evaluation ORDER BY week, model_version")
    return [with_metrics(row) for row in rows]


def with_metrics(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an evaluation's row, and the metrics in it as if they were columns."""
    absent = dict.fromkeys(column.name for column in IN_METRICS)
    return {**absent, **row, **json.loads(row["metrics"] or "{}")}
