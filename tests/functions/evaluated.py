"""Shops with published probabilities and known outcomes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from propensity.tables.models import IN_METRICS
from tests.published import publish

if TYPE_CHECKING:
    from tests.functions.conftest import Place

MONDAY = date(2026, 3, 2)
USERS = 200


def published(
    place: Place,
    as_of: date,
    probabilities: dict[str, float],
    *,
    version: int = 0,
    use_case: str = "ga4_purchase",
    scored_at: datetime = datetime(2026, 3, 2, tzinfo=UTC),
    values: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Publish probabilities; ``values`` are what users are worth."""
    publish(
        place.warehouse,
        as_of,
        probabilities,
        version=version,
        use_case=use_case,
        scored_at=scored_at,
        values=values,
    )


def evaluations(place: Place) -> list[dict]:
    """Return the rows of evaluated weeks, and all their metrics as if columns."""
    rows = place.rows("SELECT * FROM ma_model_evaluation ORDER BY week, model_version")
    return [with_metrics(row) for row in rows]


def with_metrics(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an evaluation's row, and the metrics in it as if they were columns."""
    absent = dict.fromkeys(column.name for column in IN_METRICS)
    return {**absent, **row, **json.loads(row["metrics"] or "{}")}
