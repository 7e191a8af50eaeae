"""Evaluated weeks and days, as rows of the evaluation, and the reports on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np

from propensity.budget import Budget
from propensity.learning import metrics, season
from propensity.learning.report.week import Report
from propensity.learning.thresholds import measured

MONDAY = date(2026, 3, 2)
WEEK = timedelta(days=7)


@cache
def figures(week: int, *, moved: float) -> Mapping[str, Any]:
    """Return the figures of a week whose outcomes follow the probabilities, moved."""
    generator = np.random.default_rng(week)
    probability = generator.beta(1, 9, 3_000)
    came = season.apply(probability, moved)
    observed = metrics.outcomes(
        probability, (generator.random(3_000) < came).astype(int)
    )
    lacked = season.residual(observed)
    assert lacked is not None
    return {
        **measured(
            observed,
            threshold=0.5,
            best_threshold=0.2,
            budget=Budget.parse("10%"),
            seed=1,
        ).columns(),
        "residual_log_odds": lacked[0],
        "residual_standard_error": lacked[1],
    }


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


TRAINED = {
    3: {
        "model_version": 3,
        "roc_auc": 0.781,
        "roc_auc_low": 0.764,
        "roc_auc_high": 0.799,
        "pr_auc": 0.311,
        "calibration_error": 0.0099,
        "log_loss": 0.3111,
        "lift_at_budget": 3.17,
    }
}
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


def report(**changes: Any) -> Report:
    """Build the report of the third of three weeks."""
    rows = [row(0), row(1), row(2)]
    newest = changes.pop("newest", rows[2])
    third = Report(
        use_case="ga4_purchase",
        title="Purchase within the horizon",
        outcome="buy",
        entity="user",
        week=newest["week"],
        is_daily=False,
        rows=[newest],
        weeks=[*rows[:2], newest],
        trained=TRAINED,
        alarms=[],
        lifts=[],
    )
    return replace(third, **changes)
