"""
Charts of things in time: figures by week with their intervals, and counts by hour.

As those of ``charts``: inline SVG in the page's colours, 360 units wide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from propensity.pages.charts import svg
from propensity.pages.words import Format, Number, percent, present, text

WIDTH, HEIGHT = 360.0, 210.0
# On the left as much as "−20.0%" takes.
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 10.0, 26.0, 26.0
# Marked points that lie closer than this hide their own line.
_MARKED = 30
# Ends of an axis and steps on it: people count in these.
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
# A label, read back: a number as ``words`` writes it, and its unit.
_LABEL = re.compile("(\N{MINUS SIGN}?[0-9.]+(?:e[+\N{MINUS SIGN}][0-9]+)?)([%kMBT]?)")
_UNITS = {"": 1.0, "%": 0.01, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
# So many powers of ten wider are steps at most, for their labels to be told apart.
_WIDER = 4


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

    Returns:
        An ``svg`` element 360 units wide.
    """
    shown = [
        float(value)
        for line in series
        for value in (*line.values, *line.low, *line.high)
        if present(value)
    ]
    ticks = ticks_of([0.0, *shown] if starts_at_zero else shown, write)
    last = max(len(times) - 1, 1)

    def across(i: int) -> float:
        if len(times) == 1:
            return (_LEFT + WIDTH - _RIGHT) / 2
        return _LEFT + i / last * (WIDTH - _LEFT - _RIGHT)

    def up(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    parts = [*_frame(ticks, up, y_label=y_label, write=write)]
    parts += _times(times, across)
    for line in series:
        low, high = dict(_present(line.low)), dict(_present(line.high))
        for run in _runs(sorted(low.keys() & high.keys())):
            above = [f"{across(i):.1f} {up(high[i]):.1f}" for i in run]
            below = [f"{across(i):.1f} {up(low[i]):.1f}" for i in run[::-1]]
            # A single week has no area: an upright line.
            style, end = ("whisker", "") if len(run) == 1 else ("band", "Z")
            path = "L".join(above + below)
            parts.append(f'<path class="{style}" d="M{path}{end}"/>')
    for line in series:
        points = dict(_present(line.values))
        for run in _runs([*points]):
            path = "L".join(f"{across(i):.1f} {up(points[i]):.1f}" for i in run)
            # One alone is no line: a short one around it.
            path += "m-5 0h10" if len(run) == 1 else ""
            parts.append(f'<path class="{line.style}" d="M{path}"/>')
        if line.style == "line" and len(points) <= _MARKED:
            parts += [
                f'<circle class="dot" cx="{across(i):.1f}" cy="{up(value):.1f}" '
                f'r="3.5"><title>{text(times[i])}, {text(line.name)}: '
                f"{text(write(value))}</title></circle>"
                for i, value in points.items()
            ]
    return svg((WIDTH, HEIGHT), parts, title=title, description=description)


def columns_svg(
    values: Sequence[Number],
    times: Sequence[str],
    *,
    title: str,
    description: str,
    y_label: str,
    write: Format,
    above: Sequence[Number] = (),
) -> Markup:
    """
    Draw a column for each of many times.

    Args:
        values: Heights, (times,); None, and what is below 0, is no column.
        times: Names of the places along x, oldest first.
        y_label: What y is, above the axis.
        write: Format of the values.
        above: Heights on top of these, in another colour, (times,); empty without any.

    Returns:
        An ``svg`` element 360 units wide.
    """
    tops = [
        sum(max(float(part), 0.0) for part in both if present(part))
        for both in zip(values, above or [None] * len(values), strict=True)
    ]
    ticks = ticks_of([0.0, *tops], write)
    step = (WIDTH - _LEFT - _RIGHT) / max(len(times), 1)

    def across(i: int) -> float:
        return _LEFT + (i + 0.5) * step

    def up(value: float) -> float:
        return HEIGHT - _BOTTOM - value / ticks[-1] * (HEIGHT - _TOP - _BOTTOM)

    parts = [*_frame(ticks, up, y_label=y_label, write=write), *_times(times, across)]
    wide = max(step * 0.8, 0.8)
    for i, (value, top) in enumerate(zip(values, tops, strict=True)):
        if not top:
            continue
        left = across(i) - wide / 2
        bottom = max(float(value), 0.0) if present(value) else 0.0
        drawn = [("bar", 0.0, bottom), ("bar minus", bottom, top)]
        parts += [
            f'<rect class="{style}" x="{left:.1f}" y="{up(high):.1f}" '
            f'width="{wide:.1f}" height="{up(low) - up(high):.1f}"/>'
            for style, low, high in drawn
            if high > low
        ]
    return svg((WIDTH, HEIGHT), parts, title=title, description=description)


def ticks_of(values: Sequence[float], write: Format | None = None) -> list[float]:
    """
    Return three to six round values that begin at or below and end at or above all.

    Args:
        values: Finite, in any order; none is as 0 alone.
        write: Format of their labels: the steps are wide enough for it to show.
    """
    low, high = min(values, default=0.0), max(values, default=0.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        # All alike, or one alone: room around it.
        around = abs(high) / 10 or 1.0
        low, high = (0.0, around) if not high else (low - around, high + around)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    scales = [power * 10.0**n for n in range(_WIDER + 1)]
    steps = [s * scale for scale in scales for s in _STEPS]
    choices = []
    for step in (step for step in steps if step >= rough * 0.999):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        choices.append([n * step for n in range(first, max(last, first + 2) + 1)])
        if write is None or _are_shown(choices[-1], write):
            return choices[-1]
    return choices[0]


def _are_shown(ticks: Sequence[float], write: Format) -> bool:
    """Tell whether labels say where ticks are: none of them is rounded."""
    room = (ticks[1] - ticks[0]) / 100
    labels = [_LABEL.fullmatch(write(tick).replace(",", "")) for tick in ticks]
    return all(
        abs(float(label[1].replace("\N{MINUS SIGN}", "-")) * _UNITS[label[2]] - tick)
        <= room
        for label, tick in zip(labels, ticks, strict=True)
        if label is not None
    )


def _frame(
    ticks: Sequence[float], up: Callable[[float], float], *, y_label: str, write: Format
) -> Iterator[str]:
    yield f'<text class="tick" x="0" y="12">{text(y_label)}</text>'
    for y in ticks:
        yield (
            f'<path class="grid" d="M{_LEFT} {up(y):.1f}H{WIDTH - _RIGHT}"/>'
            f'<text class="tick end" x="{_LEFT - 6}" y="{up(y) + 4:.1f}">'
            f"{text(write(y))}</text>"
        )
    yield f'<path class="axis" d="M{_LEFT} {HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>'


def _times(times: Sequence[str], across: Callable[[int], float]) -> Iterator[str]:
    """Name the first, the last and one between, if they are apart."""
    n = len(times)
    places = sorted({0, n // 2, n - 1}) if n > 4 else range(n)
    for i in places:
        at_end = n > 1 and i == n - 1
        side = "end" if at_end else "middle"
        shift = 8 if at_end else 0
        yield (
            f'<text class="tick {side}" x="{across(i) + shift:.1f}" '
            f'y="{HEIGHT - 8}">{text(times[i])}</text>'
        )


def _present(values: Sequence[Number]) -> Iterator[tuple[int, float]]:
    """Yield the place and the value of those that are there."""
    for i, value in enumerate(values):
        if present(value):
            yield i, float(value)


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
