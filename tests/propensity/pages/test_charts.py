"""Charts of pages, specified: what is drawn is where and as long as its value says."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from propensity.pages.charts import (
    CURVE_POINTS,
    Bar,
    Line,
    bars_svg,
    histogram_svg,
    line_svg,
)


def within_one(line: Line) -> str:
    """Draw a line in a chart of both axes from 0 to 1."""
    words = {"title": "t", "description": "d", "x_label": "x", "y_label": "y"}
    return line_svg([line], **words, x_range=(0, 1), y_range=(0, 1))


def test_bars_are_as_long_as_their_values() -> None:
    """On one scale, from zero, to the left when negative."""
    bars = [Bar("a", 2.0, "2"), Bar("b", -1.0, "-1")]
    bars.append(Bar("none", None, "—"))
    svg = ET.fromstring(bars_svg(bars, title="t", description="d"))
    first, second = svg.iter("rect")

    assert float(first.get("width", 0)) == pytest.approx(
        2 * float(second.get("width", 0)), abs=0.2
    )
    assert second.get("class") == "bar minus"
    assert "none" in "".join(svg.itertext())


def test_a_line_stays_within_its_chart() -> None:
    """What lies outside of the axes is drawn at their end."""
    line = Line([(-5, -5), (0.5, 0.5), (9, 9)], has_dots=True)
    svg = ET.fromstring(within_one(line))
    width, height = (float(v) for v in svg.get("viewBox", "").split()[2:])

    dots = list(svg.iter("circle"))
    assert len(dots) == 3
    for dot in dots:
        assert 0 <= float(dot.get("cx", -1)) <= width
        assert 0 <= float(dot.get("cy", -1)) <= height


def test_a_long_curve_keeps_its_ends() -> None:
    """It is thinned to what can be seen."""
    svg = within_one(Line([(i / 1e4, i / 1e4) for i in range(10_001)]))
    (path,) = re.findall(r'<path class="line" d="M(.*?)"', svg)
    points = path.split("L")

    assert len(points) == CURVE_POINTS
    assert points[0] == "50 244"
    assert points[-1] == "350 28"


def test_a_histogram_of_one_bin_is_drawn() -> None:
    """The smallest chart is one."""
    ET.fromstring(histogram_svg([3, 3], [[1.0], None], title="t", description="d"))
