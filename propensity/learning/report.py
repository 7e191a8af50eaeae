"""
A model's card as a page to read: one HTML file that needs nothing else.

Charts are inline SVG and take their colours from the page's stylesheet, so that they
follow light, dark and print. They are drawn about 360 units wide, the width of a
phone, and are scaled from there. Whatever comes from data (names of features, values
of categories) passes through ``text`` on its way into the page.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any, TypeGuard

from propensity.learning.description import describe

__all__ = [
    "Bar",
    "Line",
    "bars_svg",
    "compact",
    "count",
    "decimals",
    "describe",
    "heatmap_svg",
    "histogram_svg",
    "line_svg",
    "percent",
    "short",
    "table",
    "text",
    "training_page",
]

Number = float | int | None
Format = Callable[[Number], str]

# Shapes with more points than pixels only cost bytes.
CURVE_POINTS = 200
# Features drawn one by one; tables name all of them.
DRAWN_FEATURES = 60
MAPPED_FEATURES = 36
CLOSEST_PAIRS = 8

_DASH = "—"
_NAME_LENGTH = 24

# Control characters break markup; direction marks let a name rewrite its neighbours;
# surrogates and noncharacters cannot be written at all.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e"
    "\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


# --- Text and numbers ---------------------------------------------------------------


def text(value: object) -> str:
    """Escape a value for HTML and SVG, element or quoted attribute."""
    return html.escape(_UNSAFE.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def short(value: object, length: int = _NAME_LENGTH) -> str:
    """Cut a name to ``length`` characters, the last one an ellipsis, and escape it."""
    name = str(value)
    return text(name if len(name) <= length else name[: length - 1] + "…")


def count(value: Number) -> str:
    """Write a count with thousands apart."""
    return f"{value:,.0f}" if _present(value) else _DASH


def percent(value: Number) -> str:
    """Write a share as a percentage, more precisely when it is small."""
    if not _present(value):
        return _DASH
    shown = 100 * value
    return f"{shown:.2f}%" if 0 < abs(shown) < 1 else f"{shown:.1f}%"


def decimals(places: int) -> Format:
    """Give a format of so many decimals, with a real minus sign."""

    def write(value: Number) -> str:
        return _minus(f"{value:.{places}f}") if _present(value) else _DASH

    return write


def compact(value: Number) -> str:
    """Write a number of any size in a few characters."""
    if not _present(value):
        return _DASH
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        return _minus(f"{value:.2e}")
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if size >= unit:
            return _minus(f"{value / (1e3 if name == 'k' else unit):.3g}{name}")
    if float(value).is_integer():
        return _minus(f"{value:,.0f}")
    return _minus(f"{value:,.{max(0, 2 - math.floor(math.log10(size)))}f}")


def _present(value: Number) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _minus(number: str) -> str:
    if not number.strip("-0."):
        number = number.lstrip("-")
    return number.replace("-", "\N{MINUS SIGN}")


def _plural(n: Number, noun: str) -> str:
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


# --- Charts -------------------------------------------------------------------------


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
    """

    name: str
    value: Number
    shown: str
    low: Number = None
    high: Number = None


def _svg(
    size: tuple[float, float], body: str, *, title: str, description: str, style: str
) -> str:
    width, height = size
    return (
        f'<svg class="{style}" role="img" viewBox="0 0 {_at(width)} {_at(height)}">'
        f"<title>{text(title)}</title><desc>{text(description)}</desc>{body}</svg>"
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
) -> str:
    """
    Draw curves over two axes.

    Args:
        x_range: Lowest and highest x; y_range alike. Points outside are cut off.
        x_ticks: Places and texts along x; None for four equal steps.
        write: Format of the ticks.

    Returns:
        An ``svg`` element 360 units wide.
    """
    width, height, left, right, top, bottom = 360.0, 290.0, 48.0, 10.0, 26.0, 44.0
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
    parts = [f'<text class="tick" x="0" y="12">{text(y_label)}</text>']
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
            f'y="{_at(height - bottom + 17)}">{text(_round_tick(shown))}</text>'
        )
    parts.append(
        f'<text class="tick middle" x="{_at((left + width - right) / 2)}" '
        f'y="{_at(height - 6)}">{text(x_label)}</text>'
        f'<path class="axis" d="M{_at(left)} {_at(up(y0))}H{_at(width - right)}"/>'
    )
    for line in lines:
        places = [(across(x), up(y)) for x, y in _thin(line.points)]
        if not places:
            continue
        path = "L".join(f"{_at(x)} {_at(y)}" for x, y in places)
        parts.append(f'<path class="{line.style}" d="M{path}"/>')
        if line.has_dots:
            parts += [
                f'<circle class="dot" cx="{_at(x)}" cy="{_at(y)}" r="4"/>'
                for x, y in places
            ]
    size = width, height
    return _svg(
        size, "".join(parts), title=title, description=description, style="chart"
    )


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
) -> str:
    """
    Draw horizontal bars, each with its name before and its value behind it.

    Args:
        reference: Where to draw a dashed line to compare with, if anywhere.
        reference_name: What stands above that line.
        longest: Value to leave room for, so that two charts share a scale.

    Returns:
        An ``svg`` element 360 units wide, one bar every 21.
    """
    width, step, top = 360.0, 21.0, 22.0 if reference is not None else 4.0
    written = max((len(bar.shown) for bar in bars), default=0) * 7 + 8
    named = max((min(len(bar.name), _NAME_LENGTH) for bar in bars), default=0)
    left = min(named * 7 + 10, 170)
    found = [v for bar in bars for v in (bar.value, bar.low, bar.high)]
    ends = [float(v) for v in (*found, reference, longest) if _present(v)]
    low, high = min([0.0, *ends]), max([0.0, *ends])

    def across(value: float) -> float:
        return left + (value - low) / ((high - low) or 1) * (width - left - written)

    parts = []
    bottom = top + len(bars) * step
    if _present(reference):
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
        if _present(bar.value):
            start, end = sorted((across(0), across(bar.value)))
            style = "bar minus" if bar.value < 0 else "bar"
            parts.append(
                f'<rect class="{style}" x="{_at(start)}" y="{_at(middle - 6.5)}" '
                f'width="{_at(max(end - start, 0.5))}" height="13" rx="1.5"/>'
            )
            reach = end
        if _present(bar.low) and _present(bar.high):
            parts.append(
                f'<path class="whisker" d="M{_at(across(bar.low))} {_at(middle)}'
                f'H{_at(across(bar.high))}"/>'
            )
            reach = max(reach, across(bar.high))
        parts.append(
            f'<text x="{_at(reach + 6)}" y="{_at(middle + 4)}">{text(bar.shown)}'
            "</text></g>"
        )
    parts.append(f'<path class="axis" d="M{_at(across(0))} {_at(top)}V{_at(bottom)}"/>')
    size = width, bottom + 4
    return _svg(
        size, "".join(parts), title=title, description=description, style="chart"
    )


def histogram_svg(
    edges: Sequence[float],
    shares: Sequence[Sequence[Number] | None],
    *,
    title: str,
    description: str,
    is_discrete: bool = False,
) -> str:
    """
    Draw up to two histograms over the same bins, bins of one width on the page.

    Args:
        edges: B + 1 edges in the feature's unit.
        shares: B shares each, the one behind first; None is left out.
        is_discrete: Whether a bin stands for the value at its lower edge.

    Returns:
        An ``svg`` element 220 units wide.
    """
    width, height, top, bottom = 220.0, 92.0, 14.0, 16.0
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
    size = width, height
    return _svg(
        size, "".join(parts), title=title, description=description, style="chart"
    )


def _at_fine(position: float) -> str:
    return f"{position:.2f}".rstrip("0").removesuffix(".")


def heatmap_svg(
    names: Sequence[str],
    matrix: Sequence[Sequence[Number]],
    *,
    title: str,
    description: str,
) -> str:
    """
    Draw one half of a symmetric matrix of correlations, names on its diagonal.

    A name stands at the end of its row and on top of its column. The stronger the
    colour, the stronger the correlation; a pair without one is an empty frame.

    Args:
        names: N names.
        matrix: N x N values in [-1, 1].

    Returns:
        An ``svg`` element 15 units a name high, with the width its names need.
    """
    cell = 15.0
    longest = max((min(len(name), _NAME_LENGTH) for name in names), default=0)
    width = cell * len(names) + 7 * longest + 8
    parts = []
    for i, name in enumerate(names):
        for j in range(i):
            value = matrix[i][j]
            style, strength = "empty", ""
            if _present(value):
                style = "minus" if value < 0 else "plus"
                strength = f' fill-opacity="{max(abs(value), 0.03):.2f}"'
            parts.append(
                f'<rect class="{style}"{strength} x="{_at(j * cell + 0.5)}" '
                f'y="{_at(i * cell + 0.5)}" width="14" height="14">'
                f"<title>{short(name)}, {short(names[j])}: {decimals(2)(value)}"
                "</title></rect>"
            )
        parts.append(
            f'<text x="{_at(i * cell + 5)}" y="{_at(i * cell + 11.5)}">'
            f"<title>{text(name)}</title>{short(name)}</text>"
        )
    size = width, cell * len(names)
    return _svg(size, "".join(parts), title=title, description=description, style="map")


# --- Tables -------------------------------------------------------------------------


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    texts: int = 1,
    chosen: int | None = None,
    is_wide: bool = False,
) -> str:
    """
    Write a table; what does not fit on a screen scrolls inside its frame.

    Args:
        caption: What it holds; HTML, as are the cells. Columns are plain text.
        texts: How many columns, from the left, hold words rather than numbers.
        chosen: Row to mark, counted from 0.
        is_wide: Whether cells stay on one line and the frame scrolls.
    """

    def cells(row: Sequence[str]) -> str:
        first, *others = row
        return f'<th scope="row" class="text name">{first}</th>' + "".join(
            f'<td class="text name">{cell}</td>' if i < texts else f"<td>{cell}</td>"
            for i, cell in enumerate(others, start=1)
        )

    in_words, marked = ' class="text"', ' class="chosen"'
    head = "".join(
        f'<th scope="col"{in_words if i < texts else ""}>{text(column)}</th>'
        for i, column in enumerate(columns)
    )
    body = "\n".join(
        f"<tr{marked if i == chosen else ''}>{cells(row)}</tr>"
        for i, row in enumerate(rows)
    )
    label = text(html.unescape(re.sub("<[^>]*>", "", caption)))
    return (
        f'<div class="scroll{" wide" if is_wide else ""}" role="region" '
        f'aria-label="{label}" tabindex="0"><table>'
        f"<caption><span>{caption}</span></caption>"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _figure(heading: str, svg: str, caption: str) -> str:
    return f"<figure><h3>{heading}</h3>{svg}<figcaption>{caption}</figcaption></figure>"


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    return (
        "<dl>"
        + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in pairs)
        + "</dl>"
    )


# --- The page of a training ---------------------------------------------------------


@dataclass(frozen=True)
class _Measure:
    """A metric as the page shows it; ``{outcome}`` stands for the use case's own."""

    key: str
    name: str
    meaning: str
    write: Format


_MEASURES = (
    _Measure(
        "roc_auc",
        "ROC AUC",
        "Chance that one of those who {outcome} is ranked above one of the others. "
        "0.5 is a coin, 1 is perfect.",
        decimals(3),
    ),
    _Measure(
        "pr_auc",
        "PR AUC",
        "Precision, averaged over all recalls. A coin has the base rate.",
        decimals(3),
    ),
    _Measure(
        "calibration_error",
        "Calibration error",
        "Distance between what is promised and what happens. 0 is perfect.",
        decimals(4),
    ),
    _Measure(
        "brier",
        "Brier score",
        "Mean squared error of the probabilities. Lower is better.",
        decimals(4),
    ),
    _Measure(
        "log_loss",
        "Log loss",
        "Like Brier, but hard on confident mistakes. Lower is better.",
        decimals(4),
    ),
    _Measure(
        "precision",
        "Precision",
        "Share of the users above the threshold who {outcome}.",
        decimals(3),
    ),
    _Measure(
        "recall",
        "Recall",
        "Share of those who {outcome} who are above the threshold.",
        decimals(3),
    ),
    _Measure("f1", "F1", "Harmonic mean of precision and recall.", decimals(3)),
)

Card = Mapping[str, Any]


def training_page(card: Card) -> str:
    """
    Write the page of a trained model: the answer first, details after it.

    Args:
        card: What ``card.json`` holds. A figure that is None or absent is a dash with
            its reason.

    Returns:
        An HTML document without scripts or references to anything outside it.
    """
    if card.get("outcomes"):
        return _events_page(card)
    quality = _part(card, "quality")
    verdict = _part(card, "verdict")
    dataset = _part(card, "dataset")
    promoted = bool(verdict.get("promoted"))
    best = _best_decile(quality)
    body = _template("report_training.html").substitute(
        use_case=text(card.get("use_case", "")),
        about=f" · {text(card['title'])}" if card.get("title") else "",
        question=text(_question(card)),
        version=text(card.get("model_version", _DASH)),
        trained_at=text(_moment(card.get("trained_at"))),
        headline=_headline(card, quality, best),
        ranking=_ranking(card, quality),
        promise=_promise(card, quality),
        verdict="Promoted" if promoted else "Not promoted",
        verdict_class="good" if promoted else "wait",
        verdict_reason=_sentence(verdict.get("reason")),
        tiles=_tiles(quality, best),
        holdout_users=_plural(quality.get("users"), "user"),
        holdout_dates=_dates(_part(card, "split").get("holdout")),
        metrics=_metrics(card, quality),
        confusion=_confusion(card, quality),
        comparison=_comparison(verdict),
        lift_chart=_lift_chart(quality),
        lift_table=_lift_table(card, quality),
        outcome=text(_outcome(card)),
        curves=_curves(card, quality),
        candidates=_candidates(card),
        calibrations=_calibrations(card),
        baselines=_baselines(card, quality),
        importance=_importance(card),
        dataset=_dataset(card, dataset),
        provenance=_provenance(card),
    )
    title = f"{card.get('use_case', '')} model {card.get('model_version', '')}"
    return _template("report.html").substitute(title=text(title), body=body)


def _template(name: str) -> Template:
    file = resources.files("propensity").joinpath(name)
    return Template(file.read_text(encoding="utf-8"))


def _part(card: Card, key: str) -> Card:
    return card.get(key) or {}


def _list(card: Card, key: str) -> Sequence[Any]:
    return card.get(key) or ()


def _moment(value: Any) -> str:
    """Shorten an ISO time to the minute."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d).*?(Z|\+00:00)?", str(value))
    if not found:
        return _DASH if value is None else str(value)
    return f"{found[1]} {found[2]}{' UTC' if found[3] else ''}"


def _dates(dates: Sequence[Any] | None) -> str:
    """Write a few dates in full, many by their ends."""
    shown = [text(date) for date in dates or ()]
    if len(shown) > 4:
        return f"{shown[0]} to {shown[-1]} ({len(shown)} dates)"
    return ", ".join(shown) or _DASH


def _sentence(value: Any) -> str:
    words = str(value or "").strip()
    if not words:
        return ""
    words = words[0].upper() + words[1:]
    return text(words if words[-1] in ".!?" else f"{words}.")


def _reason(quality: Card, key: str) -> str:
    """Say why a figure of the holdout does not exist."""
    users, conversions = quality.get("users"), quality.get("conversions")
    if not users:
        return "the holdout has no users"
    if key == "precision" and not (
        (quality.get("true_positives") or 0) + (quality.get("false_positives") or 0)
    ):
        return "no user is above the threshold"
    if conversions == 0:
        return "nobody in the holdout is of label 1"
    if conversions == users:
        return "everybody in the holdout is of label 1"
    return "not measured"


def _best_decile(quality: Card) -> Card:
    """Find the group with the highest probabilities, however groups are numbered."""
    deciles = [d for d in _list(quality, "lift") if d.get("users")]
    return max(
        deciles,
        key=lambda d: (_value(d.get("mean_probability")), -_value(d.get("decile"))),
        default={},
    )


def _value(value: Number) -> float:
    return float(value) if _present(value) else -math.inf


def _ratio(part: Number, whole: Number) -> float | None:
    return part / whole if part is not None and whole else None


def _outcome(card: Card) -> str:
    """Name what users are expected to do, after *to* or *who*."""
    return str(card.get("outcome") or "have label 1")


def _question(card: Card) -> str:
    """Say what the probability is of, as a sentence after *to*."""
    horizon = _plural(card.get("horizon_days"), "day")
    lookback = _plural(card.get("lookback_days"), "day")
    usual = f"in the next {horizon}, from what they did in the {lookback} before"
    return f"{_outcome(card)} {card.get('span') or usual}."


def _headline(card: Card, quality: Card, best: Card) -> str:
    rate = _ratio(best.get("conversions"), best.get("users"))
    share = _ratio(best.get("users"), quality.get("users"))
    if rate is None or share is None or not quality.get("conversions"):
        return (
            "How well this model ranks users could not be measured: "
            f"{_reason(quality, 'lift')}."
        )
    lift = best.get("lift")
    times = f", {decimals(1)(lift)} times the average" if _present(lift) else ""
    within = f"within {_plural(card.get('horizon_days'), 'day')}"
    return (
        f"Of the {100 * share:.0f}% of users ranked highest, {percent(rate)} went on "
        f"to {text(_outcome(card))} {within}{times}."
    )


def _ranking(card: Card, quality: Card) -> str:
    auc = quality.get("roc_auc")
    if not _present(auc):
        return ""
    return (
        f"Of one of those who {text(_outcome(card))} and one of the others, it ranks "
        f"the right one higher {100 * auc:.0f} times in 100."
    )


def _promise(card: Card, quality: Card) -> str:
    promised, came = quality.get("mean_probability"), quality.get("base_rate")
    if not (_present(promised) and _present(came)):
        return ""
    return (
        f"On average it promised that {percent(promised)} {text(_outcome(card))}; it "
        f"was {percent(came)}."
    )


def _tiles(quality: Card, best: Card) -> str:
    shown = [
        ("ROC AUC", decimals(3)(quality.get("roc_auc")), _interval(quality, "roc_auc")),
        (
            "Lift of the top group",
            f"{decimals(1)(best.get('lift'))}×" if best.get("lift") else _DASH,
            f"of {_plural(best.get('users'), 'user')}" if best else "",
        ),
        (
            "Calibration error",
            decimals(4)(quality.get("calibration_error")),
            _interval(quality, "calibration_error", places=4),
        ),
        (
            "Base rate",
            percent(quality.get("base_rate")),
            f"{count(quality.get('conversions'))} of "
            f"{_plural(quality.get('users'), 'user')}",
        ),
    ]
    return "".join(
        f'<li class="tile"><span>{name}</span><strong>{value}</strong>'
        f"<span>{note or _reason(quality, 'roc_auc')}</span></li>"
        for name, value, note in shown
    )


def _interval(figures: Card, key: str, places: int = 3) -> str:
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    if not (_present(low) and _present(high)):
        return ""
    write = decimals(places)
    return f"{write(low)} to {write(high)}"


def _metrics(
    card: Card,
    quality: Card,
    measures: Sequence[_Measure] = _MEASURES,
    *,
    why: str = "",
) -> str:
    rows = []
    for measure in measures:
        value = quality.get(measure.key)
        places = 4 if measure.write(0.0) == "0.0000" else 3
        rows.append(
            (
                f"{measure.name}<small>{_meaning(card, measure)}</small>",
                measure.write(value)
                if _present(value)
                else f'{_DASH}<br><span class="reason">'
                f"{why or _reason(quality, measure.key)}</span>",
                _interval(quality, measure.key, places) or _DASH,
            )
        )
    return table(
        "Measures on the holdout; intervals are bootstrapped.",
        ("Measure", "Value", "95% interval"),
        rows,
    )


def _meaning(card: Card, measure: _Measure) -> str:
    return measure.meaning.replace("{outcome}", text(_outcome(card)))


def _confusion(card: Card, quality: Card) -> str:
    threshold = quality.get("threshold")
    yes = quality.get("true_positives"), quality.get("false_negatives")
    no = quality.get("false_positives"), quality.get("true_negatives")
    return table(
        "Users above and below the threshold "
        f"{compact(threshold)}: a probability from there on counts as a yes.",
        ("", "Above", "Below"),
        [
            (f"Those who {text(_outcome(card))}", count(yes[0]), count(yes[1])),
            ("The others", count(no[0]), count(no[1])),
        ],
    )


def _comparison(verdict: Card) -> str:
    version = verdict.get("compared_version")
    if version is None:
        return '<p class="note">There was no champion to compare it with.</p>'
    difference = verdict.get("roc_auc_difference")
    if not _present(difference):
        return (
            f'<p class="note">It was compared with the champion, version '
            f"{text(version)}, but {_DASH}: a difference could not be measured.</p>"
        )
    sign = "+" if difference > 0 else ""
    interval = _interval(verdict, "roc_auc_difference", 4)
    return (
        f'<p class="note">Against the champion, version {text(version)}, on the same '
        f"users: ROC AUC {sign}{decimals(4)(difference)}"
        f"{f' (interval {interval})' if interval else ''}.</p>"
    )


def _deciles(quality: Card) -> list[Card]:
    return sorted(
        _list(quality, "lift"), key=lambda d: -_value(d.get("mean_probability"))
    )


def _lift_chart(quality: Card) -> str:
    bars = [
        Bar(
            name=f"Group {d.get('decile')}",
            value=d.get("lift"),
            shown=f"{decimals(2)(d.get('lift'))}×"
            if d.get("lift") is not None
            else _DASH,
        )
        for d in _deciles(quality)
    ]
    if not bars:
        return f"<p>{_DASH} No groups: {_reason(quality, 'lift')}.</p>"
    described = ", ".join(f"{bar.name}: {bar.shown}" for bar in bars)
    return _figure(
        "Lift by group",
        bars_svg(
            bars,
            title="Lift by group of users",
            description=f"The highest probabilities first. {described}.",
            reference=1.0,
            reference_name="average",
        ),
        "The highest probabilities come first.",
    )


def _lift_table(card: Card, quality: Card) -> str:
    if not _list(quality, "lift"):
        return ""
    return table(
        "The same groups in numbers.",
        (
            *("Group", "Users", "Promised"),
            f"Who {text(_outcome(card))}",
            *("Rate", "Lift"),
        ),
        [
            (
                text(d.get("decile")),
                _shared(d.get("users")),
                percent(d.get("mean_probability")),
                _shared(d.get("conversions")),
                percent(_ratio(d.get("conversions"), d.get("users"))),
                decimals(2)(d.get("lift")),
            )
            for d in _deciles(quality)
        ],
    )


def _shared(value: Number) -> str:
    """Write a count that may be a fraction: of one decimal where it is small."""
    if not _present(value) or value >= 1000 or abs(value - round(value)) < 1e-9:
        return count(value)
    return decimals(1)(value)


def _points(points: Iterable[Sequence[Number]]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points if _present(x) and _present(y)]


def _curves(card: Card, quality: Card) -> str:
    curves = _part(card, "curves")
    base_rate = quality.get("base_rate")
    unit = (0.0, 1.0)
    roc = _points(_list(curves, "roc"))
    pr = _points(_list(curves, "pr"))
    promised = _points(
        (c.get("mean_probability"), c.get("rate")) for c in _list(curves, "calibration")
    )
    nothing = f"<p>{_DASH} No curve: {_reason(quality, 'roc_auc')}.</p>"
    drawn = []
    drawn.append(
        _figure(
            "ROC",
            line_svg(
                [Line([(0, 0), (1, 1)], "guide"), Line(roc)],
                title="ROC curve",
                description=(
                    f"Those who {_outcome(card)} against the others, over all "
                    f"thresholds; area {decimals(3)(quality.get('roc_auc'))}."
                ),
                x_label="Share above, of the others",
                y_label=f"Share above, of those who {_outcome(card)}",
                x_range=unit,
                y_range=unit,
            ),
            "The further above the dashed line, a coin, the better. "
            f"Area {decimals(3)(quality.get('roc_auc'))}.",
        )
        if roc
        else f"<div><h3>ROC</h3>{nothing}</div>"
    )
    guides = (
        [Line([(0, base_rate), (1, base_rate)], "guide")] if _present(base_rate) else []
    )
    drawn.append(
        _figure(
            "Precision and recall",
            line_svg(
                [*guides, Line(pr)],
                title="Precision against recall",
                description=(
                    f"Share of those above who {_outcome(card)} against share of those "
                    f"who {_outcome(card)} who are above; area "
                    f"{decimals(3)(quality.get('pr_auc'))}."
                ),
                x_label=f"Share of those who {_outcome(card)} (recall)",
                y_label=f"Share who {_outcome(card)} (precision)",
                x_range=unit,
                y_range=unit,
            ),
            f"The dashed line is the base rate, {percent(base_rate)}. "
            f"Area {decimals(3)(quality.get('pr_auc'))}.",
        )
        if pr
        else f"<div><h3>Precision and recall</h3>{nothing}</div>"
    )
    reach = _round_up(max((v for point in promised for v in point), default=1.0))
    listed = ", ".join(f"{percent(x)} promised, {percent(y)} came" for x, y in promised)
    drawn.append(
        _figure(
            "Calibration",
            line_svg(
                [
                    Line([(0, 0), (reach, reach)], "guide"),
                    Line(promised, has_dots=True),
                ],
                title="Calibration curve",
                description=f"What was promised and what came: {listed}.",
                x_label="Promised (mean probability)",
                y_label=f"Came (share who {_outcome(card)})",
                x_range=(0.0, reach),
                y_range=(0.0, reach),
            ),
            "On the dashed line, what is promised is what comes. "
            f"Dots are groups of {_sizes(_list(curves, 'calibration'))}.",
        )
        if promised
        else f"<div><h3>Calibration</h3>{nothing}</div>"
    )
    return "".join(drawn)


def _round_up(value: float) -> float:
    """Find the end of an axis that divides well into four, at most 1."""
    ends = (0.004, 0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.2, 0.28, 0.4, 0.6, 0.8)
    return next((end for end in ends if end >= value), 1.0)


def _sizes(groups: Sequence[Card]) -> str:
    users = [g["users"] for g in groups if _present(g.get("users"))]
    if not users:
        return "users"
    low, high = min(users), max(users)
    return f"{count(low)}{f' to {count(high)}' if high > low else ''} users"


def _parameters(parameters: Card) -> str:
    return ", ".join(
        f"<code>{text(name)}={text(value)}</code>" for name, value in parameters.items()
    )


def _candidates(card: Card) -> str:
    candidates = _list(card, "candidates")
    if not candidates:
        return f"<p>{_DASH} No candidates are recorded.</p>"
    figures = ("roc_auc", "pr_auc", "log_loss", "brier")
    chosen = next((i for i, c in enumerate(candidates) if c.get("chosen")), None)
    rows = [
        (
            f"{text(c.get('name'))}{' (chosen)' if c.get('chosen') else ''}"
            f"<small>{text(c.get('algorithm', ''))} "
            f"{_parameters(_part(c, 'parameters'))}</small>",
            decimals(3)(c.get("roc_auc")),
            decimals(3)(c.get("pr_auc")),
            decimals(4)(c.get("log_loss")),
            decimals(4)(c.get("brier")),
            f"{decimals(1)(c.get('fit_seconds'))} s"
            if _present(c.get("fit_seconds"))
            else _DASH,
        )
        for c in candidates
    ]
    lacking = any(not _present(c.get(key)) for c in candidates for key in figures)
    return table(
        "Candidates. Higher ROC AUC and PR AUC, lower log loss and Brier are better.",
        ("Candidate", "ROC AUC", "PR AUC", "Log loss", "Brier", "Fit"),
        rows,
        chosen=chosen,
        is_wide=True,
    ) + (
        f'<p class="note">{_DASH} The rows that judge candidates did not allow this '
        "figure, for instance because they hold one class.</p>"
        if lacking
        else ""
    )


def _calibrations(card: Card) -> str:
    tried = _list(card, "calibrations")
    if not tried:
        return (
            f'<p class="note">Calibration: {text(card.get("calibration", _DASH))}.</p>'
        )
    chosen = next(
        (i for i, c in enumerate(tried) if c.get("name") == card.get("calibration")),
        None,
    )
    return table(
        "Ways to turn its scores into probabilities; the lowest log loss wins.",
        ("Calibration", "Log loss"),
        [
            (
                text(c.get("name")) + (" (chosen)" if i == chosen else ""),
                decimals(4)(c.get("log_loss")),
            )
            for i, c in enumerate(tried)
        ],
        chosen=chosen,
    )


def _baselines(card: Card, quality: Card) -> str:
    baselines = _list(card, "baselines")
    if not baselines:
        return ""
    rows = [(text(b.get("name")), decimals(3)(b.get("roc_auc"))) for b in baselines]
    rows.append(("This model", decimals(3)(quality.get("roc_auc"))))
    return table(
        "Simpler rankings on the holdout.",
        ("Ranking", "ROC AUC"),
        rows,
        chosen=len(rows) - 1,
    )


def _importance(card: Card) -> str:
    features = sorted(_list(card, "importance"), key=lambda f: -_value(f.get("mean")))
    if not features:
        return f"<p>{_DASH} No importance was measured.</p>"
    write = decimals(4)
    bars = []
    for f in features:
        mean, std = f.get("mean"), f.get("std")
        spans = _present(mean) and _present(std)
        bars.append(
            Bar(
                name=str(f.get("feature")),
                value=mean,
                shown=f"{write(mean)} ± {write(std)}",
                low=mean - std if spans else None,
                high=mean + std if spans else None,
            )
        )
    half = len(bars) if len(bars) <= 12 else (len(bars) + 1) // 2
    reach = max((_value(bar.high) for bar in bars), default=0)
    parts = []
    for i, some in enumerate((bars[:half], bars[half:])):
        if some:
            listed = ", ".join(f"{bar.name} {bar.shown}" for bar in some)
            parts.append(
                bars_svg(
                    some,
                    title=f"Importance of features, {('most', 'least')[i]} important",
                    description=f"Loss of ROC AUC by feature: {listed}.",
                    longest=reach,
                )
            )
    return f'<div class="pair">{"".join(f"<div>{p}</div>" for p in parts)}</div>'


def _dataset(card: Card, dataset: Card) -> str:
    if not dataset:
        return f"<p>{_DASH} The data set was not described.</p>"
    numbers, categories = _list(dataset, "numbers"), _list(dataset, "categories")
    rows = _part(card, "rows")
    weighted = (
        " Rows are weighted: some of the users were left out, and those kept stand for "
        "them. Shares, means and rates are those of all users."
        if dataset.get("is_weighted")
        else ""
    )
    used = ", ".join(
        f"{count(rows.get(part))} {name}"
        for part, name in (
            ("train", "to fit"),
            ("calibrate", "to choose and calibrate"),
            ("holdout", "held out"),
        )
        if rows.get(part) is not None
    )
    used = f" Of all rows, training used {used}." if used else ""
    intro = (
        f"<p>{count(dataset.get('rows'))} rows of "
        f"{_plural(dataset.get('users'), 'user')}, one for each user and date, with "
        f"{_plural(len(numbers) + len(categories), 'feature')}. "
        f"{count(dataset.get('conversions'))} rows are of users who "
        f"{text(_outcome(card))}: a base rate of "
        f"{percent(dataset.get('base_rate'))}.{used}{weighted}</p>"
    )
    ranked = _ranked(card, numbers)
    return (
        intro
        + _snapshots(card, dataset)
        + _missing(numbers, categories)
        + _histograms(ranked, noun="user", yes=f"those who {text(_outcome(card))}")
        + _numbers(numbers)
        + _categories(card, categories, dataset)
        + _correlations(card, ranked, dataset)
    )


def _ranked(card: Card, numbers: Sequence[Card]) -> list[Card]:
    """Order features by importance, as read before; unknown ones come last."""
    order = {f.get("feature"): _value(f.get("mean")) for f in _list(card, "importance")}
    return sorted(numbers, key=lambda n: -order.get(n.get("feature"), -math.inf))


def _snapshots(card: Card, dataset: Card) -> str:
    dates = _list(dataset, "as_ofs")
    if not dates:
        return f"<p>{_DASH} There are no rows.</p>"
    role = {
        str(date): name
        for part, name in (
            ("train", "fit"),
            ("calibrate", "choose, calibrate"),
            ("holdout", "hold out"),
        )
        for date in _list(_part(card, "split"), part)
    }
    points = _points((i, d.get("base_rate")) for i, d in enumerate(dates))
    last = len(dates) - 1
    ends = [str(dates[i].get("as_of")) for i in (0, last)]
    # A date is wide: the first would otherwise reach over the axis.
    ticks = (
        [(0.13 * last, ends[0]), (float(last), ends[1])] if last else [(0.3, ends[0])]
    )
    highest = max((y for _, y in points), default=1.0)
    chart = _figure(
        "Base rate by date",
        line_svg(
            [Line(points, has_dots=last < 40)],
            title="Base rate by date",
            description=(
                f"Share of users who {_outcome(card)}, by the date their features are "
                f"true for, from {text(dates[0].get('as_of'))} to "
                f"{text(dates[last].get('as_of'))}."
            ),
            x_label="Date that features are true for",
            y_label=f"Share who {_outcome(card)}",
            x_range=(0, last) if last else (-1, 1),
            y_range=(0, _round_up(highest)),
            x_ticks=ticks,
        ),
        f"From {percent(min((y for _, y in points), default=None))} to "
        f"{percent(max((y for _, y in points), default=None))}.",
    )
    listed = table(
        "Rows by date, and what they were used for.",
        ("Date", "Used to", "Rows", f"Who {text(_outcome(card))}", "Base rate"),
        [
            (
                f'<span class="date">{text(d.get("as_of"))}</span>',
                role.get(str(d.get("as_of")), _DASH),
                count(d.get("rows")),
                count(d.get("conversions")),
                percent(d.get("base_rate")),
            )
            for d in dates
        ],
        texts=2,
    )
    return f'<div class="pair">{chart}<div>{listed}</div></div>'


def _missing(numbers: Sequence[Card], categories: Sequence[Card]) -> str:
    lacking = sorted(
        (f for f in (*numbers, *categories) if (f.get("missing") or 0) > 0),
        key=lambda f: -f["missing"],
    )
    if not lacking:
        return _heading("Missing values") + "<p>No feature has missing values.</p>"
    listed = ", ".join(f"{f['feature']} {percent(f['missing'])}" for f in lacking)
    return (
        _heading("Missing values")
        + f"<p>{len(lacking)} of {_plural(len(numbers) + len(categories), 'feature')} "
        "have missing values. Shares of all rows.</p>"
        + bars_svg(
            [
                Bar(str(f["feature"]), f["missing"], percent(f["missing"]))
                for f in lacking
            ],
            title="Missing values by feature",
            description=f"Share of rows without a value: {listed}.",
        )
    )


def _heading(name: str) -> str:
    return f'<h3 class="part">{name}</h3>'


_SCALES = {
    "constant": "one value",
    "integer": "a bar a value",
    "linear": "linear scale",
    "log": "logarithmic scale",
    "symmetric log": "logarithmic on both sides of zero",
}


def _histograms(numbers: Sequence[Card], *, noun: str, yes: str) -> str:
    if not numbers:
        return ""
    drawn = numbers[:DRAWN_FEATURES]
    others = len(numbers) - len(drawn)
    cards = []
    for n in drawn:
        name, histogram = text(n.get("feature")), n.get("histogram")
        if not histogram:
            cards.append(
                f'<figure><h3 class="name">{name}</h3>'
                f"<figcaption>{_DASH} It has no finite value.</figcaption></figure>"
            )
            continue
        by_label = [histogram.get("share_0"), histogram.get("share_1")]
        scale = str(histogram.get("scale"))
        chart = histogram_svg(
            histogram["edges"],
            by_label if any(by_label) else [histogram.get("share")],
            title=f"Distribution of {n.get('feature')}",
            description=(
                f"Share of {noun}s by value, {_SCALES.get(scale, scale)}, from "
                f"{compact(n.get('min'))} to {compact(n.get('max'))}, "
                f"median {compact(n.get('median'))}."
            ),
            is_discrete=scale == "integer",
        )
        cards.append(
            f'<figure><h3 class="name">{name}</h3>{chart}<figcaption>'
            f"{_SCALES.get(scale, text(scale))}, {percent(n.get('missing'))} missing"
            "</figcaption></figure>"
        )
    left_out = (
        f" The {DRAWN_FEATURES} most important are drawn; {others} more are in the "
        "table."
        if others > 0
        else ""
    )
    return (
        _heading(f"Numbers, of {yes} and of the others")
        + f'<p><span class="key yes"></span>{yes} '
        '<span class="key no"></span>the others. Each adds up to 100%; the number '
        f"above a chart is its highest bar.{left_out}</p>"
        + f'<div class="cards">{"".join(cards)}</div>'
    )


def _numbers(numbers: Sequence[Card]) -> str:
    if not numbers:
        return ""
    infinite = any((n.get("infinite") or 0) > 0 for n in numbers)
    shares = ["missing", *(["infinite"] if infinite else []), "zeros"]
    sizes = ["min", "q25", "median", "mean", "q75", "max"]
    return _heading("Numbers in figures") + table(
        "Shares of all rows; the rest of the finite values. The last column is the "
        "rank correlation with the label.",
        (
            "Feature",
            *(share.capitalize() for share in shares),
            *("Lowest", "25%", "Median", "Mean", "75%", "Highest"),
            "With label",
        ),
        [
            (
                text(n.get("feature")),
                *(percent(n.get(key)) for key in shares),
                *(compact(n.get(key)) for key in sizes),
                decimals(2)(n.get("label_correlation")),
            )
            for n in numbers
        ],
        is_wide=True,
    )


def _categories(card: Card, categories: Sequence[Card], dataset: Card) -> str:
    if not categories:
        return ""
    tables = []
    for c in categories:
        rows = [
            (
                text(v.get("value")) or "(empty)",
                count(v.get("rows")),
                percent(v.get("share")),
                percent(v.get("rate")),
            )
            for v in _list(c, "values")
        ]
        rest = c.get("rest")
        if rest:
            rows.append(
                (
                    f"<i>{_plural(rest.get('n_values'), 'other value')}</i>",
                    count(rest.get("rows")),
                    percent(rest.get("share")),
                    percent(rest.get("rate")),
                )
            )
        tables.append(
            f'<div><h3 class="name">{text(c.get("feature"))}</h3>'
            + table(
                f"{_plural(c.get('n_values'), 'value')}, "
                f"{percent(c.get('missing'))} missing.",
                ("Value", "Rows", "Share", f"Who {text(_outcome(card))}"),
                rows,
            )
            + "</div>"
            if rows
            else f'<div><h3 class="name">{text(c.get("feature"))}</h3>'
            f"<p>{_DASH} It has no value.</p></div>"
        )
    return (
        _heading("Categories")
        + "<p>The most frequent values; the others are pooled. A value seen with fewer "
        f"than {count(dataset.get('fewest_users'))} users is never shown, and a rate "
        f"of so few is {_DASH}.</p>" + f'<div class="pair">{"".join(tables)}</div>'
    )


def _correlations(card: Card, ranked: Sequence[Card], dataset: Card) -> str:
    found = _part(dataset, "correlations")
    place = {name: i for i, name in enumerate(_list(found, "features"))}
    matrix = _list(found, "matrix")
    shown = [n for n in ranked if n.get("feature") in place][:MAPPED_FEATURES]
    if len(place) < 2 or len(matrix) != len(place) or not shown:
        return ""
    label = f"who {_outcome(card)}"
    names = [label, *(str(n["feature"]) for n in shown)]
    rows: list[list[Number]] = [[1.0, *(n.get("label_correlation") for n in shown)]]
    for n in shown:
        at = matrix[place[n["feature"]]]
        rows.append(
            [n.get("label_correlation"), *(at[place[m["feature"]]] for m in shown)]
        )
    features = list(place)
    pairs = sorted(
        (
            (matrix[i][j], features[j], features[i])
            for i in range(len(features))
            for j in range(i)
            if _present(matrix[i][j])
        ),
        key=lambda pair: -abs(pair[0]),
    )[:CLOSEST_PAIRS]
    left_out = len(place) - len(shown)
    chart = heatmap_svg(
        names,
        rows,
        title="Rank correlations of the numeric features",
        description=(
            f"Each feature with each other one and with {label}. Closest: "
            + "; ".join(f"{a} and {b} {decimals(2)(r)}" for r, a, b in pairs)
            + "."
        ),
    )
    width = 15 * len(names) + 7 * max(min(len(n), _NAME_LENGTH) for n in names) + 8
    closest = table(
        "The closest pairs: each tells much of what the other does.",
        ("Feature", "Feature", "Correlation"),
        [(text(a), text(b), decimals(2)(r)) for r, a, b in pairs],
        texts=2,
    )
    return (
        _heading("Correlations") + "<p>Spearman's rank correlations, from "
        f"{_plural(found.get('rows'), 'row')}. "
        '<span class="key yes"></span>rise together '
        '<span class="key against"></span>one rises as the other falls; '
        "the stronger the colour, the closer."
        + (
            f" The {len(shown)} most important features are drawn."
            if left_out > 0
            else ""
        )
        + '</p><div class="scroll" role="region" aria-label="Correlations" '
        f'tabindex="0"><div style="width:{width}px">{chart}</div></div>'
        + (f'<div class="closest">{closest}</div>' if pairs else "")
    )


def _provenance(card: Card) -> str:
    split = _part(card, "split")
    windows = (
        f"features of {_plural(card.get('lookback_days'), 'day')}, labels of "
        f"{_plural(card.get('horizon_days'), 'day')}, complete after "
        f"{_plural(card.get('settle_days'), 'more day')}"
    )
    of = "rows of users who"
    if card.get("outcomes"):
        windows = (
            f"events of the {_plural(card.get('lookback_days'), 'day')} before; one "
            "without a truth is unknown after "
            f"{_plural(card.get('settle_days'), 'day')}"
        )
        of = "rows that"
    facts = [
        ("Trained", text(_moment(card.get("trained_at")))),
        ("As of", text(card.get("as_of", _DASH))),
        ("Windows", windows),
        ("Fitted on", _dates(split.get("train"))),
        ("Chosen on", _dates(split.get("calibrate"))),
        ("Held out", _dates(split.get("holdout"))),
        (
            "Algorithm",
            f"{text(card.get('algorithm', _DASH))} "
            f"{_parameters(_part(card, 'parameters'))}",
        ),
        ("Calibration", text(card.get("calibration") or "none")),
        *([("Sampling", _sampling(card, of))] if _sampling(card, of) else []),
        ("Cost", _cost(card)),
        (
            "Libraries",
            ", ".join(
                f"{text(name)} {text(version)}"
                for name, version in _part(card, "libraries").items()
            )
            or _DASH,
        ),
    ]
    artifacts = _list(card, "artifacts")
    listed = (
        table(
            "Objects in the bucket. A file with another SHA-256 is refused.",
            ("Artifact", "Object and SHA-256"),
            [
                (
                    text(a.get("name")),
                    f"<code>{text(a.get('object'))}</code><br>"
                    f"<code>{text(a.get('sha256') or _DASH)}</code>",
                )
                for a in artifacts
            ],
            texts=2,
        )
        if artifacts
        else ""
    )
    return f'{_definitions(facts)}<div class="closest">{listed}</div>'


def _sampling(card: Card, of: str) -> str:
    """Say which share of the rows of either class was read, where it was not all."""
    positive = card.get("positive_sampling_rate", 1.0)
    negative = card.get("negative_sampling_rate")
    if not (_present(positive) and _present(negative)) or min(positive, negative) >= 1:
        return ""
    return (
        f"{percent(positive)} of the {of} {text(_outcome(card))}, {percent(negative)} "
        "of the others"
    )


def _cost(card: Card) -> str:
    spent = [
        f"{write(card.get(key))} {unit}"
        for key, write, unit in (
            ("seconds", decimals(1), "seconds"),
            ("bytes_billed", count, "bytes billed by BigQuery"),
        )
        if _present(card.get(key))
    ]
    return ", ".join(spent) or _DASH


# --- The page of a training on events -----------------------------------------------

_EVENT_MEASURES = (
    _Measure(
        "roc_auc",
        "ROC AUC",
        "Chance that one of label 1 is ranked above one of label 0. "
        "0.5 is a coin, 1 is perfect.",
        decimals(3),
    ),
    *(one for one in _MEASURES if one.key in {"pr_auc", "calibration_error", "brier"}),
    *(one for one in _MEASURES if one.key == "log_loss"),
)
_RANKING_MEASURES = tuple(
    one for one in _EVENT_MEASURES if one.key in {"roc_auc", "pr_auc"}
)


def _events_page(card: Card) -> str:
    """Write the page of a model whose rows are events, each scored as it happens."""
    quality, verdict = _part(card, "quality"), _part(card, "verdict")
    promoted = bool(verdict.get("promoted"))
    is_anomaly, noun = bool(card.get("is_anomaly")), _noun(card)
    score = "an anomaly score" if is_anomaly else "a probability to be label 1"
    auc = quality.get("roc_auc")
    body = _template("report_events.html").substitute(
        use_case=text(card.get("use_case", "")),
        about=f" · {text(card['title'])}" if card.get("title") else "",
        version=text(card.get("model_version", _DASH)),
        trained_at=text(_moment(card.get("trained_at"))),
        headline=_alert_headline(card),
        gives=f"This model gives every {text(noun)} {score}.",
        ranking=(
            f"Of one {text(noun)} of label 1 and one of label 0, it ranks the right "
            f"one higher {100 * auc:.0f} times in 100."
            if _present(auc)
            else ""
        ),
        warm=(
            ""
            if card.get("is_warm", True)
            else "It has not seen enough yet: all its scores are unknown."
        ),
        verdict="Promoted" if promoted else "Not promoted",
        verdict_class="good" if promoted else "wait",
        verdict_reason=_sentence(verdict.get("reason")),
        tiles=_event_tiles(card, quality),
        holdout=_plural(quality.get("users"), text(noun)),
        holdout_dates=_dates(_part(card, "split").get("holdout")),
        metrics=_metrics(
            card,
            quality,
            _RANKING_MEASURES if is_anomaly else _EVENT_MEASURES,
            why=_event_reason(card),
        ),
        comparison=_comparison(verdict),
        alerts=_alerts(card, noun),
        curves=_event_curves(card, quality),
        candidates=_candidates(card),
        calibrations="" if is_anomaly else _calibrations(card),
        baselines=_baselines(card, quality),
        importance=_importance(card),
        dataset=_events(card, noun),
        provenance=_provenance(card),
    )
    title = f"{card.get('use_case', '')} model {card.get('model_version', '')}"
    return _template("report.html").substitute(title=text(title), body=body)


def _noun(card: Card) -> str:
    """Name what a row is."""
    return str(card.get("entity") or "event").removesuffix("_id")


def _alert_headline(card: Card) -> str:
    alerts = _list(card, "alerts")
    last = alerts[-1] if alerts else {}
    if not _present(last.get("recall")):
        return (
            f"How well this model ranks {text(_noun(card))}s could not be measured: "
            f"{_event_reason(card)}."
        )
    return (
        f"The {percent(last.get('rate'))} of {text(_noun(card))}s that score highest "
        f"hold {percent(last.get('recall'))} of those that {text(_outcome(card))}; "
        f"{percent(last.get('precision'))} of these alerts are right."
    )


def _event_reason(card: Card) -> str:
    """Say why a figure of the rows held out does not exist."""
    if not card.get("is_warm", True):
        return "the model is not warm"
    quality = _part(card, "quality")
    if not quality.get("users"):
        return "no row held out has a known truth"
    if quality.get("conversions") in (0, quality.get("users")):
        return "the rows held out are of one class"
    return "not measured"


def _event_tiles(card: Card, quality: Card) -> str:
    alerts = _list(card, "alerts")
    last = alerts[-1] if alerts else {}
    shown = [
        ("ROC AUC", decimals(3)(quality.get("roc_auc")), _interval(quality, "roc_auc")),
        ("PR AUC", decimals(3)(quality.get("pr_auc")), _interval(quality, "pr_auc")),
        (
            f"Recall at {percent(last.get('rate'))} alerts",
            percent(last.get("recall")),
            f"precision {percent(last.get('precision'))}"
            if _present(last.get("recall"))
            else "",
        ),
        (
            "Base rate",
            percent(quality.get("base_rate")),
            f"{count(quality.get('conversions'))} of {count(quality.get('users'))}"
            if quality.get("users")
            else "",
        ),
    ]
    return "".join(
        f'<li class="tile"><span>{name}</span><strong>{value}</strong>'
        f"<span>{note or _event_reason(card)}</span></li>"
        for name, value, note in shown
    )


def _alerts(card: Card, noun: str) -> str:
    alerts = _list(card, "alerts")
    if not alerts:
        return f"<p>{_DASH} No alerts: {_event_reason(card)}.</p>"
    return table(
        f"Alerts at fixed rates: the {text(noun)}s that score highest are looked at. "
        "The cost is the amounts of what was missed, and of every look; without any "
        f"alert it is {compact(alerts[0].get('cost_without'))}.",
        ("Alert rate", "Alerts", "Right", "Recall", "Precision", "Cost"),
        [
            (
                percent(one.get("rate")),
                compact(one.get("alerts")),
                compact(one.get("true_positives")),
                percent(one.get("recall")),
                percent(one.get("precision")),
                compact(one.get("cost")),
            )
            for one in alerts
        ],
    )


def _event_curves(card: Card, quality: Card) -> str:
    curves, base_rate = _part(card, "curves"), quality.get("base_rate")
    unit = (0.0, 1.0)
    shown = (
        (
            "ROC",
            "roc",
            [Line([(0, 0), (1, 1)], "guide")],
            ("Share of label 0 above", "Share of label 1 above"),
            "The further above the dashed line, a coin, the better.",
        ),
        (
            "Precision and recall",
            "pr",
            [Line([(0, base_rate), (1, base_rate)], "guide")]
            if _present(base_rate)
            else [],
            ("Recall", "Precision"),
            f"The dashed line is the base rate, {percent(base_rate)}.",
        ),
    )
    drawn = []
    for heading, key, guides, (x_label, y_label), caption in shown:
        points = _points(_list(curves, key))
        area = decimals(3)(quality.get(f"{key}_auc"))
        drawn.append(
            _figure(
                heading,
                line_svg(
                    [*guides, Line(points)],
                    title=f"{heading} curve",
                    description=f"{y_label} against {x_label}; area {area}.",
                    x_label=x_label,
                    y_label=y_label,
                    x_range=unit,
                    y_range=unit,
                ),
                f"{caption} Area {area}.",
            )
            if points
            else f"<div><h3>{heading}</h3><p>{_DASH} No curve: {_event_reason(card)}."
            "</p></div>"
        )
    return "".join(drawn)


def _events(card: Card, noun: str) -> str:
    """Describe the data set of a training on events."""
    dataset, found = _part(card, "dataset"), _part(card, "outcomes")
    numbers, categories = _list(dataset, "numbers"), _list(dataset, "categories")
    rows = _part(card, "rows")
    intro = (
        f"<p>{_plural(dataset.get('rows'), text(noun))}, each once, with "
        f"{_plural(len(numbers) + len(categories), 'feature')}. The truth of "
        f"{count(found.get('known'))} is known, and "
        f"{count(dataset.get('conversions'))} of them {text(_outcome(card))}; "
        f"{count(found.get('conflicting'))} were told to be both, and the latest "
        f"counts. {count(found.get('unknown'))} stay unknown, "
        f"{count(found.get('pending'))} are too young to tell; none of these is taken "
        "for label 0. Training used "
        f"{count(rows.get('train'))} rows to fit, and of those whose truth is known "
        f"{count(rows.get('calibrate'))} to choose and {count(rows.get('holdout'))} "
        "to hold out.</p>"
    )
    ranked = _ranked(card, numbers)
    return (
        intro
        + _missing(numbers, categories)
        + _histograms(ranked, noun=text(noun), yes=f"those that {text(_outcome(card))}")
        + _numbers(numbers)
    )
