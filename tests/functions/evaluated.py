"""Shops with published probabilities and known outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING

from propensity import tables
from tests.rows import append_rows

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
    """Add a publication to the history; ``values`` are what users are worth."""
    rows = [
        {
            "use_case": use_case,
            "user_id": user,
            "as_of": as_of,
            "probability": probability,
            "percentile": 50,
            "model_version": version,
            "scored_at": scored_at,
            "expected_value": Decimal(str(values[user])) if user in values else None,
        }
        for user, probability in probabilities.items()
    ]
    append_rows(place.warehouse, tables.PREDICTIONS_HISTORY, rows)


def evaluations(place: Place) -> list[dict]:
    return place.rows("SELECT * FROM ma_model_evaluation ORDER BY week, model_version")
