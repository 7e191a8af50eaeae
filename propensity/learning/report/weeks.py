"""
An evaluated week beside the weeks before it, as a table and as charts of a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
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
            period.capitalize(),
            "Version",
            "Status",
            "Users" if of_users else "Known",
            "Promised",
            "Came",
            "ROC AUC",
            "Calib. error",
            "Lift of the budget",
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
        outcome: What those of label 1 do.
    """
    if len(rows) < 2:
        return []
    weeks = _Weeks(rows, period=period)
    figures = (
        ("roc_auc", "ROC AUC", decimals(2), 0.01),
        ("lift_at_budget", "Lift of the budget", decimals(1), 0.1),
    )
    return [
        weeks.promise(outcome),
        *(
            weeks.figure(key, heading, trained.get(key), write=write, step=step)
            for key, heading, write, step in figures
            if weeks.points(key)
        ),
    ]


class _Weeks:
    """Charts over weeks, the oldest at the left."""

    def __init__(self, rows: Sequence[Row], *, period: str) -> None:
        self._rows = rows
        self._period = period
        self._last = float(len(rows) - 1)

    def points(self, key: str) -> list[Point]:
        """Return a figure of the weeks that have it, each with its place."""
        return [
            (float(place), float(row[key]))
            for place, row in enumerate(self._rows)
            if present(row.get(key))
        ]

    def promise(self, outcome: str) -> dict[str, Any]:
        """Draw the share that was promised, and the share that came."""
        came, promised = self.points("base_rate"), self.points("mean_probability")
        highest = max((y for _, y in (*came, *promised)), default=1.0)
        svg = self._svg(
            [Line(promised, "guide"), Line(came, has_dots=True)],
            title=f"Promised and came, by {self._period}",
            description=f"Share who {outcome}: {self._in_words('base_rate', percent)}; "
            f"promised: {self._in_words('mean_probability', percent)}.",
            y_label=f"Share who {outcome}",
            y_range=(0, round_up(highest)),
        )
        return {
            "heading": "What was promised, and what came",
            "caption": "The dashed line was promised, on average."
            if promised
            else f"A score promises no share that {outcome}.",
            "svg": svg,
        }

    def figure(
        self, key: str, heading: str, trained: Number, *, write: Format, step: float
    ) -> dict[str, Any]:
        """Draw a figure with its intervals, and what the training had of it."""
        points, intervals = self.points(key), self._intervals(key)
        caption, guide = "Lines show 95% intervals.", []
        reached = [y for _, *ys in (*points, *intervals) for y in ys]
        if present(trained):
            caption += (
                " The dashed line is what training measured of the newest version, "
                f"over its {self._period}s."
            )
            guide = [Line([(self._newest(), trained), (self._last, trained)], "guide")]
            reached.append(trained)
        # Four steps that the labels can show; downwards, as an ROC AUC ends at 1.
        high = ceil(max(reached) / step) * step
        quarters = max(ceil((high - min(reached)) / (4 * step)), 1)
        low = max(high - 4 * step * quarters, 0.0)
        exact = decimals(3)
        svg = self._svg(
            [*guide, Line(points, has_dots=True, intervals=intervals)],
            title=f"{heading} by {self._period}",
            description=f"{self._in_words(key, exact)}; at training {exact(trained)}.",
            y_label="",
            y_range=(low, low + 4 * step * quarters),
            write=write,
        )
        return {"heading": heading, "caption": caption, "svg": svg}

    def _newest(self) -> float:
        """Return the place where the weeks of the newest version begin."""
        versions = [row.get("model_version") for row in self._rows]
        others = [n for n, version in enumerate(versions) if version != versions[-1]]
        # Half a week before, so that the line of a single week is seen.
        return others[-1] + 0.5 if others else 0.0

    def _intervals(self, key: str) -> list[tuple[float, float, float]]:
        return [
            (float(place), float(low), float(high))
            for place, row in enumerate(self._rows)
            for low, high in [(row.get(f"{key}_low"), row.get(f"{key}_high"))]
            if present(low) and present(high)
        ]

    def _in_words(self, key: str, write: Format) -> str:
        return ", ".join(f"{r.get('week')} {write(r.get(key))}" for r in self._rows)

    def _svg(self, lines: Sequence[Line], **how: Any) -> str:
        first, last = (str(row.get("week")) for row in (self._rows[0], self._rows[-1]))
        return line_svg(
            lines,
            x_label="Day"
            if self._period == "day"
            else f"First day of the {self._period}",
            x_range=(0, self._last),
            # A date is wide: the first would otherwise reach over the axis.
            x_ticks=[(0.13 * self._last, first), (self._last, last)],
            **how,
        )


def span(rows: Sequence[Row], key: str, write: Format) -> str:
    """Write between which values a figure of earlier weeks lay."""
    values = [float(row[key]) for row in rows if present(row.get(key))]
    if not values:
        return DASH
    low, high = min(values), max(values)
    return write(low) if low == high else f"{write(low)} to {write(high)}"
