"""The page of audiences: who was chosen, what arrived, and whether acting helped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from offline.dashboard.cases import (
    POINTS,
    VERDICTS,
    audience_sentence,
    clipped,
    newest_lifts,
)
from offline.dashboard.parts import (
    Chart,
    Grid,
    day,
    grid,
    measured,
    number,
    over_time,
    why_empty,
)
from offline.dashboard.reading import Readings, Row, by_use_case
from propensity.pages.series import Series
from propensity.pages.words import (
    DASH,
    Format,
    count,
    decimals,
    money,
    percent,
    plural,
    present,
    ratio,
    sentence,
)

NO_AUDIENCE = (
    "No audience was chosen in these weeks. propensity audience preview says whom "
    "one would reach."
)
NO_LIFT = (
    "No audience has outcomes yet: they come once the week after its date is evaluated."
)
Name = Callable[[Row], str]

# Audiences with a chart of their own.
DRAWN = 12


def content(readings: Readings) -> dict[str, Any]:
    """Return what the page reads."""
    lifts = by_use_case(readings["lift"].rows)
    newest = [row for rows in lifts.values() for row in newest_lifts(rows)]
    named = _names(readings)
    return {
        "headline": _headline(readings, newest),
        "sentences": [
            audience_sentence(row, name=named(row)) for row in newest[:DRAWN]
        ],
        "lifts": _lifts(readings, newest, named),
        "charts": [_chart(readings, row, named) for row in newest[:DRAWN]],
        "no_chart": why_empty(readings, "lift", NO_LIFT),
        "members": _members(readings, named),
        "deliveries": _deliveries(readings, named),
    }


def _headline(readings: Readings, newest: Sequence[Row]) -> str:
    chosen = {(row["use_case"], row["audience"]) for row in readings["audiences"].rows}
    if not (chosen or newest):
        return why_empty(readings, "audiences", NO_AUDIENCE)
    helping = sum(row["verdict"] == "helps" for row in newest)
    names = {(row["use_case"], row["audience"]) for row in newest} | chosen
    shown = f"shown to help in {helping}" if helping else "not shown to help yet"
    return f"{plural(len(names), 'audience')}; acting is {shown}."


def _names(readings: Readings) -> Name:
    """Name audiences, with their use cases where there are audiences of several."""
    sources = ("audiences", "lift", "deliveries")
    rows = (row for source in sources for row in readings[source].rows)
    has_several = len({row["use_case"] for row in rows}) > 1

    def named(row: Row) -> str:
        name = clipped(row["audience"], 64)
        return f"{name} of {clipped(row['use_case'], 64)}" if has_several else name

    return named


def _interval(row: Row, name: str, scale: float, write: Format) -> str:
    values = [number(row[key]) for key in (name, f"{name}_low", f"{name}_high")]
    value, low, high = (
        None if each is None else scale * float(each) for each in values
    )
    if not (present(value) and present(low) and present(high)):
        return DASH
    return f"{write(value)} ({write(low)} to {write(high)})"


def _lifts(readings: Readings, newest: Sequence[Row], named: Name) -> Grid:
    rows = [
        (
            named(row),
            VERDICTS.get(row["verdict"] or "", clipped(row["verdict"] or DASH, 40)),
            str(row["week"]),
            count(row["treated_users"]),
            count(row["control_users"]),
            percent(ratio(row["treated_conversions"], row["treated_users"])),
            percent(ratio(row["control_conversions"], row["control_users"])),
            _interval(row, "conversion_difference", 100, decimals(2)),
            percent(row["conversion_lift"]),
            _interval(row, "revenue_difference", 1, money),
        )
        for row in newest
    ]
    return grid(
        rows,
        caption="All users up to the newest week whose outcomes are final, with 95% "
        "intervals.",
        columns=(
            "Audience",
            "Verdict",
            "Up to",
            "Treated",
            "Held out",
            "Treated converted",
            "Held out converted",
            "Difference, points",
            "Lift",
            "Revenue per user",
        ),
        source="lift",
        texts=2,
        empty=why_empty(readings, "lift", NO_LIFT),
        is_wide=True,
    )


def _chart(readings: Readings, newest: Row, named: Name) -> Chart:
    key = newest["use_case"], newest["audience"]
    rows = sorted(
        (
            row
            for row in readings["lift"].rows
            if (row["use_case"], row["audience"]) == key
        ),
        key=lambda row: row["week"],
    )[-POINTS:]
    name = named(newest)
    heading = f"What acting on {name} did"
    times = [day(row["week"]) for row in rows]
    difference = measured(rows, "conversion_difference", "difference")
    if not any(present(value) for value in difference.values):
        why = sentence(VERDICTS.get(newest["verdict"] or "", "nothing can be said yet"))
        return Chart(heading=heading, source="lift", why=why)
    return over_time(
        heading,
        "lift.conversion_difference",
        [Series(name="none", values=[0.0] * len(rows), style="guide"), difference],
        times,
        title=heading,
        caption="Share of converters among the treated less that among those held out, "
        "so far. While the band holds 0, it is not decided.",
        write=percent,
    )


def _members(readings: Readings, named: Name) -> Grid:
    rows = [
        (
            named(row),
            clipped(row["selection"] or DASH, 64),
            str(row["as_of"]),
            count(row["members"]),
            count(row["members"] - row["held_out"]),
            count(row["held_out"]),
            percent(row["control_share"]),
        )
        for row in sorted(
            readings["audiences"].rows, key=lambda row: row["as_of"], reverse=True
        )
    ]
    return grid(
        rows,
        caption="Members by date, newest first.",
        columns=(
            "Audience",
            "Chosen by",
            "As of",
            "Members",
            "Treated",
            "Held out",
            "Share to hold out",
        ),
        source="audiences",
        texts=2,
        empty=why_empty(readings, "audiences", NO_AUDIENCE),
        is_wide=True,
    )


def _deliveries(readings: Readings, named: Name) -> Grid:
    sent: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in readings["deliveries"].rows:
        key = (row["as_of"], named(row), str(row["destination"]), str(row["action"]))
        counts = sent.setdefault(key, {})
        counts[row["status"]] = counts.get(row["status"], 0) + row["users"]
    rows = [
        (
            audience,
            clipped(destination, 64),
            clipped(action, 10),
            str(as_of),
            count(sum(counts.values())),
            count(counts.get("accepted", 0)),
            count(counts.get("rejected", 0)),
        )
        for (as_of, audience, destination, action), counts in sorted(
            sent.items(), key=lambda entry: entry[0], reverse=True
        )
    ]
    return grid(
        rows,
        caption="The ledger: what is sent is accepted or rejected. "
        "propensity audience ledger has the reasons.",
        columns=(
            "Audience",
            "Destination",
            "Action",
            "As of",
            "Sent",
            "Accepted",
            "Rejected",
        ),
        source="deliveries",
        texts=3,
        empty=why_empty(readings, "deliveries", "Nothing was sent in these weeks."),
        is_wide=True,
    )
