"""
Charts as inline SVG.

They take their colours from the page's stylesheet, so that they follow light, dark and
print. They are drawn 360 units wide, the width of a phone, and are scaled from there.
Whatever comes from data passes through ``text`` on its way in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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

WIDTH = 360.0

# Units that a character takes in the widest of the page's fonts.
_CHARACTER = 7.6


@dataclass(frozen=True)
class Line:
    """
    A curve of a chart.

    Attributes:
        points: (x, y) in the units of the axes.
        style: ``line``, or ``guide`` for what it is compared with.
        has_dots: Whether to mark the points.
    """

    points: Sequence[tuple[float, float]]
    style: str = "line"
    has_dots: bool = False


@dataclass(frozen=True)
class Bar:
    """
    A bar of a chart, and the interval around its end.

    Attributes:
        name: What is measured; long names are cut, with the whole one on hover.
        value: Length; a bar without one is not drawn.
        shown: The value as written beside the bar.
        predicted: What it is compared with: a mark of its own.
    """

    name: str
    value: Number
    shown: str
    low: Number = None
    high: Number = None
    predicted: Number = None


@dataclass(frozen=True, kw_only=True)
class Axes:
    """
    The two axes of a chart.

    Attributes:
        x, y: Lowest and highest value; points outside are drawn at the end.
        height, bottom: Of the picture, and of what stands below the x axis.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    height: float = 290.0
    bottom: float = 46.0
    # As much as "−20.0%" takes.
    left: float = 58.0
    right: float = 10.0
    top: float = 28.0

    def across(self, x: float) -> float:
        """Return where a value stands along x."""
        low, high = self.x
        share = min(max((x - low) / ((high - low) or 1), 0), 1)
        return self.left + share * (WIDTH - self.left - self.right)

    def up(self, y: float) -> float:
        """Return where a value stands along y."""
        low, high = self.y
        share = min(max((y - low) / ((high - low) or 1), 0), 1)
        return (
            self.height - self.bottom - share * (self.height - self.top - self.bottom)
        )

    def drawn(
        self,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
        *,
        x_label: str = "",
        y_label: str = "",
    ) -> Iterator[str]:
        """Yield the lines and texts of the axes."""
        yield f'<text class="tick" x="0" y="12">{text(y_label)}</text>'
        end, base = WIDTH - self.right, self.height - self.bottom
        for y, shown in y_ticks:
            yield (
                f'<path class="grid" d="M{self.left:g} {self.up(y):.1f}H{end:g}"/>'
                f'<text class="tick end" x="{self.left - 6:g}" '
                f'y="{self.up(y) + 4:.1f}">{text(shown)}</text>'
            )
        for n, (x, shown) in enumerate(x_ticks):
            # The last one would otherwise stand half outside.
            is_last = n and n == len(x_ticks) - 1
            side, shift = ("end", 9) if is_last else ("middle", 0)
            yield (
                f'<text class="tick {side}" x="{self.across(x) + shift:.1f}" '
                f'y="{base + 18:g}">{text(shown)}</text>'
            )
        middle = (self.left + end) / 2
        yield (
            f'<text class="tick middle" x="{middle:g}" y="{self.height - 6:g}">'
            f'{text(x_label)}</text><path class="axis" d="M{self.left:g} {base:g}'
            f'H{end:g}"/>'
        )


def svg(
    size: tuple[float, float], parts: Iterable[str], *, title: str, description: str
) -> Markup:
    """Return a picture of some width and height, described for who hears it."""
    width, height = size
    return Markup(
        f'<svg class="chart" role="img" viewBox="0 0 {width:g} {height:g}">'
        f"<title>{text(title)}</title><desc>{text(description)}</desc>"
        f"{''.join(parts)}</svg>"
    )


def path(points: Iterable[tuple[float, float]]) -> str:
    """Return straight lines from point to point."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def line_svg(
    lines: Sequence[Line],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    write: Format = percent,
) -> Markup:
    """
    Draw curves over two axes, with four equal steps on each.

    Args:
        y_label: Above the chart; none where its heading says it.
        x_range: Lowest and highest x; y_range alike.
        write: Format of the ticks.
    """
    axes = Axes(x=x_range, y=y_range)
    ticks = [
        [
            (low + n / 4 * (high - low), write(low + n / 4 * (high - low)))
            for n in range(5)
        ]
        for low, high in (x_range, y_range)
    ]
    parts = [*axes.drawn(*ticks, x_label=x_label, y_label=y_label)]
    for line in lines:
        points = [(axes.across(x), axes.up(y)) for x, y in line.points]
        if points:
            parts.append(f'<path class="{line.style}" d="{path(points)}"/>')
        if line.has_dots:
            parts += [
                f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
                for x, y in points
            ]
    return svg((WIDTH, axes.height), parts, title=title, description=description)


def bars_svg(
    bars: Sequence[Bar],
    *,
    title: str,
    description: str,
    reference: Number = None,
    reference_name: str = "",
) -> Markup:
    """
    Draw horizontal bars, each with its name before and its value behind it.

    Args:
        reference: Where to draw a dashed line to compare with, if anywhere.
        reference_name: What stands above that line.
    """
    step, top = 22.0, 24.0 if reference is not None else 4.0
    written = max((len(bar.shown) for bar in bars), default=0) * _CHARACTER + 8
    named = max((min(len(bar.name), NAME_LENGTH) for bar in bars), default=0)
    left = named * _CHARACTER + 10
    values = [v for bar in bars for v in (bar.value, bar.low, bar.high, bar.predicted)]
    ends = [0.0, *(float(v) for v in (*values, reference) if present(v))]
    bottom = top + len(bars) * step
    axes = Axes(x=(min(ends), max(ends)), y=(0, 1), left=left, right=written)
    zero, parts = axes.across(0), []
    if present(reference):
        x = axes.across(reference)
        parts.append(
            f'<path class="guide" d="M{x:.1f} {top - 4:g}V{bottom:g}"/>'
            f'<text class="tick middle" x="{x:.1f}" y="{top - 9:g}">'
            f"{text(reference_name)}</text>"
        )
    for n, bar in enumerate(bars):
        middle, reach = top + (n + 0.5) * step, zero
        parts.append(
            f"<g><title>{text(bar.name)}: {text(bar.shown)}</title>"
            f'<text class="end" x="{left - 8:.1f}" y="{middle + 4:g}">'
            f"{short(bar.name)}</text>"
        )
        if present(bar.value):
            start, reach = sorted((zero, axes.across(bar.value)))
            style = "bar minus" if bar.value < 0 else "bar"
            parts.append(
                f'<rect class="{style}" x="{start:.1f}" y="{middle - 6.5:g}" '
                f'width="{max(reach - start, 0.5):.1f}" height="13" rx="1.5"/>'
            )
        if present(bar.low) and present(bar.high):
            low, high = axes.across(bar.low), axes.across(bar.high)
            parts.append(
                f'<path class="whisker" d="M{low:.1f} {middle:g}H{high:.1f}"/>'
            )
            reach = max(reach, high)
        if present(bar.predicted):
            x = axes.across(bar.predicted)
            parts.append(
                f'<path class="predicted" d="M{x:.1f} {middle - 9:g}V{middle + 9:g}"/>'
            )
            reach = max(reach, x)
        parts.append(
            f'<text x="{reach + 6:.1f}" y="{middle + 4:g}">{text(bar.shown)}</text></g>'
        )
    parts.append(f'<path class="axis" d="M{zero:.1f} {top:g}V{bottom:g}"/>')
    return svg((WIDTH, bottom + 4), parts, title=title, description=description)


def histogram_svg(
    edges: Sequence[float],
    shares: Sequence[Sequence[Number] | None],
    *,
    title: str,
    description: str,
    size: tuple[float, float] = (220.0, 92.0),
) -> Markup:
    """
    Draw up to two histograms over the same bins, bins of one width on the page.

    Args:
        edges: B + 1 edges in the feature's unit.
        shares: B shares each, the one behind first; None is left out.
        size: Width and height.
    """
    (width, height), base = size, size[1] - 16
    bins = len(edges) - 1
    drawn = [(n, [s or 0.0 for s in share]) for n, share in enumerate(shares) if share]
    highest = max((s for _, share in drawn for s in share), default=0) or 1
    parts = []
    for n, share in drawn:
        tops = [base - s / highest * (base - 14) for s in share]
        steps = "".join(f"V{y:.1f}h{width / bins:.2f}" for y in tops)
        parts.append(f'<path class="fill-{n}" d="M0 {base:g}{steps}V{base:g}"/>')
    parts.append(
        f'<path class="axis" d="M0 {base:g}H{width:g}"/>'
        f'<text class="tick" x="0" y="9">{text(percent(highest))}</text>'
    )
    for side, place in (("", 0), (" middle", bins // 2), (" end", bins)):
        if place or not side:
            parts.append(
                f'<text class="tick{side}" x="{place / bins * width:.1f}" '
                f'y="{height - 3:g}">{text(compact(edges[place]))}</text>'
            )
    return svg(size, parts, title=title, description=description)
