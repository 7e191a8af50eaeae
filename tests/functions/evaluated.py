"""Rows of evaluated weeks, as 03 leaves them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from propensity.tables.models import EVALUATION
from tests.support.deployment import Deployment
from tests.support.rows import append_rows
from tests.support.shop import WEEK
from tests.support.shops import TRAINED

BEFORE = TRAINED - WEEK


def evaluated(
    deployment: Deployment, week: date, log_odds: float | None, **more: Any
) -> None:
    """Write the final row of a week that lacked these log-odds, as of its end."""
    row = {
        "use_case": "ga4_purchase",
        "week": week,
        "week_end": week + WEEK,
        "as_of": week + WEEK,
        "prediction_as_of": week,
        "prediction_scored_at": datetime(2026, 4, 20, tzinfo=UTC),
        "users": 4_000,
        "conversions": 400,
        **more,
    }
    if log_odds is not None:
        row |= {"residual_log_odds": log_odds, "residual_standard_error": 0.02}
    append_rows(deployment.warehouse, EVALUATION, [row])


def both_weeks(deployment: Deployment, log_odds: float) -> None:
    """Write two weeks, fewer than which are no season."""
    for week in (BEFORE, TRAINED):
        evaluated(deployment, week, log_odds)
