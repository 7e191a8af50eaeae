"""
What comes of acting on some of the rows only, as a page says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.pages.words import (
    Format,
    Number,
    compact,
    count,
    decimals,
    percent,
    plural,
    present,
    shared,
)

Card = Mapping[str, Any]


def selection(quality: Card, *, noun: str, came: str) -> dict[str, Any] | None:
    """
    Return sentences and rows on the best threshold and on the budget.

    Args:
        quality: The figures of the holdout.
        noun: What a row is, in the singular.
        came: The verb for rows of label 1, as in *went on to buy*.

    Returns:
        ``sentences``, and ``rows`` of a table; None for a version that has neither
        figure, as those from before they were recorded.
    """
    base = quality.get("base_rate")
    sentences, rows = [], []
    budget = quality.get("budget")
    if budget and present(quality.get("precision_at_budget")):
        users = quality.get("users_at_budget")
        best = f"{count(users)} best" if not _is_share(budget) else f"best {budget}"
        who = f"the {best}" + (f", {plural(users, noun)}" if _is_share(budget) else "")
        sentences.append(
            f"Of {who}, {shared(quality.get('true_positives_at_budget'))} {came}: "
            f"precision {percent(quality.get('precision_at_budget'))}"
            f"{_times(quality.get('precision_at_budget'), base)}."
        )
        rows.append((f"The {best}", *_cells(quality, "budget", base)))
    threshold = quality.get("best_threshold")
    if present(threshold):
        users = quality.get("users_at_best")
        sentences.append(
            f"{compact(threshold)} was the threshold with the best F1 on earlier rows. "
            f"Of the {plural(users, noun)} from there on, "
            f"{shared(quality.get('true_positives_at_best'))} {came}: precision "
            f"{percent(quality.get('precision_at_best'))}"
            f"{_times(quality.get('precision_at_best'), base)}."
        )
        rows.append((f"From {compact(threshold)} on", *_cells(quality, "best", base)))
    return {"sentences": sentences, "rows": rows} if rows else None


def _is_share(budget: object) -> bool:
    return str(budget).endswith("%")


def _times(precision: Number, base: Number) -> str:
    if not present(precision) or not present(base) or base <= 0:
        return ""
    return f", which is {decimals(1)(precision / base)} times the base rate"


def _cells(quality: Card, kind: str, base: Number) -> tuple[str, ...]:
    """Return the figures of a row, with their intervals."""
    precision = quality.get(f"precision_at_{kind}")
    times = precision / base if present(precision) and base else None
    return (
        shared(quality.get(f"users_at_{kind}")),
        shared(quality.get(f"true_positives_at_{kind}")),
        _bounded(quality, f"precision_at_{kind}", percent),
        _bounded(quality, f"recall_at_{kind}", percent),
        _bounded(quality, f"f1_at_{kind}", decimals(3)),
        _bounded({"lift_at_best": times, **quality}, f"lift_at_{kind}", decimals(2)),
    )


def _bounded(quality: Card, key: str, write: Format) -> str:
    """Write a figure, and its interval if there is one."""
    low, high = quality.get(f"{key}_low"), quality.get(f"{key}_high")
    shown = write(quality.get(key))
    if not (present(low) and present(high)):
        return shown
    return f"{shown} ({write(low)} to {write(high)})"
