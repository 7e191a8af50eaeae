"""The page of one use case: its champions, its figures by week, what has drifted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from offline.dashboard import amounts, drifted
from offline.dashboard.cases import POINTS, Case, clipped, ended
from offline.dashboard.overview import figures
from offline.dashboard.parts import (
    Chart,
    Grid,
    Tile,
    barred,
    columns,
    day,
    described,
    fate,
    grid,
    linked,
    measured,
    no_chart,
    over_time,
    why_empty,
    with_interval,
)
from offline.dashboard.reading import Readings, Row
from propensity.pages.charts import Bar, Line, histogram_svg, line_svg
from propensity.pages.series import Series
from propensity.pages.words import (
    Format,
    Number,
    count,
    decimals,
    percent,
    present,
    ratio,
    round_up,
    shared,
)

# Bins of the probabilities.
BINS = 20
# As wide as the charts beside it.
SCORES_SIZE = 340.0, 200.0

_PLACES = decimals(3)


def content(readings: Readings, case: Case) -> dict[str, Any]:
    """Return what the page reads."""
    deeds = [*case.deeds()]
    return {
        "title": case.title,
        "name": case.name,
        "known": case.known,
        "whom": case.whom,
        "span": case.span,
        "tiles": [
            *figures(case),
            *_missed_tile(case),
            *amounts.tiles(case.weeks, case.published),
        ],
        "changes": [*case.changes()],
        "worth": [*case.worth()],
        "deeds": deeds,
        "champions": _champions(readings, case),
        "by_week": [*_by_week(readings, case)],
        "figures": _weeks(readings, case),
        "newest": [*_newest(readings, case)],
        "missed": _missed(readings, case),
        "drift": drifted.distances(readings, case),
        "alarms": drifted.alarms(readings, case),
    }


def _no_week(readings: Readings, case: Case) -> str:
    otherwise = f"No {case.span} was evaluated in this time."
    return why_empty(readings, "evaluations", otherwise)


def _missed_tile(case: Case) -> list[Tile]:
    if not case.weeks:
        return []
    newest = case.weeks[0]
    missed = _missed_by_budget(newest)
    if missed is None:
        return []
    return [
        Tile(
            name=f"Missed of {case.whom}",
            value=percent(ratio(missed, newest["conversions"])),
            note=f"{shared(missed)} outside the best {clipped(newest['budget'], 20)}",
            source="evaluations.true_positives_at_budget",
        )
    ]


def _missed_by_budget(row: Row) -> float | None:
    """Return the rows of label 1 that the budget had no room for."""
    reached, conversions = row["true_positives_at_budget"], row["conversions"]
    if reached is None or conversions is None:
        return None
    return float(conversions - reached)


def _champions(readings: Readings, case: Case) -> Grid:
    known = case.known

    def mark(version: int) -> str:
        if version == known.champion:
            return ", serves, pinned" if known.is_pinned else ", serves"
        return ""

    rows = [
        (
            f"{row['model_version']}{mark(row['model_version'])}",
            f"{fate(row)}: {ended(clipped(row['verdict']) or 'nobody said why')}",
            str(row["as_of"] or row["training_date"]),
            f"{clipped(row['algorithm'], 40)}, {clipped(row['calibration'], 20)}",
            with_interval(row, "roc_auc"),
            decimals(4)(row["log_loss"]),
        )
        for row in case.versions
    ]
    return grid(
        rows,
        caption="Versions, newest first, with what they achieved on their holdout.",
        columns=(
            "Version",
            "Verdict",
            "As of",
            "Model",
            "ROC AUC (95% interval)",
            "Log loss",
        ),
        source="versions",
        texts=2,
        empty=why_empty(readings, "versions", "No version was trained in this time."),
        is_wide=True,
    )


def _by_week(readings: Readings, case: Case) -> list[Chart]:
    weeks = case.weeks[:POINTS][::-1]
    empty = _no_week(readings, case)
    times = [day(row["week"]) for row in weeks]

    def chart(
        heading: str,
        column: str,
        series: Sequence[Series],
        caption: str,
        write: Format = _PLACES,
        *,
        starts_at_zero: bool = False,
    ) -> Chart:
        source = f"evaluations.{column}"
        if not any(present(value) for value in series[-1].values):
            return Chart(heading=heading, source=source, why=empty)
        return over_time(
            heading,
            source,
            series,
            times,
            title=f"{heading} by {case.span}",
            caption=caption,
            write=write,
            starts_at_zero=starts_at_zero,
        )

    return [
        chart(
            "ROC AUC",
            "roc_auc",
            [measured(weeks, "roc_auc", "measured")],
            "How well it ranks: 0.5 is chance. The band is the 95% interval.",
        ),
        chart(
            "Expected and came",
            "mean_probability",
            [
                Series(
                    name="expected",
                    values=[row["mean_probability"] for row in weeks],
                    style="guide",
                ),
                Series(name="came", values=[row["base_rate"] for row in weeks]),
            ],
            f"Share of {case.whom}; the dashed line is the mean probability.",
            percent,
            starts_at_zero=True,
        ),
        chart(
            "Calibration error",
            "calibration_error",
            [measured(weeks, "calibration_error", "measured")],
            "Mean distance of probabilities and rates, in ten groups.",
            percent,
            starts_at_zero=True,
        ),
        chart(
            "Log loss",
            "log_loss",
            [measured(weeks, "log_loss", "measured")],
            "Lower is better; a harder week has a higher one.",
        ),
        chart(
            "PR AUC",
            "pr_auc",
            [
                Series(
                    name="base rate",
                    values=[row["base_rate"] for row in weeks],
                    style="guide",
                ),
                measured(weeks, "pr_auc", "measured"),
            ],
            "Average precision; chance reaches the base rate, the dashed line.",
            starts_at_zero=True,
        ),
        *amounts.charts(weeks, case.published),
    ]


def _weeks(readings: Readings, case: Case) -> Grid:
    reports = case.known.reports
    has_amounts = bool(amounts.valued(case.weeks))
    rows = [
        (
            linked(str(row["week"]), reports.get(row["week"])),
            str(row["model_version"]),
            str(row["status"]),
            count(row["users"]),
            percent(row["base_rate"]),
            percent(row["mean_probability"]),
            with_interval(row, "roc_auc"),
            f"{decimals(2)(row['lift_at_budget'])}",
            *(amounts.cells(row) if has_amounts else ()),
            count(row["unscored_converters"]),
            count(row["unknown_outcomes"]),
        )
        for row in case.weeks
    ]
    return grid(
        rows,
        caption=f"By {case.span}, newest first."
        + (" A date leads to its report." if reports else ""),
        columns=(
            case.span.capitalize(),
            "Version",
            "Status",
            f"{case.rows.capitalize()}s",
            "Came",
            "Expected",
            "ROC AUC (95% interval)",
            "Lift",
            *(amounts.COLUMNS if has_amounts else ()),
            "No score",
            "Unknown",
        ),
        source="evaluations",
        empty=_no_week(readings, case),
        is_wide=True,
    )


def _newest(readings: Readings, case: Case) -> list[Chart]:
    row: Mapping[str, Any] = case.weeks[0] if case.weeks else {}
    groups = sorted(row.get("lift") or (), key=lambda group: group["decile"])
    empty = _no_week(readings, case)
    if row and not groups:
        empty = f"The {case.span} of {row['week']} has no groups."
    if not groups:
        return [
            Chart(heading=heading, source="evaluations.lift", why=empty)
            for heading in ("Calibration", "Lift")
        ] + [_scores(readings, case)]
    return [
        _calibration(row, groups, case),
        _lift(row, groups, case),
        _scores(readings, case),
    ]


def _calibration(row: Row, groups: Sequence[Row], case: Case) -> Chart:
    points = sorted(
        (float(group["mean_probability"]), group["conversions"] / group["users"])
        for group in groups
        if group["users"] and present(group["mean_probability"])
    )
    end = round_up(max((value for point in points for value in point), default=1.0))
    return Chart(
        heading="Calibration",
        source="evaluations.lift",
        caption=f"Ten groups of the {case.span} of {row['week']}: what was expected, "
        "and what came. On the dashed line both are the same.",
        svg=line_svg(
            [
                Line(points=[(0, 0), (end, end)], style="guide"),
                Line(points=points, has_dots=True),
            ],
            title="Calibration",
            description="; ".join(
                f"{percent(expected)} expected, {percent(came)} came"
                for expected, came in points
            ),
            x_label="expected",
            y_label="came",
            x_range=(0, end),
            y_range=(0, end),
        ),
    )


def _lift(row: Row, groups: Sequence[Row], case: Case) -> Chart:
    if not any(present(group["lift"]) for group in groups):
        why = f"None of {case.whom} came in the {case.span} of {row['week']}."
        return Chart(heading="Lift", source="evaluations.lift", why=why)
    bars = [
        Bar(
            name=f"Group {group['decile']}",
            value=group["lift"],
            shown=f"{decimals(2)(group['lift'])}×",
        )
        for group in groups
    ]
    return barred(
        "Lift",
        "evaluations.lift",
        bars,
        title=f"Lift by group, {row['week']}",
        caption="Tenths by probability, highest first: their rate over that of all.",
        reference=1.0,
        reference_name="all",
    )


def _scores(readings: Readings, case: Case) -> Chart:
    heading = "Probabilities"
    dates = sorted({row["as_of"] for row in case.scores}, reverse=True)
    if not dates:
        otherwise = "No publication of these weeks has kept its probabilities"
        if case.known.is_of_events:
            otherwise = "Those of events are not kept by bucket"
        return no_chart(readings, "scores", heading, f"{otherwise}.")
    shown = dates[:2]
    values = {
        as_of: [
            (float(row["value"]), int(row["users"]))
            for row in case.scores
            if row["as_of"] == as_of and row["value"] is not None
        ]
        for as_of in shown
    }
    highest = max((value for rows in values.values() for value, _ in rows), default=1)
    end = round_up(highest)
    edges = [end * i / BINS for i in range(BINS + 1)]
    shares = [_binned(values[as_of], edges) for as_of in shown[::-1]]
    if len(shares) == 1:
        shares = [None, *shares]
    with_before = f", and of {shown[1]} behind" if len(shown) > 1 else ""
    return Chart(
        heading=heading,
        source="scores.users",
        caption=f"Of the publication of {shown[0]}{with_before}. "
        "Height is the share of users.",
        svg=histogram_svg(
            edges,
            shares,
            size=SCORES_SIZE,
            title="Distribution of probabilities",
            description=f"Shares of users in {BINS} bins from 0 to {percent(end)}: "
            + ", ".join(percent(share) for share in shares[-1] or ()),
        ),
    )


def _binned(
    rows: Sequence[tuple[float, int]], edges: Sequence[float]
) -> Sequence[Number] | None:
    users = [0] * (len(edges) - 1)
    for value, n in rows:
        place = min(max(bisect_right(edges, value) - 1, 0), len(users) - 1)
        users[place] += n
    return [n / (sum(users) or 1) for n in users]


def _missed(readings: Readings, case: Case) -> Chart:
    weeks = case.weeks[:POINTS][::-1]
    times = [day(row["week"]) for row in weeks]
    missed = [_missed_by_budget(row) for row in weeks]
    unscored = [row["unscored_converters"] for row in weeks]
    heading = f"Missed of {case.whom}"
    if not any(present(value) for value in missed):
        otherwise = "No budget was evaluated in this time."
        return no_chart(readings, "evaluations", heading, otherwise)
    return columns(
        heading,
        "evaluations.true_positives_at_budget",
        missed,
        times,
        caption="Outside the budget's best in blue, without any score in brown.",
        description=described(times, missed, shared),
        y_label=f"{case.rows}s",
        write=count,
        above=unscored,
    )
