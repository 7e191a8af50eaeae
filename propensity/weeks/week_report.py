"""
The report of an evaluated week, or of a day of events: a page, one HTML file that needs
nothing else.

Neither 03-ModelEvaluation nor the dashboard imports what trains a version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from markupsafe import Markup

from propensity.measures.intervals import rate_interval
from propensity.measures.verdicts import LOST, verdict_of
from propensity.pages.findings import meanings
from propensity.pages.page import ChartLine, fill_template, lines_svg
from propensity.pages.words import (
    Plain,
    cleaned,
    decimals,
    percent,
    period,
    present,
    short_day,
)
from propensity.usecases import UseCase
from propensity.weeks.evaluations import largest_by_week
from propensity.weeks.judged import judgement_of, unidentified

# Weeks that make a chart.
FEWEST = 3


def week_page(
    use_case: UseCase,
    week: date,
    *,
    days: int,
    rows: Sequence[Plain],
    weeks: Sequence[Plain],
    trained: Mapping[int, Plain],
    alarms: Sequence[Plain],
    uplifts: Sequence[Plain],
    lacked: Sequence[date],
) -> str:
    """
    Write the page of an evaluated week, or of a day of events; nothing of it is about a
    single user.

    Args:
        week: First day of the outcomes, ``days`` in all.
        rows: The week's rows of ``ma_model_evaluation``, one of each version; at least
            one with metrics.
        weeks: Rows of ``evaluations``, this week's among them, oldest first.
        trained: Rows of ``trained_versions`` by version.
        alarms: Rows of ``alarms_to_report``.
        uplifts: Rows of ``audience_lifts``, with what contacting ``brought`` in words.
        lacked: Days of the outcomes that the export lacks.
    """
    rows_with_users = [row for row in cleaned(rows) if row.get("users")]
    # A day may have several versions: the one that scored most comes first.
    rows_with_users.sort(key=lambda row: -row["users"])
    kind = use_case.kind
    content = {
        "use_case": use_case.name,
        "title": cleaned(use_case.title),
        "outcome": cleaned(use_case.outcome),
        "unit": use_case.currency,
        "is_published": kind.is_published,
        "noun": use_case.entity.removesuffix("_id"),
        "who": kind.pronoun,
        "period": period(days),
        "week": week,
        "rows": rows_with_users,
        "weeks": cleaned(weeks),
        "trained": cleaned(trained),
        "alarms": cleaned(alarms),
        "uplifts": cleaned(uplifts),
        "lacked": lacked,
        "rate_interval": rate_interval,
        "verdict_of": verdict_of,
        "lost": LOST,
        "meanings": meanings,
        "judged": judgement_of(
            rows_with_users[0], use_case.horizon_days, use_case.currency
        ),
        "unidentified": unidentified,
        "charts": _charts(cleaned(weeks)),
    }
    return fill_template(__package__, "week.html", content)


def _charts(weeks: Sequence[Plain]) -> list[tuple[str, Markup]]:
    """Draw predicted and observed shares, ROC AUC and lift, of each week's largest."""
    largest = largest_by_week(weeks)
    rows = [largest[week] for week in sorted(largest)]
    if len(rows) < FEWEST:
        return []

    def line(name: str, style: str = "line") -> ChartLine:
        y, low, high = (
            [row.get(f"{name}{end}") for row in rows] for end in ("", "_low", "_high")
        )
        return ChartLine(name=name, y=y, low=low, high=high, style=style)

    expected = line("mean_probability", "guide")
    actual = line("base_rate")
    times = [short_day(row["week"]) for row in rows]
    drawn = []
    for heading, lines, write in (
        ("Expected (dashed) and actual", [expected, actual], percent),
        ("Ranking quality (ROC AUC)", [line("roc_auc")], decimals(3)),
        ("Top compared with average", [line("lift_at_budget")], decimals(2)),
    ):
        if any(map(present, lines[-1].y)):
            svg = lines_svg(lines, title=heading, times=times, write=write)
            drawn.append((heading, svg))
    return drawn
