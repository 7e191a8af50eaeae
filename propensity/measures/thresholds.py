"""
The threshold and the budget: the rows to act on, and all metrics of scored rows.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from propensity.budget import Budget
from propensity.measures import metrics
from propensity.measures.intervals import Ends
from propensity.measures.metric_intervals import Spread, interval, of_rows
from propensity.measures.metrics import Outcomes, ratio
from propensity.tables.models import Metrics


def score_metrics(
    observed: Outcomes, *, threshold: float, **measured_by: Any
) -> Metrics:
    """
    Return all metrics of probabilities.

    Args:
        threshold: Least probability of a positive prediction.
        measured_by: Arguments of ``rank_metrics``.
    """
    users = observed.users.sum()
    return replace(
        rank_metrics(observed, **measured_by),
        **metrics.confusion(observed, threshold=threshold)._asdict(),
        threshold=threshold,
        lift=metrics.lift_by_decile(observed),
        mean_probability=ratio((observed.probability * observed.users).sum(), users),
        brier=metrics.brier(observed),
        log_loss=metrics.log_loss(observed),
        calibration_error=metrics.calibration_error(observed),
    )


def rank_metrics(
    observed: Outcomes,
    *,
    budget: Budget,
    dates: int = 1,
    spread: Spread | None = None,
) -> Metrics:
    """
    Return the metrics of scores that rank, and need be no probabilities.

    Args:
        budget: How many of the best, or which share: a number is for each date.
        spread: As ``by_user`` of a metric's slopes; None for rows that are
            independent of each other.
    """
    users = observed.users.sum()
    conversions = observed.conversions.sum()
    values: dict[str, object] = {}
    for name, measure, slopes_of in (
        ("roc_auc", metrics.roc_auc, metrics.roc_auc_slopes),
        ("pr_auc", metrics.pr_auc, metrics.pr_auc_slopes),
    ):
        value = measure(observed)
        ends: Ends = (None, None)
        if value is not None:
            # Rows are independent of each other unless somebody knows better.
            users_and_variance = of_rows(observed, slopes_of(observed))
            if spread is not None:
                users_and_variance = spread(slopes_of)
            ends = interval(value, *users_and_variance)
        values |= {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}
    deciles = metrics.lift_by_decile(observed)
    return replace(
        at_budget(observed, budget, dates=dates),
        users=round(float(users)),
        conversions=round(float(conversions)),
        base_rate=ratio(conversions, users),
        lift=[replace(decile, mean_probability=None) for decile in deciles],
        **values,
    )


def at_budget(observed: Outcomes, budget: Budget, *, dates: int = 1) -> Metrics:
    """Return the metrics of the best rows only; ties at the border are shared out."""
    total = float(observed.users.sum())
    positives = float(observed.conversions.sum())
    count = min(budget.rows(total, dates=dates), total)
    users = observed.users[::-1]
    conversions = observed.conversions[::-1]
    # Rounding in the sums must not give more hits than rows or conversions.
    hits = min(float(metrics.of_first(users, conversions, count)), count, positives)
    precision = ratio(hits, count)
    lift = None if precision is None else ratio(precision, positives / total)
    return Metrics(
        budget=str(budget),
        users_at_budget=count,
        true_positives_at_budget=hits,
        precision_at_budget=precision,
        recall_at_budget=ratio(hits, positives),
        f1_at_budget=ratio(2 * hits, count + positives),
        lift_at_budget=lift,
    )
