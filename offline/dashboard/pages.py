"""The pages by their files: what each template is filled with, and its charts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup

from offline.dashboard.cases import Case, Facts
from offline.dashboard.reading import STREAM_DAYS, TITLES, Reading, Row, Window
from propensity.measures.intervals import rate_interval
from propensity.pages import words
from propensity.pages.page import Line, filled, lines_svg
from propensity.pages.words import Format, Number, compact, count, present

# Weeks or days that a chart has at most, and audiences.
POINTS = 60
BARS = 12

PAGES = (
    ("Overview", "index.html"),
    ("Stream", "stream.html"),
    ("Fraud", "fraud.html"),
    ("Audiences", "audiences.html"),
    ("Runs", "runs.html"),
    ("SQL", "sql.html"),
)
Readings = Mapping[str, Reading]


def lines(
    title: str,
    rows: Sequence[Row],
    columns: Sequence[str],
    write: Format,
    *,
    others: str = "guide",
    starts_at_zero: bool = True,
) -> Markup | None:
    """
    Draw columns of rows over time.

    Args:
        rows: Of hours or weeks, the oldest first.
        columns: The most important one first, with its interval if it has one.
        others: Style of the other columns; ``guide`` is dashed.

    Returns:
        An ``svg`` element; None where the first column has no values.
    """

    def values(name: str) -> list[Number]:
        return [row.get(name) for row in rows]

    first, *beside = columns
    if not any(present(value) for value in values(first)):
        return None
    low, high = values(f"{first}_low"), values(f"{first}_high")
    front = Line(name=first, y=values(first), low=low, high=high)
    behind = [Line(name=one, y=values(one), style=others) for one in beside]
    return lines_svg(
        [front, *behind],
        title=title,
        times=[time_of(row) for row in rows],
        write=write,
        starts_at_zero=starts_at_zero,
    )


def time_of(row: Row) -> str:
    """Write the hour of a row, or the first day of its week, for an axis."""
    time = row["hour"] if "hour" in row else row["week"]
    return f"{time:%d %b %H}h" if isinstance(time, datetime) else f"{time:%d %b}"


def size(n: float | None) -> str:
    """Write bytes."""
    value = float(n or 0)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{compact(round(value, 1))} {unit}"
        value /= 1024
    return f"{compact(round(value, 1))} TiB"


def milliseconds(value: Number) -> str:
    """Write a wait, long ones in seconds."""
    if not present(value) or value < 1_000:
        return f"{count(value)} ms"
    return f"{value / 1000:,.1f} s"


# Functions that templates call.
FUNCTIONS = {
    "lines_svg": lines,
    "rate_interval": rate_interval,
    "size": size,
    "milliseconds": milliseconds,
    "share_of": words.share_of,
    "count": count,
    "compact": compact,
}


def site(
    readings: Readings, facts: Mapping[str, Facts], window: Window, place: str
) -> dict[str, str]:
    """
    Fill all pages.

    Args:
        facts: Of use cases with a folder, by name.
        place: Project and dataset.

    Returns:
        HTML documents by the name of their file. They link to each other alone.
    """
    listed = cases(readings, facts, window)
    common = {
        **FUNCTIONS,
        "place": words.cleaned(place),
        "window": window,
        "since": window.parameters("evaluations")["since"],
        "days": STREAM_DAYS,
        "points": POINTS,
        "pages": PAGES,
        "titles": TITLES,
        "readings": readings,
        "cases": listed,
    }
    contents: dict[str, dict[str, Any]] = {
        "index.html": {
            "events": total(readings["stream"].rows, "received", "duplicates"),
            "letters": total(readings["dead_letters"].rows, "messages"),
        },
        "stream.html": stream(readings),
        "fraud.html": {"parts": [*_alerting(listed)]},
        "audiences.html": {"lifts": _lifts(readings)},
        "runs.html": {},
        "sql.html": {},
    }
    pages = {
        file: filled(__package__, file, {**common, **content, "here": file})
        for file, content in contents.items()
    }
    for case in listed:
        content = {**common, "case": case, "here": case.page, **case.facts.words}
        pages[case.page] = filled(__package__, "use_case.html", content)
        for week, file in case.reports.items():
            pages[file] = case.facts.reports[week]
    return pages


def cases(readings: Readings, facts: Mapping[str, Facts], window: Window) -> list[Case]:
    """Return the use cases with rows or a live version, the urgent ones first."""
    sources = ("evaluations", "versions", "publications", "drift", "lift", "deliveries")
    grouped: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for source in sources:
        for row in readings[source].rows:
            grouped[row["use_case"]][source].append(row)
    listed = [
        Case(
            name=name,
            as_of=window.as_of,
            facts=known,
            rows={source: grouped[name][source] for source in sources},
        )
        for name, known in sorted(facts.items())
        if name in grouped or known.champion is not None
    ]
    return sorted(listed, key=lambda case: not case.actions)


def total(rows: Iterable[Row], *columns: str) -> dict[str, float]:
    """Add up columns; null is nothing."""
    shown = [*rows]
    return {name: sum(row[name] or 0 for row in shown) for name in columns}


def by(
    key: str, rows: Sequence[Row], *columns: str, highest: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Add up columns of rows with the same key, or take their highest, by the key."""
    together: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        together[row[key]].append(row)
    return [
        {
            key: value,
            "n": len(own),
            **total(own, *columns),
            **{name: max(row[name] or 0.0 for row in own) for name in highest},
        }
        for value, own in sorted(together.items())
    ]


def stream(readings: Readings) -> dict[str, Any]:
    """Return what the page of the stream reads."""
    events, scores = readings["stream"].rows, readings["latency"].rows
    letters = readings["dead_letters"].rows
    columns = ("received", "duplicates", "late")
    waits, lags = ("wait_p50_ms", "wait_p99_ms"), ("latency_p50_ms", "latency_p99_ms")
    hours = [
        *by("hour", events, *columns, highest=waits),
        *by("hour", scores, "scores", highest=lags),
        *by("hour", letters, "messages"),
    ]
    use_cases: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in (
        *by("use_case", events, *columns, highest=("hour",)),
        *by("use_case", scores, "scores", highest=lags),
    ):
        use_cases[row["use_case"]] |= row
    reasons = by("reason", letters, "messages")
    return {
        "hours": _filled(hours, (*columns, "messages")),
        "sums": {**total(events, *columns), **total(letters, "messages")},
        "use_cases": [*use_cases.values()],
        "reasons": sorted(reasons, key=lambda row: -row["messages"]),
    }


def _filled(rows: Sequence[Row], counts: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each hour from the first to the last."""
    hour, by_hour = timedelta(hours=1), defaultdict[Any, dict[str, Any]](dict)
    for row in rows:
        by_hour[row["hour"]] |= row
    if not by_hour:
        return []
    first, last = min(by_hour), max(by_hour)
    times = [first + n * hour for n in range((last - first) // hour + 1)]
    nothing = dict.fromkeys(counts, 0)
    return [{"hour": time, **nothing, **by_hour[time]} for time in times]


def _alerting(listed: Sequence[Case]) -> Iterable[dict[str, Any]]:
    """Yield the use cases with alerts, and what these saved by day and version."""
    counts = ("users", "conversions", "alerted", "alerted_conversions", "false_alerts")
    columns = (*counts, "cost", "cost_without", "saved")
    for case in listed:
        if case.saving:
            days = by("week", case.saving, *columns)
            yield {
                "case": case,
                "total": {**total(days, *columns), "n": len(days)},
                "days": days[-POINTS:],
                "versions": by("model_version", case.saving, *columns)[::-1],
            }


def _lifts(readings: Readings) -> list[list[Row]]:
    """Return the rows of each audience, oldest first."""
    audiences: dict[Any, list[Row]] = defaultdict(list)
    for row in readings["lift"].rows:
        audiences[row["use_case"], row["audience"]].insert(0, row)
    return [*audiences.values()][:BARS]
