"""Charts of rows, as templates draw them: lines over time, and bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from markupsafe import Markup

from offline.dashboard.reading import Row
from propensity.pages.charts import Bar, bars_svg
from propensity.pages.series import Series, series_svg
from propensity.pages.words import Format, Number, compact, count, present

# Weeks or days that a chart has at most, and bars.
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
    shown = [value for value in values(first) if present(value)]
    if not shown:
        return None
    low, high = values(f"{first}_low"), values(f"{first}_high")
    front = Series(name=first, values=values(first), low=low, high=high)
    behind = [Series(name=one, values=values(one), style=others) for one in beside]
    described = f"From {write(min(shown))} to {write(max(shown))}."
    return series_svg(
        [front, *behind],
        [time_of(row) for row in rows],
        title=title,
        description=f"{described} The newest is {write(shown[-1])}.",
        y_label="",
        write=write,
        starts_at_zero=starts_at_zero,
    )


def time_of(row: Row) -> str:
    """Write the hour of a row, or the first day of its week, for an axis."""
    time = row["hour"] if "hour" in row else row["week"]
    return f"{time:%d %b %H}h" if isinstance(time, datetime) else f"{time:%d %b}"


def bars(
    title: str,
    rows: Iterable[Row],
    name: str,
    value: str,
    write: Format,
    *,
    expected: str = "",
    reference: Number = None,
    reference_name: str = "",
) -> Markup | None:
    """
    Draw a column of the first rows.

    Args:
        name, value: Columns.
        expected: A column that is drawn as marks, if any.
        reference: Where an upright line stands, if anywhere.
    """
    drawn = [
        Bar(row[name], row[value], write(row[value]), predicted=row.get(expected))
        for row in rows
        if present(row[value])
    ][:BARS]
    if not drawn:
        return None
    return bars_svg(
        drawn,
        title=title,
        description=", ".join(f"{bar.name}: {bar.shown}" for bar in drawn),
        reference=reference,
        reference_name=reference_name,
    )


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
