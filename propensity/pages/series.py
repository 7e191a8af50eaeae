"""Charts of metrics over time, with their intervals, as inline SVG."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from propensity.pages.charts import WIDTH, Axes, path, svg
from propensity.pages.words import Format, Number, percent, present, text

HEIGHT = 210.0
# Marked points that lie closer than this hide their own line.
_MARKED = 30
_UNITS = {"": 1.0, "%": 0.01, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
# People count in these.
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 25.0, 50.0, 100.0)


@dataclass(frozen=True, kw_only=True)
class Series:
    """
    A figure at each of some times; None where there is none.

    Attributes:
        name: What it is, for who hovers.
        values: (times,).
        low, high: Ends of its intervals, (times,) each; empty without any.
        style: ``line``, or ``guide`` for what it is compared with.
    """

    name: str
    values: Sequence[Number]
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()
    style: str = "line"


def series_svg(
    series: Sequence[Series],
    times: Sequence[str],
    *,
    title: str,
    description: str,
    y_label: str,
    write: Format = percent,
    starts_at_zero: bool = False,
) -> Markup:
    """
    Draw figures over time, each with a band for its interval.

    Args:
        series: Those in front last.
        times: Names of the places along x, oldest first.
        y_label: What y is, above the axis.
        write: Format of the values.
        starts_at_zero: Whether the axis must have 0.
    """
    shown = [
        float(value)
        for line in series
        for value in (*line.values, *line.low, *line.high)
        if present(value)
    ]
    ticks = ticks_of([0.0, *shown] if starts_at_zero else shown, write)
    last = len(times) - 1
    axes = Axes(
        x=(0, last) if last else (-1, 1),
        y=(ticks[0], ticks[-1]),
        height=HEIGHT,
        bottom=26.0,
    )
    named = sorted({0, len(times) // 2, last}) if last > 3 else range(len(times))
    parts = [
        *axes.drawn(
            [(n, times[n]) for n in named],
            [(tick, write(tick)) for tick in ticks],
            y_label=y_label,
        )
    ]
    for line in series:
        low, high = dict(_present(line.low)), dict(_present(line.high))
        for run in _runs(sorted(low.keys() & high.keys())):
            above = [(axes.across(n), axes.up(high[n])) for n in run]
            below = [(axes.across(n), axes.up(low[n])) for n in run[::-1]]
            # A single week has no area: an upright line.
            style, end = ("whisker", "") if len(run) == 1 else ("band", "Z")
            parts.append(f'<path class="{style}" d="{path(above + below)}{end}"/>')
    for line in series:
        values = dict(_present(line.values))
        for run in _runs([*values]):
            # One alone is no line: a short one around it.
            end = "m-5 0h10" if len(run) == 1 else ""
            points = path((axes.across(n), axes.up(values[n])) for n in run)
            parts.append(f'<path class="{line.style}" d="{points}{end}"/>')
        if line.style == "line" and len(values) <= _MARKED:
            parts += [
                f'<circle class="dot" cx="{axes.across(n):.1f}" '
                f'cy="{axes.up(value):.1f}" r="3.5"><title>{text(times[n])}, '
                f"{text(line.name)}: {text(write(value))}</title></circle>"
                for n, value in values.items()
            ]
    return svg((WIDTH, HEIGHT), parts, title=title, description=description)


def ticks_of(values: Sequence[float], write: Format) -> list[float]:
    """
    Return a few round values that begin at or below and end at or above all.

    Args:
        values: Finite, in any order; none is as 0 alone.
        write: Format of their labels: steps are wide enough for it to show.
    """
    low, high = min(values, default=0.0), max(values, default=0.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        # All alike, or one alone: room around it.
        around = abs(high) / 10 or 1.0
        low, high = (0.0, around) if not high else (low - around, high + around)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    ticks: list[float] = []
    for step in (step * power for step in _STEPS if step * power >= rough * 0.999):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = [n * step for n in range(first, max(last, first + 2) + 1)]
        # A label that is rounded would stand where it does not belong.
        if all(abs(_shown(tick, write) - tick) <= step / 100 for tick in ticks):
            break
    return ticks


def _shown(value: float, write: Format) -> float:
    """Return the number that a label says; the value where it has another unit."""
    label = write(value).replace(",", "").replace("\N{MINUS SIGN}", "-")
    number = re.fullmatch(r"([-+.0-9e]+)([%kMBT]?)", label)
    return float(number[1]) * _UNITS[number[2]] if number else value


def _present(values: Sequence[Number]) -> Iterator[tuple[int, float]]:
    """Yield the place and the value of those that are there."""
    for place, value in enumerate(values):
        if present(value):
            yield place, float(value)


def _runs(places: Sequence[int]) -> Iterator[list[int]]:
    """Cut places, in order, where one between them is left out."""
    run: list[int] = []
    for place in places:
        if run and place != run[-1] + 1:
            yield run
            run = []
        run.append(place)
    if run:
        yield run
