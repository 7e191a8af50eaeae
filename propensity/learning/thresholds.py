"""
Rows to act on: those from a threshold on, and the best of a budget.

Calibrated probabilities of rare outcomes never reach 0.5. The threshold here is the one
with the highest F1 on earlier rows, and never on those that it is measured on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from propensity.budget import Budget
from propensity.learning.metrics import (
    Outcomes,
    confusion,
    grouped,
    ratio,
    share_of_best,
)

# What a threshold was best on: the rows that its model was chosen on, or the evaluated
# weeks before.
TRAINING = "training"
EVALUATIONS = "evaluations"

OF_BUDGET = ("precision", "recall", "f1", "lift")

# Figures with an interval.
INTERVALS = (
    "precision_at_best", "recall_at_best", "f1_at_best",
    *(f"{name}_at_budget" for name in OF_BUDGET),
)  # fmt: skip

# All columns of a selection.
COLUMNS = frozenset(
    {
        "best_threshold", "best_threshold_source", "budget", "users_at_best",
        "true_positives_at_best", "users_at_budget", "true_positives_at_budget",
        *INTERVALS, *(f"{name}_{end}" for name in INTERVALS for end in ("low", "high")),
    }
)  # fmt: skip

# Between two stored thresholds the number of rows above grows by so much at most, if
# no single probability has more: F1 is then at most about 1% from the highest.
_GROWTH = 1.02


@dataclass(frozen=True, kw_only=True)
class Selection:
    """
    Two ways to select rows by their probability.

    Attributes:
        budget: How many of the best, or which share.
        dates: As-of dates of the rows: a budget in rows is for each.
        threshold: The best on earlier rows; None if none is known.
        source: What it was best on, ``TRAINING`` or ``EVALUATIONS``; None without it.
    """

    budget: Budget
    dates: int = 1
    threshold: float | None = None
    source: str | None = None


def best_threshold(observed: Outcomes) -> float | None:
    """
    Return the threshold with the highest F1; None with one class.

    It is a probability of the rows, and calls those that have it. Of thresholds with
    the same F1 the highest counts, which calls the fewest rows. If all rows have the
    same probability, it is that one, and calls all of them.
    """
    if not observed.has_both_classes:
        return None
    called, hits = _above(observed)
    f1 = 2 * hits / (called + hits[-1])
    return float(observed.probability[::-1][np.argmax(f1)])


def figures(observed: Outcomes, selection: Selection) -> dict[str, float | None]:
    """Return the figures of a selection by column name; counts may be fractions."""
    best: Mapping[str, float | None] = {}
    if selection.threshold is not None:
        calls = confusion(observed, threshold=selection.threshold)
        called = observed.probability >= selection.threshold
        best = {**calls, "users": float(observed.users[called].sum())}
    names = ("users", "true_positives", "precision", "recall", "f1")
    return {
        **{f"{name}_at_best": best.get(name) for name in names},
        **figures_at_budget(observed, selection),
    }


def figures_at_budget(
    observed: Outcomes, selection: Selection
) -> dict[str, float | None]:
    """
    Return the figures of the best rows by column name; counts may be fractions.

    Rows with the same probability at the border are shared out in proportion, as
    ``lift_by_decile`` does, so that the order of ties has no effect. Figures that would
    divide by zero are None.
    """
    total, positives = float(observed.users.sum()), float(observed.conversions.sum())
    count = min(selection.budget.rows(total, dates=selection.dates), total)
    caught = share_of_best(observed.users[::-1], observed.conversions[::-1], count)
    # Rounding in the sums must not give more hits than rows or conversions.
    hits = min(float(caught), count, positives)
    precision = ratio(hits, count)
    return {
        "users_at_budget": count,
        "true_positives_at_budget": hits,
        "precision_at_budget": precision,
        "recall_at_budget": ratio(hits, positives),
        "f1_at_budget": ratio(2 * hits, count + positives),
        "lift_at_budget": None
        if precision is None or positives <= 0
        else precision / (positives / total),
    }


def by_threshold(observed: Outcomes) -> list[dict[str, float]]:
    """
    Return the rows at or above thresholds, and how many of them converted.

    Thresholds are probabilities of the rows, highest first, all of them where they are
    few. The number of rows above grows by a fiftieth from one to the next, so that a
    million rows need some six hundred.

    Returns:
        ``threshold``, ``users`` and ``conversions`` of each; the last has all rows.
    """
    called, hits = _above(observed)
    kept, place = [], 0
    while place < len(called):
        kept.append(place)
        within = np.searchsorted(called, called[place] * _GROWTH, side="right") - 1
        place = max(place + 1, int(within))
    return [
        {
            "threshold": float(observed.probability[::-1][place]),
            "users": float(called[place]),
            "conversions": float(hits[place]),
        }
        for place in kept
    ]


def pooled(weeks: Iterable[Sequence[Mapping[str, Any]]]) -> Outcomes:
    """
    Return the outcomes of several weeks together, each as ``by_threshold`` has it.

    Returns:
        Outcomes by threshold: a group's probability is the lowest in it.
    """
    columns = []
    for week in weeks:
        rows = [[row["threshold"], row["users"], row["conversions"]] for row in week]
        table = np.array(rows, dtype=np.float64).reshape(-1, 3)
        # From counts above each threshold to counts between it and the next.
        table[1:, 1:] = np.diff(table[:, 1:], axis=0)
        columns.append(table)
    every = np.concatenate(columns) if columns else np.empty((0, 3))
    return grouped(every[:, 0], every[:, 1], every[:, 2])


def _above(observed: Outcomes) -> tuple[Any, Any]:
    """Return rows and conversions at or above each probability, highest first."""
    return np.cumsum(observed.users[::-1]), np.cumsum(observed.conversions[::-1])
