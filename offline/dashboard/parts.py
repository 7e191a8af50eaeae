"""Parts of several pages: links to the SQL of a figure, charts, and short tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from markupsafe import Markup, escape

from offline.dashboard.reading import Readings, Row
from propensity.pages.charts import Bar, bars_svg
from propensity.pages.series import Series, columns_svg, series_svg
from propensity.pages.words import DASH, Format, Number, bounded, decimals, present

# A column of a statement's result, on a line of its own as all statements have it.
_COLUMN = re.compile(r"^(  (?:.* AS |\w+\.)?)(\w+)(?=,?$)", re.MULTILINE)

# Rows of a table; what is beyond is said.
ROWS = 40


@dataclass(frozen=True, kw_only=True)
class Tile:
    """
    A figure, what it is, and a note.

    ``source`` is the statement that gives it, and behind a dot the column.
    """

    name: str
    value: str
    note: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """
    A chart with its words.

    ``source`` is as of a tile; ``svg`` is None where ``why`` says why there is none.
    """

    heading: str
    source: str
    caption: str = ""
    svg: Markup | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """
    A table with its words.

    Attributes:
        texts: Columns of text at its beginning.
        empty: The text in place of a table without rows.
        left_out: Rows that are not shown.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    source: str
    texts: int = 1
    empty: str = ""
    left_out: int = 0
    is_wide: bool = False


def fate(row: Row) -> str:
    """Say what became of a version, as its training has recorded it."""
    if row["promoted"] is None:
        return "left undecided"
    return "promoted" if row["promoted"] else "kept aside"


def anchored(name: str, text: str) -> Markup:
    """
    Return a statement in which each column of its result is an anchor.

    Args:
        name: Name of the statement; ``Tile.source`` is such an anchor.
        text: Its last SELECT has a column a line, as the dashboard's statements have.
    """
    before, select, rest = text.rpartition("\nSELECT\n")
    columns, source, behind = rest.partition("\nFROM")
    marked = _COLUMN.sub(rf'\1<span id="{name}.\2">\2</span>', str(escape(columns)))
    return escape(before + select) + Markup(marked) + escape(source + behind)


def grid(rows: Sequence[Sequence[Any]], *, most: int = ROWS, **words: Any) -> Grid:
    """Return a table of the first rows, and how many are left out."""
    left_out = max(len(rows) - most, 0)
    return Grid(rows=rows[:most], left_out=left_out, **words)


def why_empty(readings: Readings, source: str, otherwise: str) -> str:
    """Say why a part has no rows: its table is missing, or what else."""
    missing = readings[source.partition(".")[0]].missing
    return f"Could not be read: {missing}." if missing else otherwise


def no_chart(readings: Readings, source: str, heading: str, otherwise: str) -> Chart:
    """Return the place of a chart, with why there is none."""
    why = why_empty(readings, source, otherwise)
    return Chart(heading=heading, source=source, why=why)


def over_time(
    heading: str,
    source: str,
    series: Sequence[Series],
    times: Sequence[str],
    *,
    title: str,
    caption: str,
    write: Format,
    tell: Format | None = None,
    starts_at_zero: bool = True,
) -> Chart:
    """
    Draw series over time; the last series is described in words.

    Args:
        tell: Format of the description; that of the axis by default.
    """
    return Chart(
        heading=heading,
        source=source,
        caption=caption,
        svg=series_svg(
            series,
            times,
            title=title,
            description=described(times, series[-1].values, tell or write),
            y_label="",
            write=write,
            starts_at_zero=starts_at_zero,
        ),
    )


def measured(rows: Sequence[Row], column: str, name: str) -> Series:
    """Return a figure of rows with the ends of its interval."""
    return Series(
        name=name,
        values=[row[column] for row in rows],
        low=[row.get(f"{column}_low") for row in rows],
        high=[row.get(f"{column}_high") for row in rows],
    )


def barred(
    heading: str,
    source: str,
    bars: Sequence[Bar],
    *,
    caption: str,
    title: str = "",
    **reference: Any,
) -> Chart:
    """Draw bars, which are described one by one; ``reference`` is of ``bars_svg``."""
    return Chart(
        heading=heading,
        source=source,
        caption=caption,
        svg=bars_svg(
            bars,
            title=title or heading,
            description=", ".join(f"{bar.name}: {bar.shown}" for bar in bars),
            **reference,
        ),
    )


def columns(
    heading: str,
    source: str,
    values: Sequence[Number],
    times: Sequence[str],
    *,
    caption: str,
    title: str = "",
    **drawn: Any,
) -> Chart:
    """Draw columns over time; ``drawn`` is of ``columns_svg``."""
    svg = columns_svg(values, times, title=title or heading, **drawn)
    return Chart(heading=heading, source=source, caption=caption, svg=svg)


def with_interval(row: Mapping[str, Any], name: str, places: int = 3) -> str:
    """Write a figure and its 95% interval."""
    return bounded(row, name, decimals(places)) if present(row.get(name)) else DASH


def linked(words: str, address: str | None) -> str:
    """Write words that lead to a page; words alone where there is none."""
    if address is None:
        return words
    return Markup('<a href="{}">{}</a>').format(address, words)


def number(value: Any) -> Number:
    """Return money of the tables as a number."""
    return None if value is None else float(value)


def day(value: date) -> str:
    """Write a day for an axis."""
    return f"{value:%d %b}"


def hour(value: datetime) -> str:
    """Write an hour for an axis."""
    return f"{value:%d %b %H}h"


def described(times: Sequence[str], values: Sequence[Number], write: Format) -> str:
    """Say in words what a line shows: its ends, its least and its most."""
    there = [
        (time, float(value))
        for time, value in zip(times, values, strict=True)
        if present(value)
    ]
    if not there:
        return "No values."
    first, last = there[0], there[-1]
    low, high = min(value for _, value in there), max(value for _, value in there)
    return (
        f"{first[0]}: {write(first[1])}; {last[0]}: {write(last[1])}; "
        f"from {write(low)} to {write(high)}."
    )
