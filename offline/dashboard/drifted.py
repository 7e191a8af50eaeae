"""Drift of a use case: distances of the newest publication, and all alarms."""

from __future__ import annotations

from offline.dashboard.cases import Case, clipped
from offline.dashboard.parts import Chart, Grid, barred, grid, no_chart, why_empty
from offline.dashboard.reading import Readings, Row
from propensity.pages.charts import Bar
from propensity.pages.words import percent, plural, present

# Things of the newest publication that are drawn.
DRIFTED = 12


def distances(readings: Readings, case: Case) -> Chart:
    """Draw how far the newest publication is from those before it."""
    heading = "Distances of the newest publication"
    dates = case.publications
    rows = [
        row for row in case.drift if row["as_of"] == dates[0] and present(row["psi"])
    ]
    if not rows:
        otherwise = "Nothing has been published that could be compared."
        if case.known.is_of_events:
            otherwise = (
                "Drift is watched of users; events have the figures of their days."
            )
        return no_chart(readings, "drift", heading, otherwise)

    def beyond(row: Row) -> float:
        return float(row["psi"]) / float(row["bound"])

    rows.sort(key=beyond, reverse=True)
    bars = [
        Bar(
            name=clipped(row["name"], 60), value=beyond(row), shown=percent(beyond(row))
        )
        for row in rows[:DRIFTED]
    ]
    return barred(
        heading,
        "drift.psi",
        bars,
        caption=f"Of {plural(len(rows), 'thing')} watched on {dates[0]} what moved "
        "most, as a share of what would be an alarm at so many users.",
        reference=1.0,
        reference_name="alarm",
    )


def alarms(readings: Readings, case: Case) -> Grid:
    """List the alarms of all publications and weeks."""
    rows = [
        (
            str(row["as_of"]),
            clipped(row["cause"], 40),
            clipped(row["message"]),
        )
        for row in sorted(case.drift, key=lambda row: row["as_of"], reverse=True)
        if row["is_alarm"]
    ]
    return grid(
        rows,
        caption="Alarms, newest first.",
        columns=("As of", "Cause", "What"),
        source="drift",
        texts=3,
        empty=why_empty(readings, "drift", "No alarm in this time."),
    )
