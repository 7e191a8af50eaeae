"""
Charts as inline SVG.

They take their colours from the page's stylesheet, so that they follow light, dark and
print. They are drawn about 360 units wide, the width of a phone, and are scaled from
there. Whatever comes from data passes through ``text`` on its way in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from propensity.pages.words import (
    NAME_LENGTH,
    Format,
    Number,
    compact,
    percent,
    present,
    short,
    text,
)

# Shapes with more points than pixels only cost bytes.
CURVE_POINTS = 200

# Units that a character takes in the widest of the page's fonts.
_CHARACTER = 7.6


@dataclass(frozen=True)
class Line:
    """
    A curve of a chart.

    Attributes:
        points: (x, y) in the units of the axes.
        style: ``line``, ``guide`` for what it is compared with, or ``line other`` for
            a second one.
        has_dots: Whether to mark the points.
        intervals: (x, low, high) of points that have one.
    """

    points: Sequence[tuple[float, float]]
    style: str = "line"
    has_dots: bool = False
    intervals: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Bar:
    """
    A bar of a chart, and the interval around its end.

    Attributes:
        name: What is measured; long names are cut, with the whole one on hover.
        value: Length; a bar without one is not drawn.
        shown: The value as written beside the bar.
        promised: What it is compared with: a mark of its own.
    """

    name: str
    value: Number
    shown: str
    low: Number = None
    high: Number = None
    promised: Number = None


def svg(
    size: tuple[float, float],
    parts: Iterable[str],
    *,
    title: str,
    description: str,
    style: str = "chart",
) -> Markup:
    """Return a picture of some width and height, described for who hears it."""
    width, height = size
    return Markup(
        f'<svg class="{style}" role="img" viewBox="0 0 {_at(width)} {_at(height)}">'
        f"<title>{text(title)}</title><desc>{text(description)}</desc>"
        f"{''.join(parts)}</svg>"
    )


def _at(position: float) -> str:
    return f"{position:.1f}".removesuffix(".0")


def line_svg(
    lines: Sequence[Line],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_ticks: Sequence[tuple[float, str]] | None = None,
    write: Format = percent,
) -> Markup:
    """
    Draw curves over two axes.

    Args:
        y_label: Above the chart; none where its heading says it.
        x_range: Lowest and highest x; y_range alike. Points outside are cut off.
        x_ticks: Places and texts along x; None for four equal steps.
        write: Format of the ticks.

    Returns:
        An ``svg`` element 360 units wide.
    """
    width, height, left, right, top, bottom = 360.0, 290.0, 50.0, 10.0, 28.0, 46.0
    (x0, x1), (y0, y1) = x_range, y_range

    def across(x: float) -> float:
        share = (x - x0) / ((x1 - x0) or 1)
        return left + min(max(share, 0), 1) * (width - left - right)

    def up(y: float) -> float:
        share = (y - y0) / ((y1 - y0) or 1)
        return height - bottom - min(max(share, 0), 1) * (height - top - bottom)

    steps = [i / 4 for i in range(5)]
    if x_ticks is None:
        x_ticks = [(x, write(x)) for x in (x0 + s * (x1 - x0) for s in steps)]
    parts = []
    if y_label:
        parts.append(f'<text class="tick" x="0" y="12">{text(y_label)}</text>')
    for y in (y0 + s * (y1 - y0) for s in steps):
        parts.append(
            f'<path class="grid" d="M{_at(left)} {_at(up(y))}H{_at(width - right)}"/>'
            f'<text class="tick end" x="{_at(left - 6)}" y="{_at(up(y) + 4)}">'
            f"{text(_round_tick(write(y)))}</text>"
        )
    for i, (x, shown) in enumerate(x_ticks):
        # The last one would otherwise stand half outside.
        side, shift = ("end", 9) if i == len(x_ticks) - 1 else ("middle", 0)
        parts.append(
            f'<text class="tick {side}" x="{_at(across(x) + shift)}" '
            f'y="{_at(height - bottom + 18)}">{text(_round_tick(shown))}</text>'
        )
    parts.append(
        f'<text class="tick middle" x="{_at((left + width - right) / 2)}" '
        f'y="{_at(height - 6)}">{text(x_label)}</text>'
        f'<path class="axis" d="M{_at(left)} {_at(up(y0))}H{_at(width - right)}"/>'
    )
    for line in lines:
        places = [(across(x), up(y)) for x, y in _thin(line.points)]
        parts += [
            f'<path class="whisker" d="M{_at(across(x))} {_at(up(low))}'
            f'V{_at(up(high))}"/>'
            for x, low, high in line.intervals
        ]
        if not places:
            continue
        path = "L".join(f"{_at(x)} {_at(y)}" for x, y in places)
        parts.append(f'<path class="{line.style}" d="M{path}"/>')
        if line.has_dots:
            parts += [
                f'<circle class="dot" cx="{_at(x)}" cy="{_at(y)}" r="4"/>'
                for x, y in places
            ]
    return svg((width, height), parts, title=title, description=description)


def _round_tick(shown: str) -> str:
    return re.sub(r"\.0+(?=%|$)", "", shown)


def _thin(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    if len(points) <= CURVE_POINTS:
        return points
    step = (len(points) - 1) / (CURVE_POINTS - 1)
    return [points[round(i * step)] for i in range(CURVE_POINTS)]


def bars_svg(
    bars: Sequence[Bar],
    *,
    title: str,
    description: str,
    reference: Number = None,
    reference_name: str = "",
    longest: Number = None,
) -> Markup:
    """
    Draw horizontal bars, each with its name before and its value behind it.

    Args:
        reference: Where to draw a dashed line to compare with, if anywhere.
        reference_name: What stands above that line.
        longest: Value to leave room for, so that two charts share a scale.

    Returns:
        An ``svg`` element 360 units wide, one bar every 22.
    """
    width, step, top = 360.0, 22.0, 24.0 if reference is not None else 4.0
    written = max((len(bar.shown) for bar in bars), default=0) * _CHARACTER + 8
    named = max((min(len(bar.name), NAME_LENGTH) for bar in bars), default=0)
    left = named * _CHARACTER + 10
    values = [v for bar in bars for v in (bar.value, bar.low, bar.high, bar.promised)]
    ends = [float(v) for v in (*values, reference, longest) if present(v)]
    low, high = min([0.0, *ends]), max([0.0, *ends])

    def across(value: float) -> float:
        return left + (value - low) / ((high - low) or 1) * (width - left - written)

    parts = []
    bottom = top + len(bars) * step
    if present(reference):
        x = _at(across(reference))
        parts.append(
            f'<path class="guide" d="M{x} {_at(top - 4)}V{_at(bottom)}"/>'
            f'<text class="tick middle" x="{x}" y="{_at(top - 9)}">'
            f"{text(reference_name)}</text>"
        )
    for i, bar in enumerate(bars):
        middle = top + (i + 0.5) * step
        parts.append(
            f"<g><title>{text(bar.name)}: {text(bar.shown)}</title>"
            f'<text class="end" x="{_at(left - 8)}" y="{_at(middle + 4)}">'
            f"{short(bar.name)}</text>"
        )
        reach = across(0)
        if present(bar.value):
            start, end = sorted((across(0), across(bar.value)))
            style = "bar minus" if bar.value < 0 else "bar"
            parts.append(
                f'<rect class="{style}" x="{_at(start)}" y="{_at(middle - 6.5)}" '
                f'width="{_at(max(end - start, 0.5))}" height="13" rx="1.5"/>'
            )
            reach = end
        if present(bar.low) and present(bar.high):
            parts.append(
                f'<path class="whisker" d="M{_at(across(bar.low))} {_at(middle)}'
                f'H{_at(across(bar.high))}"/>'
            )
            reach = max(reach, across(bar.high))
        if present(bar.promised):
            mark = across(bar.promised)
            parts.append(
                f'<path class="promised" d="M{_at(mark)} {_at(middle - 9)}'
                f'V{_at(middle + 9)}"/>'
            )
            reach = max(reach, mark)
        parts.append(
            f'<text x="{_at(reach + 6)}" y="{_at(middle + 4)}">{text(bar.shown)}'
            "</text></g>"
        )
    parts.append(f'<path class="axis" d="M{_at(across(0))} {_at(top)}V{_at(bottom)}"/>')
    return svg((width, bottom + 4), parts, title=title, description=description)


def histogram_svg(
    edges: Sequence[float],
    shares: Sequence[Sequence[Number] | None],
    *,
    title: str,
    description: str,
    is_discrete: bool = False,
    size: tuple[float, float] = (220.0, 92.0),
) -> Markup:
    """
    Draw up to two histograms over the same bins, bins of one width on the page.

    Args:
        edges: B + 1 edges in the feature's unit.
        shares: B shares each, the one behind first; None is left out.
        is_discrete: Whether a bin stands for the value at its lower edge.
        size: Width and height; its letters are as large as those of other charts where
            it is shown as wide as that.

    Returns:
        An ``svg`` element.
    """
    (width, height), top, bottom = size, 14.0, 16.0
    n = len(edges) - 1
    drawn = [(i, [s or 0.0 for s in share]) for i, share in enumerate(shares) if share]
    highest = max((s for _, share in drawn for s in share), default=0) or 1
    base, step = height - bottom, width / n
    parts = []
    for i, share in drawn:
        tops = [base - s / highest * (base - top) for s in share]
        steps = "".join(f"V{_at(y)}h{_at_fine(step)}" for y in tops)
        parts.append(f'<path class="fill-{i}" d="M0 {_at(base)}{steps}V{_at(base)}"/>')
    parts.append(
        f'<path class="axis" d="M0 {_at(base)}H{_at(width)}"/>'
        f'<text class="tick" x="0" y="9">{text(percent(highest))}</text>'
    )
    places = sorted({0, n // 2, n - 1 if is_discrete else n})
    for place in places:
        side = "" if place == 0 else " end" if place == places[-1] else " middle"
        x = place * step
        if n == 1:
            x, side = width / 2, " middle"
        elif is_discrete:
            x, side = x + step / 2, " middle"
        parts.append(
            f'<text class="tick{side}" x="{_at(x)}" y="{_at(height - 3)}">'
            f"{text(compact(edges[place]))}</text>"
        )
        if n == 1:
            break
    return svg(size, parts, title=title, description=description)


def _at_fine(position: float) -> str:
    return f"{position:.2f}".rstrip("0").removesuffix(".")
