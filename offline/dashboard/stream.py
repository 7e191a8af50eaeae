"""The page of the stream: what came, how late, and what could not be taken, by hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from offline.dashboard.cases import clipped
from offline.dashboard.parts import (
    Chart,
    Grid,
    Tile,
    barred,
    columns,
    described,
    grid,
    hour,
    no_chart,
    over_time,
    why_empty,
)
from offline.dashboard.reading import STREAM_DAYS, Readings, Row, Window, total
from propensity.pages.charts import Bar
from propensity.pages.series import Series
from propensity.pages.words import (
    DASH,
    Format,
    Number,
    compact,
    count,
    percent,
    plural,
    present,
    ratio,
)

HOUR = timedelta(hours=1)
# Reasons with a bar of their own.
REASONS = 12

NOTHING = f"No event came in the last {STREAM_DAYS} days."
NO_SCORE = f"No event got a score in the last {STREAM_DAYS} days."
NO_LETTER = f"No message became a dead letter in the last {STREAM_DAYS} days."


def content(readings: Readings, window: Window) -> dict[str, Any]:
    """Return what the page reads."""
    stream, letters = readings["stream"].rows, readings["dead_letters"].rows
    scored = [row for row in readings["latency"].rows if row["source"] == "stream"]
    hours = hours_of(window, [*stream, *letters, *scored])
    return {
        "headline": _headline(readings),
        "since": f"{window.hours['since']:%Y-%m-%d %H:%M} UTC",
        "until": f"{window.hours['until']:%Y-%m-%d %H:%M} UTC",
        "tiles": _tiles(stream, letters, scored)
        if total(stream, "received") or letters
        else [],
        "charts": [
            _received(readings, hours),
            _waits(readings, hours),
            _latency(readings, scored, hours),
            _letters(readings, hours),
            _reasons(readings),
            _postcodes(readings, hours),
        ],
        "use_cases": _use_cases(readings, scored),
    }


def hours_of(window: Window, rows: Sequence[Row]) -> list[datetime]:
    """
    Return the hours to draw: from the first with a row to the last moment.

    A stream that began an hour ago is not a speck at the end of a week.
    """
    end = window.hours["until"]
    assert isinstance(end, datetime)
    last = end.replace(minute=0, second=0, microsecond=0)
    first = min((row["hour"] for row in rows), default=last)
    # Less than that is no chart of time.
    first = min(first, last - 11 * HOUR)
    n = int((last - first) / HOUR) + 1
    return [first + i * HOUR for i in range(n)]


def _headline(readings: Readings) -> str:
    stream = readings["stream"]
    if stream.missing:
        return "The stream's tables are not there."
    received, duplicates = (total(stream.rows, n) for n in ("received", "duplicates"))
    letters = total(readings["dead_letters"].rows, "messages")
    became = "became a dead letter" if letters == 1 else "became dead letters"
    if not (received or letters):
        return NOTHING
    if not received:
        # The worst of all hours: none of what came could be read.
        return (
            f"{plural(letters, 'message')} came in the last {STREAM_DAYS} days, and "
            f"{'it' if letters == 1 else 'all'} {became}."
        )
    return (
        f"{plural(received, 'message')} in the last {STREAM_DAYS} days: "
        f"{percent(ratio(duplicates, received))} had come before, and "
        f"{count(letters)} more {became}."
    )


def _tiles(
    stream: Sequence[Row], letters: Sequence[Row], scored: Sequence[Row]
) -> list[Tile]:
    received, duplicates, postcodes, unknown = (
        total(stream, name)
        for name in ("received", "duplicates", "postcodes", "unknown_postcodes")
    )
    messages = total(letters, "messages")
    lags = _worst(scored, "latency_p50_ms")
    return [
        Tile(
            name="Rate",
            value=compact(max(_summed(stream, "received").values(), default=0)),
            note="events in the fullest hour",
            source="stream.received",
        ),
        Tile(
            name="Lag of scores",
            value=_ms(lags[max(lags)] if lags else None),
            note="median of the newest hour with scores, of the slowest use case",
            source="latency.latency_p50_ms",
        ),
        Tile(
            name="Duplicates",
            value=percent(ratio(duplicates, received)),
            note=f"{count(duplicates)} of {count(received)}",
            source="stream.duplicates",
        ),
        Tile(
            name="Dead letters",
            value=count(messages),
            note=f"{percent(ratio(messages, messages + received))} of what came",
            source="dead_letters.messages",
        ),
        Tile(
            name="Unknown postcodes",
            value=percent(ratio(unknown, postcodes)),
            note=f"{count(unknown)} of {count(postcodes)}",
            source="stream.unknown_postcodes",
        ),
    ]


def reasons_of(letters: Sequence[Row]) -> Counter[str]:
    """Count dead letters by reason."""
    reasons: Counter[str] = Counter()
    for row in letters:
        reasons[str(row["reason"])] += row["messages"]
    return reasons


def _summed(rows: Sequence[Row], column: str) -> Counter[datetime]:
    """Add up a column by hour, over all use cases."""
    sums: Counter[datetime] = Counter()
    for row in rows:
        sums[row["hour"]] += row[column] or 0
    return sums


def _worst(rows: Sequence[Row], column: str) -> Mapping[datetime, float]:
    """Return the highest value of a column by hour, of all use cases."""
    worst: dict[datetime, float] = {}
    for row in rows:
        if present(row[column]):
            worst[row["hour"]] = max(worst.get(row["hour"], 0.0), float(row[column]))
    return worst


def _ms(value: Number) -> str:
    if not present(value):
        return DASH
    return f"{value / 1000:,.1f} s" if abs(value) >= 10_000 else f"{value:,.0f} ms"


def _received(readings: Readings, hours: Sequence[datetime]) -> Chart:
    rows, heading = readings["stream"].rows, "Events that came"
    if not rows:
        return no_chart(readings, "stream", heading, NOTHING)
    received, duplicates = _summed(rows, "received"), _summed(rows, "duplicates")
    first = [received[at] - duplicates[at] for at in hours]
    again = [duplicates[at] for at in hours]
    return _columns(
        heading,
        "stream.received",
        first,
        hours,
        caption="By hour of arrival, in UTC; what had come before in brown, on top.",
        above=again,
    )


def _columns(
    heading: str,
    source: str,
    values: Sequence[Number],
    hours: Sequence[datetime],
    *,
    tell: Format = count,
    **drawn: Any,
) -> Chart:
    times = [hour(at) for at in hours]
    written = {"y_label": "an hour", "write": compact, **drawn}
    return columns(
        heading,
        source,
        values,
        times,
        title=f"{heading}, by hour",
        description=described(times, values, tell),
        **written,
    )


def _waits(readings: Readings, hours: Sequence[datetime]) -> Chart:
    heading = "Wait until stored"
    rows = readings["stream"].rows
    middle, slow = _worst(rows, "wait_p50_ms"), _worst(rows, "wait_p99_ms")
    if not slow:
        return no_chart(readings, "stream", heading, NOTHING)
    return _times(
        heading, "stream.wait_p50_ms", middle, slow, hours, of="from publication"
    )


def _latency(
    readings: Readings, scored: Sequence[Row], hours: Sequence[datetime]
) -> Chart:
    heading = "Lag of scores"
    middle = _worst(scored, "latency_p50_ms")
    slow = _worst(scored, "latency_p99_ms")
    if not slow:
        return no_chart(readings, "latency", heading, NO_SCORE)
    of = "from ingestion or publication to the score"
    return _times(heading, "latency.latency_p50_ms", middle, slow, hours, of=of)


def _times(
    heading: str,
    source: str,
    middle: Mapping[datetime, float],
    slow: Mapping[datetime, float],
    hours: Sequence[datetime],
    *,
    of: str,
) -> Chart:
    return over_time(
        heading,
        source,
        [
            Series(
                name="median", values=[middle.get(at) for at in hours], style="guide"
            ),
            Series(name="99th percentile", values=[slow.get(at) for at in hours]),
        ],
        [hour(at) for at in hours],
        title=f"{heading}, by hour",
        caption=f"99 of 100 are faster than the line, half are faster than the dashed "
        f"one; {of}, of the slowest use case.",
        write=_ms,
    )


def _letters(readings: Readings, hours: Sequence[datetime]) -> Chart:
    heading = "Dead letters"
    rows = readings["dead_letters"].rows
    if not rows:
        return no_chart(readings, "dead_letters", heading, NO_LETTER)
    summed = _summed(rows, "messages")
    return _columns(
        heading,
        "dead_letters.messages",
        [summed[at] for at in hours],
        hours,
        caption="Messages that can never become events, by hour of arrival.",
    )


def _reasons(readings: Readings) -> Chart:
    heading = "Dead letters by reason"
    reasons = reasons_of(readings["dead_letters"].rows)
    if not reasons:
        return no_chart(readings, "dead_letters", heading, NO_LETTER)
    shown = reasons.most_common(REASONS)
    rest = sum(reasons.values()) - sum(n for _, n in shown)
    if rest:
        shown.append(("all others", rest))
    bars = [Bar(name=clipped(name, 60), value=n, shown=count(n)) for name, n in shown]
    return barred(
        heading,
        "dead_letters.messages",
        bars,
        caption="04-StreamFeatures/README.md says what each means; "
        "propensity dead-letters replay brings back what can be.",
    )


def _postcodes(readings: Readings, hours: Sequence[datetime]) -> Chart:
    heading = "Unknown postcodes"
    rows = readings["stream"].rows
    postcodes, unknown = _summed(rows, "postcodes"), _summed(rows, "unknown_postcodes")
    if not sum(postcodes.values()):
        otherwise = f"No event of the last {STREAM_DAYS} days had a postcode."
        return no_chart(readings, "stream", heading, otherwise)
    return _columns(
        heading,
        "stream.unknown_postcodes",
        [ratio(unknown[at], postcodes[at]) for at in hours],
        hours,
        caption="Share of events with a postcode that has no index.",
        y_label="",
        write=percent,
        tell=percent,
    )


def _use_cases(readings: Readings, scored: Sequence[Row]) -> Grid:
    names = sorted(
        {str(row["use_case"]) for row in (*readings["stream"].rows, *scored)}
    )
    rows = []
    for name in names:
        own = [row for row in readings["stream"].rows if row["use_case"] == name]
        scores = [row for row in scored if row["use_case"] == name]
        received = total(own, "received")
        rows.append(
            (
                clipped(name, 64),
                count(received),
                percent(ratio(total(own, "duplicates"), received)),
                count(total(own, "late")),
                count(total(scores, "scores")),
                _ms(max(_worst(scores, "latency_p99_ms").values(), default=None)),
                max((f"{row['hour']:%Y-%m-%d %H}:00" for row in own), default=DASH),
            )
        )
    return grid(
        rows,
        caption=f"By use case, in the last {STREAM_DAYS} days.",
        columns=(
            "Use case",
            "Came",
            "Duplicates",
            "Too late",
            "Scores",
            "Slowest hour, 99th percentile",
            "Newest hour",
        ),
        source="stream",
        empty=why_empty(readings, "stream", NOTHING),
        is_wide=True,
    )
