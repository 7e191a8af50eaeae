"""
Thresholds and budgets: the rows to act on, and all metrics of scored rows.

Calibrated probabilities of rare outcomes never reach 0.5. The best threshold is the one
with the highest F1 on earlier rows, and never on the rows that it is measured on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from msgspec.structs import replace

from propensity.measures import metrics
from propensity.measures.intervals import Ends, Spread, interval, of_rows
from propensity.measures.metrics import Outcomes, above, ratio
from propensity.settings import Budget
from propensity.tables.models import Metrics, Selected

# Thresholds that are stored of a week: of a million rows each selects about 2% more
# than the one before, so that the best F1 of these is within 1% of the highest.
_STORED = 600


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
        budget: How many of the best, or which share: a number is for each date.
        spread: As ``intervals.by_user`` of a metric's slopes; None for rows that are
            independent of each other.
        is_anomaly: Whether the score ranks, and is no probability.
    """
    users, conversions = observed.users.sum(), observed.conversions.sum()
    values: dict[str, object] = {}
    spread = spread or (lambda slopes_of: of_rows(observed, slopes_of(observed)))
    for name, measure, slopes_of in (
        ("roc_auc", metrics.roc_auc, metrics.roc_auc_slopes),
        ("pr_auc", metrics.pr_auc, metrics.pr_auc_slopes),
    ):
        value = measure(observed)
        ends: Ends = (None, None)
        if value is not None:
            ends = interval(value, *spread(slopes_of))
        values |= {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}
    if best_threshold is not None:
        best = metrics.confusion(observed, threshold=best_threshold)
        values |= {
            "users_at_best": best.true_positives + best.false_positives,
            "true_positives_at_best": best.true_positives,
            "precision_at_best": best.precision,
            "recall_at_best": best.recall,
            "f1_at_best": best.f1,
        }
    found = replace(
        _at_budget(observed, budget, dates=dates),
        users=round(float(users)),
        conversions=round(float(conversions)),
        base_rate=ratio(conversions, users),
        lift=metrics.lift_by_decile(observed),
        best_threshold=best_threshold,
        **values,
    )
    if is_anomaly:
        lift = [replace(decile, mean_probability=None) for decile in found.lift]
        return replace(found, lift=lift)
    return replace(
        found,
        **metrics.confusion(observed, threshold=threshold)._asdict(),
        threshold=threshold,
        mean_probability=ratio((observed.probability * observed.users).sum(), users),
        brier=metrics.brier(observed),
        log_loss=metrics.log_loss(observed),
        calibration_error=metrics.calibration_error(observed),
        calibration_noise=metrics.calibration_noise(observed),
    )


def _at_budget(observed: Outcomes, budget: Budget, *, dates: int) -> Metrics:
    """Return the metrics of the best rows only; ties at the border are shared out."""
    total, positives = float(observed.users.sum()), float(observed.conversions.sum())
    count = min(budget.rows(total, dates=dates), total)
    users, conversions = observed.users[::-1], observed.conversions[::-1]
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


def best_threshold(observed: Outcomes) -> float | None:
    """
    Return the threshold with the highest F1; None with one class.

    It is a probability of the rows, and selects rows that have it. Of thresholds with
    the same F1 the highest counts, which selects the fewest rows.
    """
    if not observed.has_both_classes:
        return None
    selected, hits = above(observed)
    f1 = 2 * hits / (selected + hits[-1])
    return float(observed.probability[::-1][np.argmax(f1)])


def by_threshold(observed: Outcomes) -> list[Selected]:
    """
    Return the rows at or above thresholds, and how many of them converted.

    The highest threshold comes first, and the last has all rows.
    """
    selected, hits = above(observed)
    kept = np.arange(len(selected))
    if len(kept) > _STORED:
        counts = np.geomspace(selected[0], selected[-1], _STORED)
        kept = np.unique(np.searchsorted(selected, counts))
    probability = observed.probability[::-1]
    return [
        Selected(
            threshold=float(probability[place]),
            users=round(float(selected[place])),
            conversions=round(float(hits[place])),
        )
        for place in kept
    ]


def pooled(weeks: Iterable[Sequence[Selected]]) -> Outcomes:
    """
    Return the outcomes of several weeks together, each as ``by_threshold`` has it.

    A group's probability is the lowest in it.
    """
    tables = [np.empty((0, 3))]
    for week in weeks:
        rows = [[row.threshold, row.users, row.conversions] for row in week]
        table = np.array(rows, dtype=np.float64).reshape(-1, 3)
        # Counts above each threshold become counts between it and the next.
        table[1:, 1:] = np.diff(table[:, 1:], axis=0)
        tables.append(table)
    return metrics.grouped(*np.concatenate(tables).T)
