"""
What the pages of versions and of weeks have in common: charts, and rows of tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from propensity.learning.intervals import rate_interval
from propensity.pages.charts import Bar, Line, bars_svg, line_svg
from propensity.pages.words import (
    DASH,
    bounded,
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
    "roc_auc": (
        "ROC AUC",
        3,
        "The chance that a positive is ranked above a negative. 0.5 is a coin.",
    ),
    "pr_auc": (
        "PR AUC",
        3,
        "Average precision over all recalls. A coin has the base rate.",
    ),
    "calibration_error": (
        "Calibration error",
        4,
        "Mean distance between predicted and observed, over ten groups.",
    ),
    "brier": ("Brier score", 4, "Mean squared error of the probabilities."),
    "log_loss": ("Log loss", 4, "Like Brier, but hard on confident mistakes."),
}


def tiles(row: Row) -> list[Cells]:
    """Return the metrics that a reader wants first: name, value, interval."""
    best = row.get("lift_at_budget")
    base_rate, lift = percent(row.get("base_rate")), f"{decimals(1)(best)}×"
    positives = f"{shared(row.get('conversions'))} of {shared(row.get('users'))}"
    return [
        ("ROC AUC", *_metric(row, "roc_auc")),
        ("PR AUC", *_metric(row, "pr_auc")),
        ("Calibration error", *_metric(row, "calibration_error")),
        (
            f"Lift of the best {row.get('budget') or DASH}",
            lift,
            f"base rate {base_rate}",
        ),
        ("Base rate", base_rate, positives),
    ]


def _metric(row: Row, name: str) -> tuple[str, str]:
    _, places, _ = METRICS[name]
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    write = decimals(places)
    interval = f"{write(low)} to {write(high)}" if present(low) else ""
    return write(row.get(name)), interval


def metrics(row: Row) -> list[tuple[str, str, str, str]]:
    """Return name, meaning, value and interval of each metric that there is."""
    return [
        (name, meaning, *_metric(row, key))
        for key, (name, _, meaning) in METRICS.items()
        if present(row.get(key))
    ]


def selected(row: Row) -> list[Cells]:
    """
    Return what comes of acting on the budget, or from a threshold on.

    Rates have Wilson's intervals, of counts at the least.
    """
    fixed = row.get("threshold")
    hits = row.get("true_positives")
    kinds: list[tuple[str, Any, Any]] = [
        (f"The best {row.get('budget')}", *_counts(row, "budget")),
        (f"From {compact(row.get('best_threshold'))} on", *_counts(row, "best")),
        (
            f"From {compact(fixed)} on",
            None if hits is None else hits + (row.get("false_positives") or 0),
            hits,
        ),
    ]
    positives, base = row.get("conversions") or 0, row.get("base_rate")
    rows: list[Cells] = []
    for name, users, caught in kinds:
        if not present(users) or not present(caught):
            continue
        precision = ratio(caught, users)
        lift = precision / base if precision is not None and base else None
        f1 = ratio(2 * caught, users + positives)
        rows.append(
            (
                name,
                shared(users),
                shared(caught),
                _rate(caught, users),
                _rate(caught, positives),
                decimals(3)(f1),
                decimals(2)(lift),
            )
        )
    return rows


def _counts(row: Row, kind: str) -> tuple[Any, Any]:
    return row.get(f"users_at_{kind}"), row.get(f"true_positives_at_{kind}")


def _rate(part: float, whole: float) -> str:
    """Write a rate with its interval."""
    if not whole:
        return DASH
    low, high = rate_interval(min(part, whole), whole)
    figures = {"rate": part / whole, "rate_low": low, "rate_high": high}
    return bounded(figures, "rate", percent)


def groups(row: Row) -> dict[str, Any] | None:
    """
    Return tenths of the rows by score, the highest first: rows of a table and charts.

    A bar is the share of positives with its interval; a mark is the predicted share.
    """
    parts = [part for part in row.get("lift") or () if part.get("users")]
    if not parts:
        return None
    cells, rates, lifts = [], [], []
    for part in parts:
        users, positives = part["users"], part.get("conversions") or 0.0
        rate, predicted = positives / users, part.get("mean_probability")
        low, high = rate_interval(positives, users)
        name = f"Group {part.get('decile')}"
        lift = f"{decimals(2)(part.get('lift'))}×"
        cells.append(
            (
                name,
                shared(users),
                shared(positives),
                percent(predicted),
                f"{percent(rate)} ({percent(low)} to {percent(high)})",
                lift,
            )
        )
        rates.append(
            Bar(name, rate, percent(rate), low=low, high=high, promised=predicted)
        )
        lifts.append(Bar(name, part.get("lift"), lift))
    described = ", ".join(": ".join((bar.name, bar.shown)) for bar in rates)
    return {
        "rows": cells,
        "rates": bars_svg(
            rates, title="Predicted and observed by group", description=described
        ),
        "lifts": bars_svg(
            lifts,
            title="Lift by group",
            description=", ".join(f"{bar.name}: {bar.shown}" for bar in lifts),
            reference=1.0,
            reference_name="average",
        ),
    }


def curves(row: Row) -> list[tuple[str, Markup]]:
    """Return ROC, precision-recall and calibration as charts with their headings."""
    shown = row.get("curves") or {}
    base = (row.get("metrics") or {}).get("base_rate") or 0.0
    bins = [
        (part["mean_probability"], part["rate"])
        for part in shown.get("calibration") or ()
    ]
    reach = round_up(max((value for point in bins for value in point), default=1.0))
    unit = (0.0, 1.0)
    drawn: list[tuple[str, str, str, Sequence[Any], list[Any], tuple[float, float]]] = [
        ("ROC", "False positive rate", "Recall",
         shown.get("roc") or (), [(0, 0), (1, 1)], unit),
        ("Precision and recall", "Recall", "Precision",
         shown.get("pr") or (), [(0, base), (1, base)], unit),
        ("Calibration", "Predicted", "Observed",
         bins, [(0, 0), (reach, reach)], (0.0, reach)),
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
                x_range=span,
                y_range=span,
            ),
        )
        for heading, x, y, points, guide, span in drawn
        if points
    ]
