"""The page of alerts: how many each version gave, and what they saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from offline.dashboard.cases import POINTS, Case, clipped
from offline.dashboard.parts import (
    Chart,
    Grid,
    Tile,
    columns,
    day,
    described,
    grid,
    no_chart,
    number,
    over_time,
    why_empty,
)
from offline.dashboard.reading import STREAM_DAYS, Readings, Row
from propensity.pages.series import Series
from propensity.pages.words import (
    DASH,
    compact,
    count,
    decimals,
    money,
    percent,
    plural,
    present,
    ratio,
)

NOTHING = (
    "No use case scores events with amounts: alerts and what they save are of those."
)
NO_OUTCOMES = "No day has outcomes yet."
# Use cases with a part of their own, and the reports of so many days in it.
SHOWN, REPORTS = 6, 7


def content(readings: Readings, cases: Sequence[Case]) -> dict[str, Any]:
    """Return what the page reads."""
    alerting = [case for case in cases if _costs(case) or _alerting(readings, case)]
    return {
        "headline": _headline(readings, alerting),
        "cases": [_part(readings, case) for case in alerting[:SHOWN]],
        "others": [(case.title, case.page) for case in alerting[SHOWN:]],
    }


def _costs(case: Case) -> list[Row]:
    """Return the days with costs, newest first: of all versions."""
    return [row for row in case.evaluations if row["saved"] is not None]


def _alerting(readings: Readings, case: Case) -> list[Row]:
    return [row for row in readings["alerts"].rows if row["use_case"] == case.name]


def _headline(readings: Readings, cases: Sequence[Case]) -> str:
    if not cases:
        return why_empty(readings, "evaluations", NOTHING)
    served = [case for case in cases if case.saving]
    if not served:
        return "Events are scored, and none of their days has outcomes yet."
    days = {row["week"] for case in served for row in case.saving}
    over = f"over {plural(len(days), 'day')} with outcomes, reviews paid."
    # Money adds up within a currency. Where a use case does not say which it has, its
    # sum stands alone.
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in served:
        currency = case.known.currency
        groups.setdefault((currency, "" if currency else case.name), []).append(case)
    has_several = len(groups) > 1
    sums = "; ".join(_net(group, is_named=has_several) for group in groups.values())
    return f"Alerts {sums}{',' if has_several else ''} {over}"


def _net(cases: Sequence[Case], *, is_named: bool) -> str:
    """Say what use cases of one currency saved; by name where there are others."""
    saved = sum(_sum(case.saving, "saved") for case in cases)
    size = cases[0].money(abs(saved))
    whose = f" ({', '.join(case.title for case in cases)})" if is_named else ""
    if saved < 0:
        return f"cost {size} more than they saved{whose}"
    return f"saved {size}{whose}"


def _part(readings: Readings, case: Case) -> dict[str, Any]:
    rows = case.saving
    return {
        "title": case.title,
        "page": case.page,
        "tiles": _tiles(readings, case, rows),
        "charts": [_saved(readings, rows), _alerts(readings, rows)],
        "versions": _versions(readings, case),
        "now": _now(readings, case),
        "reports": [
            (str(row["week"]), case.known.reports[row["week"]])
            for row in case.weeks
            if row["week"] in case.known.reports
        ][:REPORTS],
    }


def _sum(rows: Sequence[Row], column: str) -> float:
    return sum(float(row[column] or 0) for row in rows)


def _tiles(readings: Readings, case: Case, rows: Sequence[Row]) -> list[Tile]:
    without, saved = _sum(rows, "cost_without"), _sum(rows, "saved")
    alerted, right = _sum(rows, "alerted"), _sum(rows, "alerted_conversions")
    serving = _alerting(readings, case)
    return [
        Tile(
            name="Saved",
            value=case.money(saved) if rows else DASH,
            note=f"of {case.money(without)} in losses, {percent(ratio(saved, without))}"
            if without
            else "no losses yet",
            source="evaluations.saved",
        ),
        Tile(
            name="Alerts that were right",
            value=percent(ratio(right, alerted)),
            note=f"{count(right)} of {count(alerted)}",
            source="evaluations.alerted_conversions",
        ),
        Tile(
            name="Losses that were found",
            value=percent(ratio(right, _sum(rows, "conversions"))),
            note=f"{count(right)} of {count(_sum(rows, 'conversions'))} events",
            source="evaluations.conversions",
        ),
        Tile(
            name="Alerts now",
            value=count(_sum(serving, "alerts")),
            note=f"of {count(_sum(serving, 'scored'))} scores, last {STREAM_DAYS} days",
            source="alerts.alerts",
        ),
    ]


def _by_day(rows: Sequence[Row]) -> Mapping[Any, list[Row]]:
    days: dict[Any, list[Row]] = {}
    for row in rows:
        days.setdefault(row["week"], []).append(row)
    newest = sorted(days, reverse=True)[:POINTS]
    return {at: days[at] for at in sorted(newest)}


def _saved(readings: Readings, rows: Sequence[Row]) -> Chart:
    heading, days = "Saved by day", _by_day(rows)
    if not days:
        return no_chart(readings, "evaluations", heading, NO_OUTCOMES)
    times = [day(at) for at in days]
    saved = [_sum(of, "saved") for of in days.values()]
    losses = [_sum(of, "cost_without") for of in days.values()]
    return over_time(
        heading,
        "evaluations.saved",
        [
            Series(name="losses without alerts", values=losses, style="guide"),
            Series(name="saved", values=saved),
        ],
        times,
        title=heading,
        caption="Losses that alerts spared, less their reviews. The dashed line is all "
        "losses; below 0 looking cost more than it brought.",
        write=compact,
        tell=money,
    )


def _alerts(readings: Readings, rows: Sequence[Row]) -> Chart:
    heading, days = "Alerts by day", _by_day(rows)
    if not days:
        return no_chart(readings, "evaluations", heading, NO_OUTCOMES)
    times = [day(at) for at in days]
    right = [_sum(of, "alerted_conversions") for of in days.values()]
    wrong = [
        _sum(of, "alerted") - good
        for of, good in zip(days.values(), right, strict=True)
    ]
    return columns(
        heading,
        "evaluations.alerted",
        right,
        times,
        caption="Those that were right in blue, false ones in brown on top.",
        description=f"Right: {described(times, right, count)} "
        f"False: {described(times, wrong, count)}",
        y_label="alerts",
        write=count,
        above=wrong,
    )


def _versions(readings: Readings, case: Case) -> Grid:
    by_version: dict[int, list[Row]] = {}
    for row in _costs(case):
        by_version.setdefault(row["model_version"], []).append(row)
    rows = []
    for version, own in sorted(by_version.items(), reverse=True):
        alerted, right = _sum(own, "alerted"), _sum(own, "alerted_conversions")
        without, saved = _sum(own, "cost_without"), _sum(own, "saved")
        rows.append(
            (
                str(version),
                str(len(own)),
                count(_sum(own, "users")),
                count(alerted),
                percent(ratio(right, alerted)),
                percent(ratio(right, _sum(own, "conversions"))),
                money(_sum(own, "cost")),
                money(without),
                money(saved),
                percent(ratio(saved, without)),
            )
        )
    return grid(
        rows,
        caption="By version, newest first, over the days with outcomes.",
        columns=(
            "Version",
            "Days",
            "Events",
            "Alerts",
            "Of them right",
            "Found",
            "Cost",
            "Cost without",
            "Saved",
            "Share saved",
        ),
        source="evaluations",
        empty=why_empty(readings, "evaluations", NO_OUTCOMES),
        is_wide=True,
    )


def _now(readings: Readings, case: Case) -> Grid:
    trained = {row["model_version"]: row for row in case.versions}
    rows = [
        (
            str(row["model_version"]),
            count(row["scored"]),
            count(row["alerts"]),
            percent(ratio(row["alerts"], row["scored"])),
            _threshold(row["alert_threshold"]),
            money(number(trained.get(row["model_version"], {}).get("review_cost"))),
        )
        for row in _alerting(readings, case)
    ]
    return grid(
        rows,
        caption=f"Alerts of the last {STREAM_DAYS} days, outcomes known or not.",
        columns=("Version", "Scores", "Alerts", "Share", "Threshold", "A review costs"),
        source="alerts",
        empty=why_empty(
            readings, "alerts", f"No event was scored in the last {STREAM_DAYS} days."
        ),
    )


def _threshold(value: float | None) -> str:
    if present(value) and value > 1:
        return "no alerts: none paid"
    return clipped(decimals(4)(value))
