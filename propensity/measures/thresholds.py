"""
Thresholds and budgets: the rows to act on, and all metrics of scored rows.

Calibrated probabilities of rare outcomes never reach 0.5. The best threshold is the one
with the highest F1 on earlier rows, and never on those that it is measured on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from propensity.budget import Budget
from propensity.measures.intervals import Ends, Spread, interval, of_rows
from propensity.measures.metrics import (
    Outcomes,
    above,
    brier,
    calibration_error,
    calibration_noise,
    confusion,
    grouped,
    lift_by_decile,
    log_loss,
    of_best,
    pr_auc,
    pr_auc_slopes,
    ratio,
    roc_auc,
    roc_auc_slopes,
)

# Thresholds that are stored of a week: of a million rows each selects about a fiftieth
# more than the one before, so that the best F1 of these is within 1% of the highest.
_STORED = 600


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """
    Metrics of scored rows, a column of the tables each; None where one does not exist.

    Anomaly scores have none that reads a score as a probability. ``_at_best`` is at
    the best threshold on earlier rows, ``_at_budget`` of the rows of the budget. Counts
    of the budget may be fractions: ties at its border are shared out.
    """

    users: int = 0
    conversions: int = 0
    base_rate: float | None = None
    mean_probability: float | None = None
    threshold: float | None = None
    true_positives: int | None = None
    true_negatives: int | None = None
    false_positives: int | None = None
    false_negatives: int | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    roc_auc: float | None = None
    roc_auc_low: float | None = None
    roc_auc_high: float | None = None
    pr_auc: float | None = None
    pr_auc_low: float | None = None
    pr_auc_high: float | None = None
    brier: float | None = None
    log_loss: float | None = None
    calibration_error: float | None = None
    calibration_noise: float | None = None
    lift: Sequence[Mapping[str, float | None]] = ()
    best_threshold: float | None = None
    users_at_best: int | None = None
    true_positives_at_best: int | None = None
    precision_at_best: float | None = None
    recall_at_best: float | None = None
    f1_at_best: float | None = None
    budget: str | None = None
    users_at_budget: float | None = None
    true_positives_at_budget: float | None = None
    precision_at_budget: float | None = None
    recall_at_budget: float | None = None
    f1_at_budget: float | None = None
    lift_at_budget: float | None = None

    def columns(self) -> dict[str, Any]:
        """Return the columns of a table."""
        return asdict(self)


def measured(
    observed: Outcomes,
    *,
    threshold: float,
    best_threshold: float | None,
    budget: Budget,
    dates: int = 1,
    spread: Spread | None = None,
    is_anomaly: bool = False,
) -> Metrics:
    """
    Return all metrics of scored rows.

    Args:
        threshold: The fixed one.
        best_threshold: The best on earlier rows; None if none is known.
        budget: How many of the best, or which share: a number is of each of ``dates``.
        spread: As ``intervals.by_user`` of a metric's slopes; None for rows that are
            independent of each other.
        is_anomaly: Whether the score ranks, and is no probability.
    """
    users, conversions = observed.users.sum(), observed.conversions.sum()
    values: dict[str, Any] = {
        "users": round(float(users)),
        "conversions": round(float(conversions)),
        "base_rate": ratio(conversions, users),
        "lift": lift_by_decile(observed),
        "best_threshold": best_threshold,
        **_at_budget(observed, budget, dates=dates),
    }
    spread = spread or (lambda slopes_of: of_rows(observed, slopes_of(observed)))
    for name, measure, slopes_of in (
        ("roc_auc", roc_auc, roc_auc_slopes),
        ("pr_auc", pr_auc, pr_auc_slopes),
    ):
        value = measure(observed)
        ends: Ends = (None, None)
        if value is not None:
            ends = interval(value, *spread(slopes_of))
        values |= {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}
    if best_threshold is not None:
        best = confusion(observed, threshold=best_threshold)
        values |= {
            f"{name}_at_best": best[name]
            for name in ("true_positives", "precision", "recall", "f1")
        }
        values["users_at_best"] = best["true_positives"] + best["false_positives"]
    if is_anomaly:
        values["lift"] = [{**part, "mean_probability": None} for part in values["lift"]]
        return Metrics(**values)
    return Metrics(
        **values,
        **confusion(observed, threshold=threshold),
        threshold=threshold,
        mean_probability=ratio((observed.probability * observed.users).sum(), users),
        brier=brier(observed),
        log_loss=log_loss(observed),
        calibration_error=calibration_error(observed),
        calibration_noise=calibration_noise(observed),
    )


def _at_budget(observed: Outcomes, budget: Budget, *, dates: int) -> dict[str, Any]:
    """Return the metrics of the best rows; ties at the border are shared out."""
    total, positives = float(observed.users.sum()), float(observed.conversions.sum())
    count = min(budget.rows(total, dates=dates), total)
    # Rounding in the sums must not give more hits than rows or conversions.
    hits = min(float(of_best(observed, observed.conversions, count)), count, positives)
    precision = ratio(hits, count)
    return {
        "budget": str(budget),
        "users_at_budget": count,
        "true_positives_at_budget": hits,
        "precision_at_budget": precision,
        "recall_at_budget": ratio(hits, positives),
        "f1_at_budget": ratio(2 * hits, count + positives),
        "lift_at_budget": None
        if precision is None
        else ratio(precision, positives / total),
    }


def best_threshold(observed: Outcomes) -> float | None:
    """
    Return the threshold with the highest F1; None with one class.

    It is a probability of the rows, and selects those that have it. Of thresholds with
    the same F1 the highest counts, which selects the fewest rows.
    """
    if not observed.has_both_classes:
        return None
    selected, hits = above(observed)
    f1 = 2 * hits / (selected + hits[-1])
    return float(observed.probability[::-1][np.argmax(f1)])


def by_threshold(observed: Outcomes) -> list[dict[str, float]]:
    """
    Return the rows at or above thresholds, and how many of them converted.

    Returns:
        ``threshold``, a probability of the rows, ``users`` and ``conversions``, the
        highest first; the last has all rows. All thresholds where they are few.
    """
    selected, hits = above(observed)
    kept = np.arange(len(selected))
    if len(kept) > _STORED:
        counts = np.geomspace(selected[0], selected[-1], _STORED)
        kept = np.unique(np.searchsorted(selected, counts))
    columns = (observed.probability[::-1], selected, hits)
    names = ("threshold", "users", "conversions")
    return [
        dict(zip(names, row, strict=True))
        for row in np.column_stack(columns)[kept].tolist()
    ]


def pooled(weeks: Iterable[Sequence[Mapping[str, Any]]]) -> Outcomes:
    """
    Return the outcomes of several weeks together, each as ``by_threshold`` has it.

    Returns:
        Outcomes by threshold: a group's probability is the lowest in it.
    """
    tables = [np.empty((0, 3))]
    for week in weeks:
        rows = [[row["threshold"], row["users"], row["conversions"]] for row in week]
        table = np.array(rows, dtype=np.float64).reshape(-1, 3)
        # From counts above each threshold to counts between it and the next.
        table[1:, 1:] = np.diff(table[:, 1:], axis=0)
        tables.append(table)
    return grouped(*np.concatenate(tables).T)
