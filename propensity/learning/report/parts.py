"""
What the pages of versions and of weeks have in common: charts, and rows of tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from propensity.learning.intervals import rate_interval
from propensity.pages.charts import Bar, Line, bars_svg, line_svg
from propensity.pages.words import (
    DASH,
    compact,
    decimals,
    percent,
    present,
    ratio,
    round_up,
    shared,
)

Row = Mapping[str, Any]
Cells = tuple[str, ...]

# Metrics of scores by column: name, decimals, and what it says.
METRICS: Mapping[str, tuple[str, int, str]] = {
    "roc_auc": ("ROC AUC", 3, "The chance to rank a positive above a negative."),
    "pr_auc": ("PR AUC", 3, "Average precision. A coin has the base rate."),
    "calibration_error": (
        "Calibration error",
        4,
        "Mean distance of predicted and observed, over ten groups.",
    ),
    "brier": ("Brier score", 4, "Mean squared error of the probabilities."),
    "log_loss": ("Log loss", 4, "Like Brier, but hard on confident mistakes."),
}


def metrics(row: Row) -> list[Cells]:
    """Return name, value, interval and meaning of each metric that there is."""
    cells: list[Cells] = []
    for key, (name, places, meaning) in METRICS.items():
        write = decimals(places)
        low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
        interval = f"{write(low)} to {write(high)}" if present(low) else ""
        if present(row.get(key)):
            cells.append((name, write(row[key]), interval, meaning))
    return cells


def tiles(row: Row) -> list[Cells]:
    """Return what a reader wants first: name, value, and a note."""
    base_rate = percent(row.get("base_rate"))
    lift = decimals(1)(row.get("lift_at_budget"))
    positives = f"{shared(row.get('conversions'))} of {shared(row.get('users'))}"
    return [
        *((name, value, interval) for name, value, interval, _ in metrics(row)[:3]),
        (f"Lift of the best {row.get('budget') or DASH}", f"{lift}×", ""),
        ("Base rate", base_rate, positives),
    ]


def selected(row: Row) -> list[Cells]:
    """Return what comes of acting on the budget, or from a threshold on."""
    positives, base = row.get("conversions") or 0, row.get("base_rate")
    hits, others = row.get("true_positives"), row.get("false_positives")
    kinds = [
        (f"The best {row.get('budget')}", *_counts(row, "budget")),
        (f"From {compact(row.get('best_threshold'))} on", *_counts(row, "best")),
        (
            f"From {compact(row.get('threshold'))} on",
            None if hits is None else hits + (others or 0),
            hits,
        ),
    ]
    return [
        (
            name,
            shared(users),
            shared(caught),
            _rate(caught, users),
            _rate(caught, positives),
            decimals(3)(ratio(2 * caught, users + positives)),
            decimals(2)(ratio(ratio(caught, users), base)),
        )
        for name, users, caught in kinds
        if present(users) and present(caught)
    ]


def _counts(row: Row, kind: str) -> tuple[Any, Any]:
    return row.get(f"users_at_{kind}"), row.get(f"true_positives_at_{kind}")


def _rate(part: float, whole: float) -> str:
    """Write a rate with its interval."""
    if not whole:
        return DASH
    low, high = rate_interval(min(part, whole), whole)
    return f"{percent(part / whole)} ({percent(low)} to {percent(high)})"


def groups(row: Row) -> dict[str, Any] | None:
    """Return tenths of the rows by score, the highest first: a table and two charts."""
    cells, rates, lifts = [], [], []
    for part in row.get("lift") or ():
        users, positives = part.get("users"), part.get("conversions") or 0.0
        if not users:
            continue
        name, rate = f"Group {part.get('decile')}", positives / users
        predicted = part.get("mean_probability")
        lift = f"{decimals(2)(part.get('lift'))}×"
        low, high = rate_interval(positives, users)
        cells.append(
            (
                name,
                shared(users),
                shared(positives),
                percent(predicted),
                _rate(positives, users),
                lift,
            )
        )
        rates.append(Bar(name, rate, percent(rate), low, high, predicted))
        lifts.append(Bar(name, part.get("lift"), lift))
    if not cells:
        return None
    return {
        "rows": cells,
        "rates": bars_svg(
            rates,
            title="Predicted and observed by group",
            description=", ".join(f"{bar.name}: {bar.shown}" for bar in rates),
        ),
        "lifts": bars_svg(
            lifts,
            title="Lift by group",
            description=", ".join(f"{bar.name}: {bar.shown}" for bar in lifts),
            reference=1.0,
            reference_name="average",
        ),
    }


def curves(shown: Row, base: float) -> list[tuple[str, Markup]]:
    """
    Return ROC, precision-recall and calibration as charts with their headings.

    Args:
        shown: As ``metrics.curves`` has them.
        base: The base rate.
    """
    bins = [
        (part["mean_probability"], part["rate"])
        for part in shown.get("calibration") or ()
    ]
    reach = round_up(max((value for point in bins for value in point), default=1.0))
    drawn: list[tuple[str, str, str, Any, list[Any], float]] = [
        ("ROC", "False positive rate", "Recall",
         shown.get("roc"), [(0, 0), (1, 1)], 1.0),
        ("Precision and recall", "Recall", "Precision",
         shown.get("pr"), [(0, base), (1, base)], 1.0),
        ("Calibration", "Predicted", "Observed",
         bins, [(0, 0), (reach, reach)], reach),
    ]  # fmt: skip
    return [
        (
            heading,
            line_svg(
                [Line(guide, "guide"), Line(points, has_dots=points is bins)],
                title=heading,
                description=f"{y} against {x}.",
                x_label=x,
                y_label=y,
                x_range=(0.0, end),
                y_range=(0.0, end),
            ),
        )
        for heading, x, y, points, guide, end in drawn
        if points
    ]
