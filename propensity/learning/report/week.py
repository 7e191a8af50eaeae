"""
The page of an evaluated week: predicted against observed, beside the weeks before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from markupsafe import Markup

from propensity.measures.intervals import rate_interval
from propensity.pages.charts import Line, lines_svg
from propensity.pages.page import filled
from propensity.pages.words import cleaned, decimals, percent, period, present

Row = Mapping[str, Any]


def week_page(
    report: Mapping[str, Any], week: date, *, rows: Sequence[Row], is_daily: bool
) -> str:
    """
    Write the page of an evaluated week; nothing of it is about a single user.

    Args:
        report: ``use_case``, ``title``, ``outcome``, ``horizon_days`` and ``entity``:
            what a row is;
            ``weeks``, rows of ``evaluations``, this week's among them, oldest first;
            ``trained``, rows of ``trained_versions`` by version; ``alarms`` and
            ``lifts``, rows of ``alarms_to_report`` and ``audience_lifts``; ``lacked``,
            days of the outcomes that the export lacks.
        week: First day of the outcomes.
        rows: The week's rows of ``ma_model_evaluation``, one of each version; at least
            one with metrics.
        is_daily: Whether a day is evaluated, and not a week.

    Returns:
        An HTML document without scripts or references to anything outside it.
    """
    plain = cleaned(report)
    # A day may have several versions: the one that scored most comes first.
    rows = sorted(
        (row for row in cleaned(rows) if row.get("users")),
        key=lambda row: -row["users"],
    )
    content = {
        "week": week,
        "rows": rows,
        "is_daily": is_daily,
        "noun": report["entity"].removesuffix("_id"),
        "who": "that" if is_daily else "who",
        "period": period(1 if is_daily else report["horizon_days"]),
        "rate_interval": rate_interval,
        "verdict": verdict(rows[0]),
        "charts": _charts(plain["weeks"]),
    }
    return filled(__package__, "week.html", {**plain, **content})


def verdict(row: Row) -> tuple[bool, str] | None:
    """
    Say whether the mean probability lies in the interval of the observed share.

    None where nothing was predicted.
    """
    predicted = row["mean_probability"]
    if not present(predicted):
        return None
    low, high = rate_interval(row["conversions"], row["users"])
    return low <= predicted <= high, (
        f"{percent(predicted)} expected, {percent(row['base_rate'])} actual "
        f"({percent(low)} to {percent(high)})."
    )


def _charts(weeks: Sequence[Row]) -> list[tuple[str, Markup]]:
    """Draw predicted and observed shares, ROC AUC and lift, of each week's largest."""
    by_size = sorted(weeks, key=lambda row: row["users"] or 0)
    largest = {row["week"]: row for row in by_size}
    rows = [largest[week] for week in sorted(largest)]
    if len(rows) < 2:
        return []

    def line(name: str, style: str = "line") -> Line:
        y, low, high = (
            [row.get(f"{name}{end}") for row in rows] for end in ("", "_low", "_high")
        )
        return Line(name=name, y=y, low=low, high=high, style=style)

    drawn = [
        (
            "Expected (dashed) and actual",
            [line("mean_probability", "guide"), line("base_rate")],
            percent,
        ),
        ("Ranking quality (ROC AUC)", [line("roc_auc")], decimals(3)),
        ("Top compared with average", [line("lift_at_budget")], decimals(2)),
    ]
    times = [str(row["week"]) for row in rows]
    return [
        (heading, lines_svg(lines, title=heading, times=times, write=write))
        for heading, lines, write in drawn
        if any(present(value) for value in lines[-1].y)
    ]
