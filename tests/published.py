"""Publications as 01-Predictions makes them: scores, and the row that shows them."""

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
    quantiles: tuple[float, ...] = (),
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
    found = [ordered[round(n / 100 * (len(ordered) - 1))] for n in range(101)]
    row = {
        **key,
        "model_version": version,
        "scored_at": scored_at,
        "published_at": datetime.now(UTC),
        "users": len(scores),
        "mean_probability": sum(ordered) / len(ordered),
        "quantiles": list(quantiles or found),
    }
    append_rows(warehouse, tables.PUBLICATIONS, [row])
