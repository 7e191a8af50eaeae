"""
An evaluated week beside the weeks before it, as a table and as charts of a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

from propensity.pages.charts import Line, line_svg
from propensity.pages.words import (
    DASH,
    Format,
    Number,
    bounded,
    count,
    decimals,
    money,
    percent,
    present,
    round_up,
)

Row = Mapping[str, Any]
Point = tuple[float, float]


def table(rows: Sequence[Row], *, period: str, of_users: bool) -> dict[str, Any]:
    """
    Return the weeks as rows of a table, the newest first, and in it what scored most.

    Args:
        rows: Of each week and version, the oldest first.
        period: ``week`` or ``day``.
        of_users: Whether rows are users, and not events.
    """
    lift, auc = decimals(2), decimals(3)
    has_saved = any(row.get("saved") is not None for row in rows)
    cells = [
        [
            str(row.get("week")),
            count(row.get("model_version")),
            str(row.get("status") or DASH),
            count(row.get("users")),
            percent(row.get("mean_probability")),
            percent(row.get("base_rate")),
            bounded(row, "roc_auc", auc),
            decimals(4)(row.get("calibration_error")),
            bounded(row, "lift_at_budget", lift),
            *([money(row.get("saved"))] if has_saved else []),
            count(row.get("unscored_converters")),
        ]
        for row in sorted(
            rows, key=lambda row: (row["week"], row.get("users") or 0), reverse=True
        )
    ]
    return {
        "columns": (
            *(period.capitalize(), "Version", "Status"),
            *("Users" if of_users else "Known", "Promised", "Came"),
            *("ROC AUC", "Calib. error", "Lift of the budget"),
            *(["Saved"] if has_saved else []),
            "Unscored",
        ),
        "rows": cells,
    }


def charts(
    rows: Sequence[Row], *, trained: Row, period: str, outcome: str
) -> list[dict[str, Any]]:
    """
    Draw what was promised and what came, the ROC AUC and the lift, by week.

    Args:
        rows: One of each week, the oldest first.
        trained: The figures of the training of the newest week's version, guides to
            compare with; may be empty.
        period: ``week`` or ``day``.
        outcome: What those of label 1 do.
    """
    if len(rows) < 2:
        return []
    place = {str(row.get("week")): float(i) for i, row in enumerate(rows)}
    last = float(len(rows) - 1)
    ends = [str(row.get("week")) for row in (rows[0], rows[-1])]
    # A date is wide: the first would otherwise reach over the axis.
    ticks = [(0.13 * last, ends[0]), (last, ends[1])]

    def points(key: str) -> list[Point]:
        return [
            (place[str(row["week"])], float(row[key]))
            for row in rows
            if present(row.get(key))
        ]

    def intervals(key: str) -> list[tuple[float, float, float]]:
        return [
            (place[str(row["week"])], float(low), float(high))
            for row in rows
            for low, high in [(row.get(f"{key}_low"), row.get(f"{key}_high"))]
            if present(low) and present(high)
        ]

    def guide(value: Number) -> list[Line]:
        return [Line([(0, value), (last, value)], "guide")] if present(value) else []

    def described(key: str, write: Format) -> str:
        return ", ".join(f"{row.get('week')} {write(row.get(key))}" for row in rows)

    base_rates, promised = points("base_rate"), points("mean_probability")
    highest = max((y for _, y in (*base_rates, *promised)), default=1.0)
    drawn = [
        {
            "heading": "What was promised, and what came",
            "caption": "The dashed line was promised, on average."
            if promised
            else f"A score promises no share that {outcome}.",
            "svg": line_svg(
                [Line(promised, "guide"), Line(base_rates, has_dots=True)],
                title=f"Promised and came, by {period}",
                description=f"Share who {outcome}: {described('base_rate', percent)}; "
                f"promised: {described('mean_probability', percent)}.",
                x_label=f"First day of the {period}" if period != "day" else "Day",
                y_label=f"Share who {outcome}",
                x_range=(0, last),
                y_range=(0, round_up(highest)),
                x_ticks=ticks,
            ),
        }
    ]
    for key, heading, write, reference, at_least in (
        ("roc_auc", "ROC AUC", decimals(2), trained.get("roc_auc"), 0.05),
        (
            "lift_at_budget",
            "Lift of the budget",
            decimals(1),
            trained.get("lift_at_budget"),
            1.0,
        ),
    ):
        seen = points(key)
        if not seen:
            continue
        spans = intervals(key)
        ends_of = [y for _, y in seen] + [y for _, *both in spans for y in both]
        ends_of += [reference] if present(reference) else []
        low = floor(min(ends_of) / at_least) * at_least
        high = ceil(max(ends_of) / at_least) * at_least
        high = low + at_least if high <= low else high
        dashed = "Lines show 95% intervals."
        if present(reference):
            dashed += " The dashed line is what training measured of the version."
        drawn.append(
            {
                "heading": heading,
                "caption": dashed,
                "svg": line_svg(
                    [*guide(reference), Line(seen, has_dots=True, intervals=spans)],
                    title=f"{heading} by {period}",
                    description=f"{described(key, decimals(3))}; at training "
                    f"{decimals(3)(reference)}.",
                    x_label=f"First day of the {period}" if period != "day" else "Day",
                    y_label="",
                    x_range=(0, last),
                    y_range=(low, high),
                    x_ticks=ticks,
                    write=write,
                ),
            }
        )
    return drawn


def span(rows: Sequence[Row], key: str, write: Format) -> str:
    """Write between which values a figure of earlier weeks lay."""
    values = [float(row[key]) for row in rows if present(row.get(key))]
    if not values:
        return DASH
    low, high = min(values), max(values)
    return write(low) if low == high else f"{write(low)} to {write(high)}"
