"""
Pages: their templates, filled, and their charts, as inline SVG.

A template extends ``page.html`` and takes parts from ``look.html``; both stand here.
Those of one kind of page stand in a folder ``templates`` of their own package.

Charts take their colours from the page's stylesheet, so that they follow light, dark
and print. They are drawn 360 units wide, the width of a phone, and are scaled from
there.
"""

from __future__ import annotations

import math
import operator
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from propensity.pages import words
from propensity.pages.words import Format, Number, percent, present

# Pages have styles of their own, an empty icon, and no script. So whatever a text may
# bring in, a browser runs and loads nothing.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">"
)

WIDTH = 360.0
# Points that lie closer than this many to a chart hide their own line.
_MARKED = 30

Point = tuple[float, float]
Scale = Callable[[float], float]


def fill_template(package: str, template: str, content: Mapping[str, object]) -> str:
    """Fill a template of a package with texts, ``cleaned``, and markup."""
    return _templates(package).get_template(template).render(content)


@cache
def _templates(package: str) -> Environment:
    """Read the templates once; they escape what they are given, and miss nothing."""
    templates = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in (__package__, package)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.globals |= {
        "policy": Markup(POLICY),
        "infinitive": words.infinitive,
        "percent": words.percent,
        "money": words.money,
        "places": words.decimals,
    }
    for name in (
        "percent",
        "count",
        "money",
        "abbreviate",
        "plural",
        "amount",
        "about",
        "short_day",
        "tenth",
        "chosen_by",
        "signed",
        "minus",
    ):
        templates.filters[name] = getattr(words, name)
    templates.filters["decimals"] = lambda value, n: words.decimals(n)(value)
    templates.filters["ends"] = words.ends
    templates.filters["day"] = words.unbroken_day
    return templates


def in_notebook(page: str) -> str:
    """Return a page as a notebook shows it, where its styles change nothing else."""
    return f'<iframe srcdoc="{escape(page)}" width="100%" height="600"></iframe>'


# -- charts ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ChartLine:
    """
    A line of a chart.

    Attributes:
        name: What it is, for who hovers.
        y: Its values; None where there is none, which is a gap.
        x: Where they stand; 0, 1, 2, … if empty.
        low, high: Ends of their intervals; empty without any.
        style: ``line``, or ``guide`` for what it is compared with.
    """

    name: str = ""
    y: Sequence[Number]
    x: Sequence[float] = ()
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()
    style: str = "line"

    def points(self, values: Sequence[Number]) -> dict[int, Point]:
        """Return x and y by position, of the values that there are."""
        points = dict[int, Point]()
        for n, value in enumerate(values):
            if present(value):
                points[n] = self.x[n] if self.x else n, float(value)
        return points


def lines_svg(
    lines: Sequence[ChartLine],
    *,
    title: str,
    write: Format = percent,
    times: Sequence[str] = (),
    starts_at_zero: bool = False,
) -> Markup:
    """
    Draw lines, each with a band for its interval.

    Args:
        lines: Those in front last.
        write: Format of the values.
        times: Names of the places 0, 1, 2, … along x; without any, x is written as y.
        starts_at_zero: Whether the y axis must have 0.
    """
    shown = list[float]()
    x_values = list[float]()
    for line in lines:
        x_values += line.x
        for values in (line.y, line.low, line.high):
            shown += [y for _, y in line.points(values).values()]
    y_ticks = ticks(shown + [0.0] if starts_at_zero else shown, write)
    if times:
        x_ticks = [float(n) for n in range(len(times))]
    else:
        x_ticks = ticks(x_values, write)
    last = len(x_ticks) - 1
    first_x = x_ticks[0] if last else -1.0
    last_x = x_ticks[-1] if last else 1.0
    # The left margin takes as much as "−20.0%".
    left = 58.0
    right = WIDTH - 10
    base = 184.0
    height = 210.0
    across = _scale(first_x, last_x, left, right)
    up = _scale(y_ticks[0], y_ticks[-1], base, 12)
    parts = []
    for y in y_ticks:
        line_y = up(y)
        name = write(y)
        parts.append(
            f'<path class="grid" d="M{left:g} {line_y:.1f}H{right:g}"/><text '
            f'class="tick end" x="{left - 6:g}" y="{line_y + 4:.1f}">{name}</text>'
        )
    labelled_ticks = (
        list(range(last + 1)) if last <= 3 else [0, len(x_ticks) // 2, last]
    )
    for n in labelled_ticks:
        name = times[n] if times else write(x_ticks[n])
        is_last = n > 0 and n == last
        parts.append(_x_name(name, across(x_ticks[n]), base + 18, is_last=is_last))
    parts.append(f'<path class="axis" d="M{left:g} {base:g}H{right:g}"/>')
    for line in lines:
        low = line.points(line.low)
        high = line.points(line.high)
        for run in _runs(low.keys() & high.keys()):
            outline = [high[n] for n in run] + [low[n] for n in run[::-1]]
            d = _path(outline, across, up)
            parts.append(f'<path class="band" d="{d}Z"/>')
    for line in lines:
        points = line.points(line.y)
        for run in _runs(points):
            # A single point is no line, so it gets a short one.
            end = "m-5 0h10" if len(run) == 1 else ""
            d = _path([points[n] for n in run], across, up)
            parts.append(f'<path class="{line.style}" d="{d}{end}"/>')
        if line.style != "line" or len(points) > _MARKED:
            continue
        for n, (x, y) in points.items():
            label = f"{times[n] if times else write(x)}, {line.name}: {write(y)}"
            parts.append(
                f'<circle class="dot" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5">'
                f"<title>{escape(label)}</title></circle>"
            )
    ends = f"From {write(min(shown))} to {write(max(shown))}." if shown else "No value."
    return _svg(WIDTH, height, parts, title=title, description=ends)


def _x_name(name: str, x: float, y: float, *, is_last: bool) -> str:
    side = "middle"
    if is_last:
        # It would otherwise stand half outside.
        side = "end"
        x += 9
    text = escape(name)
    return f'<text class="tick {side}" x="{x:.1f}" y="{y:g}">{text}</text>'


def bins_svg(
    bins: Sequence[str],
    shares: Sequence[float],
    rates: Sequence[float],
    *,
    title: str,
) -> Markup:
    """
    Draw the share of the rows in each bin, and below it the share of label 1 in it.

    A dashed line is the share of label 1 in all rows.
    """
    width = 220.0
    step = width / max(len(bins), 1)
    parts = []
    for style, values, base in (("share", shares, 72.0), ("rate", rates, 150.0)):
        highest = max(values, default=0) or 1.0
        up = _scale(0, highest, base, base - 56)
        parts.append(
            f'<text class="tick" x="0" y="{base - 60:g}">{percent(highest)}</text>'
        )
        for n, value in enumerate(values):
            label = (
                f"{bins[n]}: {percent(shares[n])} of rows, label 1: {percent(rates[n])}"
            )
            parts.append(
                f'<rect class="{style}" x="{n * step:.1f}" y="{up(value):.1f}" '
                f'width="{step * 0.9:.1f}" height="{base - up(value):.1f}">'
                f"<title>{escape(label)}</title></rect>"
            )
        if style == "rate":
            average = sum(map(operator.mul, shares, rates))
            parts.append(f'<path class="guide" d="M0 {up(average):.1f}H{width:g}"/>')
        parts.append(f'<path class="axis" d="M0 {base:g}H{width:g}"/>')
    if bins:
        first = textwrap.shorten(bins[0], 18, placeholder="…")
        last = textwrap.shorten(bins[-1], 18, placeholder="…")
        parts.append(f'<text class="tick" x="0" y="165">{escape(first)}</text>')
        parts.append(
            f'<text class="tick end" x="{width:g}" y="165">{escape(last)}</text>'
        )
    said = "Above, the share of rows by value; below, the share of label 1."
    return _svg(width, 170, parts, title=title, description=said)


def ticks(values: Sequence[float], write: Format) -> list[float]:
    """
    Return a few round values that begin at or below and end at or above all.

    Steps are so wide that no two labels are alike.
    """
    low = min(values, default=0.0)
    high = max(values, default=0.0)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-3):
        # Equal values have no span, so they get room around them.
        margin = abs(high) / 10
        low -= margin
        high += margin
        if not high:
            high = 1.0
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    round_values: list[float] = []
    for step in (n * power for n in (1, 2, 5, 10, 20, 50, 100) if n * power >= rough):
        first = math.floor(low / step + 1e-9)
        last = math.ceil(high / step - 1e-9)
        round_values = [n * step for n in range(first, max(last, first + 2) + 1)]
        if len(set(map(write, round_values))) == len(round_values):
            break
    return round_values


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    """Return what turns a value into a place between start and end."""
    if low == high:
        return lambda value: start
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _path(points: Iterable[Point], across: Scale, up: Scale) -> str:
    return "M" + "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in points)


def _runs(positions: Iterable[int]) -> list[list[int]]:
    """Cut positions where one between them is left out."""
    numbered = enumerate(sorted(positions))
    runs = groupby(numbered, key=lambda pair: pair[1] - pair[0])
    return [[position for _, position in run] for _, run in runs]


def _svg(
    width: float, height: float, parts: Iterable[str], *, title: str, description: str
) -> Markup:
    return Markup(
        f'<svg class="chart" role="img" viewBox="0 0 {width:g} {height:g}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
        f"{''.join(parts)}</svg>"
    )
