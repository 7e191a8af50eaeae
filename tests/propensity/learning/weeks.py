"""Evaluated weeks and days, as rows of the evaluation, and the reports on them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np

from propensity import usecases
from propensity.budget import Budget
from propensity.learning import season
from propensity.learning.report import week_page
from propensity.measures import metrics
from propensity.measures.thresholds import measured
from propensity.usecases import UseCase

MONDAY = date(2026, 3, 2)
WEEK = timedelta(days=7)
PURCHASE = usecases.load("ga4_purchase")


@cache
def figures(week: int, *, moved: float) -> dict[str, Any]:
    """Return the figures of a week whose outcomes follow the probabilities, moved."""
    generator = np.random.default_rng(week)
    probability = generator.beta(1, 9, 3_000)
    label = generator.random(3_000) < season.apply(probability, moved)
    of_week = measured(
        metrics.outcomes(probability, label),
        threshold=0.5,
        best_threshold=0.2,
        budget=Budget.parse("10%"),
    )
    return of_week.columns()


def row(week: int = 0, *, moved: float = 0.0, **changes: Any) -> dict[str, Any]:
    """Return a week's row of ``ma_model_evaluation``."""
    first = MONDAY + week * WEEK
    return {
        "week": first,
        "week_end": first + WEEK,
        "model_version": 3,
        "prediction_as_of": first,
        "status": "final",
        "outcome": "evaluated",
        "evaluated_at": datetime(2026, 3, 19, 12, tzinfo=UTC),
        "data_until": first + WEEK,
        **figures(week, moved=moved),
        "unscored_converters": 12,
    } | changes


ALARM = {
    "as_of": MONDAY + 2 * WEEK,
    "kind": "feature",
    "name": "source",
    "cause": "feature",
    "message": "source is 'google' for 2% of users (41% in the training)",
    "is_alarm": True,
}
LIFT = {
    "audience": "winback",
    "week": MONDAY + 2 * WEEK,
    "week_end": MONDAY + 3 * WEEK,
    "status": "provisional",
    "run_id": "run",
    "evaluated_at": datetime(2026, 3, 19, 12, tzinfo=UTC),
    "control_share": 0.1,
    "sample_ratio_p": 0.5,
    "treated_users": 900,
    "control_users": 100,
    "treated_conversions": 150,
    "control_conversions": 9,
    "conversion_difference": 0.0513,
    "conversion_difference_low": -0.0111,
    "conversion_difference_high": 0.1129,
    "conversion_lift": 0.518,
    "revenue_difference": 1.37,
    "revenue_difference_low": -0.21,
    "revenue_difference_high": 2.91,
    "verdict": "open",
}


def page(
    newest: dict[str, Any] | None = None,
    *,
    use_case: UseCase = PURCHASE,
    **changes: Any,
) -> str:
    """Write the page of the third of three weeks."""
    weeks = [row(0), row(1), newest or row(2)]
    return week_page(
        use_case,
        weeks[2]["week"],
        rows=weeks[2:],
        weeks=weeks,
        trained={3: row(0)},
        lacked=[],
        **{"alarms": [], "lifts": [], **changes},
    )
