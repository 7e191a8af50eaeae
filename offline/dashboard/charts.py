"""Columns of rows over time, as templates draw them; sizes and waits in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from offline.dashboard.reading import Row
from propensity.pages.charts import Line, lines_svg
from propensity.pages.words import Format, Number, compact, count, present

# Weeks or days that a chart has at most, and audiences.
POINTS = 60
BARS = 12


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
