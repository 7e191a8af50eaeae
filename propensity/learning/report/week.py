"""
The page of an evaluated week: predicted against observed, beside the weeks before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from math import exp
from typing import Any

from markupsafe import Markup

from propensity.learning.intervals import NORMAL, rate_interval
from propensity.learning.report import parts
from propensity.pages.page import filled
from propensity.pages.series import Series, series_svg
from propensity.pages.words import cleaned, decimals, percent, present

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Report:
    """
    What a report is made of; nothing of it is about a single user.

    Attributes:
        entity: What a row is: ``user``, or the id's name of events.
        week: First day of the outcomes.
        is_daily: Whether a day is evaluated, and not a week.
        rows: The week's rows of ``ma_model_evaluation``, one of each version.
        weeks: Rows of ``weeks_to_report``, this week's among them, the oldest first.
        trained: Rows of ``trained_versions`` by version.
        alarms: Rows of ``alarms_to_report``; None where they could not be read.
        lifts: Rows of ``audience_lifts``; None where they could not be read.
        lacked: Days of the outcomes that the export lacks.
    """

    use_case: str
    title: str
    outcome: str
    entity: str
    week: date
    is_daily: bool
    rows: Sequence[Row]
    weeks: Sequence[Row]
    trained: Mapping[int, Row]
    alarms: Sequence[Row] | None
    lifts: Sequence[Row] | None
    lacked: Sequence[date] = ()


def week_page(report: Report) -> str:
    """
    Write the page of an evaluated week.

    Returns:
        An HTML document without scripts or references to anything outside it.

    Raises:
        ValueError: No row of the week has metrics.
    """
    plain = {part.name: cleaned(getattr(report, part.name)) for part in fields(report)}
    # A day may have several versions: the one that scored most comes first.
    rows = sorted(
        (row for row in plain["rows"] if row.get("users")),
        key=lambda row: -row["users"],
    )
    if not rows:
        raise ValueError(f"no row of {report.week} has metrics")
    return filled(
        __package__,
        "week.html",
        {
            **plain,
            "noun": report.entity.removesuffix("_id"),
            "who": "that" if report.is_daily else "who",
            "period": "day" if report.is_daily else "week",
            "row": rows[0],
            "verdict": verdict(rows[0]),
            "tiles": parts.tiles(rows[0]),
            "blocks": [
                {
                    "row": row,
                    "metrics": parts.metrics(row),
                    "selected": parts.selected(row),
                    "groups": parts.groups(row),
                    "trained": plain["trained"].get(row["model_version"]) or {},
                }
                for row in rows
            ],
            "charts": _charts(plain["weeks"]),
            "newest_first": plain["weeks"][::-1],
        },
    )


def verdict(row: Row) -> tuple[bool, str] | None:
    """
    Say whether the mean probability was right, but for chance.

    By the log-odds that all probabilities lacked, or by the interval of the rate. None
    where nothing was predicted.
    """
    lacked, error = row.get("residual_log_odds"), row.get("residual_standard_error")
    if present(lacked) and present(error):
        low, high = lacked - NORMAL * error, lacked + NORMAL * error
        odds = [f"{exp(min(value, 20.0)) - 1:+.0%}" for value in (lacked, low, high)]
        return low <= 0 <= high, (
            f"the odds observed were {odds[0]} beside those predicted "
            f"({odds[1]} to {odds[2]})"
        )
    predicted, users = row.get("mean_probability"), row.get("users")
    if not (present(predicted) and users):
        return None
    low, high = rate_interval(row.get("conversions") or 0, users)
    return low <= predicted <= high, (
        f"{percent(predicted)} predicted, {percent(row.get('base_rate'))} observed "
        f"({percent(low)} to {percent(high)})"
    )


def _charts(weeks: Sequence[Row]) -> list[tuple[str, Markup]]:
    """Draw predicted and observed shares, ROC AUC and lift, of each week's largest."""
    largest: dict[Any, Row] = {}
    for row in weeks:
        if (row.get("users") or 0) >= (largest.get(row["week"], {}).get("users") or 0):
            largest[row["week"]] = row
    rows = [largest[week] for week in sorted(largest)]
    if len(rows) < 2:
        return []

    def series(name: str, style: str = "line") -> Series:
        low, high = (
            [row.get(f"{name}_{end}") for row in rows] for end in ("low", "high")
        )
        values = [row.get(name) for row in rows]
        return Series(name=name, values=values, low=low, high=high, style=style)

    times = [str(row["week"]) for row in rows]
    drawn: list[tuple[str, list[Series], Any]] = [
        (
            "Predicted (dashed) and observed",
            [series("mean_probability", "guide"), series("base_rate")],
            percent,
        ),
        ("ROC AUC", [series("roc_auc")], decimals(3)),
        ("Lift of the budget", [series("lift_at_budget")], decimals(2)),
    ]
    return [
        (
            heading,
            series_svg(
                lines,
                times,
                title=heading,
                description=", ".join(
                    f"{time} {write(value)}"
                    for time, value in zip(times, lines[-1].values, strict=True)
                ),
                y_label="",
                write=write,
            ),
        )
        for heading, lines, write in drawn
        if any(present(value) for value in lines[-1].values)
    ]
