"""What 01-Predictions leaves: scores, the row that shows them, users' newest rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from uuid import uuid4

from propensity.gcp.warehouse import Warehouse
from propensity.tables import every as tables
from tests.rows import append_rows


def publish(
    warehouse: Warehouse,
    as_of: date,
    probabilities: Mapping[str, float],
    *,
    version: int = 0,
    use_case: str = "ga4_purchase",
    scored_at: datetime = datetime(2026, 3, 2, tzinfo=UTC),
    values: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Publish users' probabilities in the place of those of the date, if any."""
    key = {"use_case": use_case, "as_of": as_of, "run_id": uuid4().hex}
    scores = [
        {
            **key,
            "user_id": user,
            "probability": probability,
            "expected_value": Decimal(str(values[user])) if user in values else None,
        }
        for user, probability in probabilities.items()
    ]
    append_rows(warehouse, tables.SCORES, scores)
    ordered = sorted(probabilities.values())
    row = {
        **key,
        "model_version": version,
        "scored_at": scored_at,
        "published_at": datetime.now(UTC),
        "users": len(scores),
        "mean_probability": sum(ordered) / len(ordered),
        "quantiles": [ordered[n * (len(ordered) - 1) // 100] for n in range(101)],
    }
    append_rows(warehouse, tables.PUBLICATIONS, [row])


def put(warehouse: Warehouse, user: str, **fields: object) -> None:
    """Write a user's row of ``ma_predictions_table`` as an earlier run would have."""
    row = {
        "use_case": "ga4_purchase",
        "user_id": user,
        "probability": 0.25,
        "percentile": 60,
        "model_version": 0,
        "scored_at": datetime(2026, 4, 13, tzinfo=UTC),
        **fields,
    }
    append_rows(warehouse, tables.PREDICTIONS, [row])
