"""Predictions that are looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from propensity.tables.models import PREDICTIONS
from tests.support.deployment import Deployment

TODAY = datetime.now(UTC).date()
ANA = {
    "user_id": "ana.1",
    "probability": 0.8125,
    "prediction_date": TODAY.isoformat(),
    "model_version": 2,
    "percentile": 99,
    "stale": False,
}
KEYS = tuple(ANA)
BEN = {
    "user_id": "ben 2+ü/&=?",
    "probability": 0.1,
    "prediction_date": (TODAY - timedelta(days=30)).isoformat(),
    "model_version": 1,
    "percentile": None,
    "stale": True,
}


def publish(
    deployment: Deployment,
    predictions: Iterable[Mapping[str, Any]],
    *,
    use_case: str = "ga4_purchase",
) -> None:
    """Create the table where it is missing, and add rows to it as answers show them."""
    deployment.warehouse.create(PREDICTIONS)
    as_written = ("user_id", "probability", "percentile", "model_version")
    rows = []
    for row in predictions:
        day = date.fromisoformat(row["prediction_date"])
        own = {name: row[name] for name in as_written}
        rows.append({"use_case": use_case, "as_of": day, **own})
    deployment.append(PREDICTIONS, *rows)
