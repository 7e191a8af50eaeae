"""Charts and words of pages: what is drawn is where and as long as its value says."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.learning.report.version import version_page
from propensity.learning.report.week import week_page
from propensity.pages.charts import Bar, Line, bars_svg, histogram_svg, line_svg
from propensity.pages.series import Series, series_svg, ticks_of
from propensity.pages.words import compact, count, decimals, percent
from tests.propensity.learning.report_pages import parse
from tests.propensity.learning.test_card import card
from tests.propensity.learning.weeks import report

NUMBERS = st.floats(-1e9, 1e9) | st.none()
WORDS = {"title": "t", "description": "d"}


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def places(svg: str) -> list[float]:
    """Every number of a path, a circle or a rectangle."""
    matches = re.findall(r'\b(?:d|x|y|cx|cy|width|height)="([^"]*)"', svg)
    return [float(n) for part in matches for n in re.findall(r"-?\d+(?:\.\d+)?", part)]


def line(*values, **more) -> str:
    times = [f"{n}" for n in range(len(values))]
    one = Series(name="n", values=values, **more)
    return series_svg([one], times, **WORDS, y_label="y")


def test_bars_are_as_long_as_their_values() -> None:
    """On one scale, from zero, to the left when negative."""
    bars = [Bar("a", 2.0, "2"), Bar("b", -1.0, "-1"), Bar("none", None, "—")]
    svg = drawn(bars_svg(bars, **WORDS))
    first, second = svg.iter("rect")

    assert float(first.get("width", 0)) == pytest.approx(
        2 * float(second.get("width", 0)), abs=0.2
    )
    assert second.get("class") == "bar minus"
    assert "none" in "".join(svg.itertext())


def test_a_line_stays_within_its_chart() -> None:
    """What lies outside of the axes is drawn at their end."""
    curve = Line([(-5, -5), (0.5, 0.5), (9, 9)], has_dots=True)
    labels = {"x_label": "x", "y_label": "y", "x_range": (0, 1), "y_range": (0, 1)}
    svg = line_svg([curve], **WORDS, **labels)

    assert len([*drawn(svg).iter("circle")]) == 3
    assert all(0 <= place <= 360 for place in places(svg))


def test_a_histogram_of_one_bin_is_drawn() -> None:
    drawn(histogram_svg([3, 3], [[1.0], None], **WORDS))


@given(st.lists(st.floats(-1e12, 1e12), min_size=1))
def test_ticks_enclose_all_values_in_a_few_equal_steps(values) -> None:
    ticks = ticks_of(values, compact)
    step = ticks[1] - ticks[0]

    assert ticks[0] <= min(values) + step * 1e-6
    assert ticks[-1] >= max(values) - step * 1e-6
    assert 3 <= len(ticks) <= 8


@pytest.mark.parametrize(
    ("values", "write", "labels"),
    [
        ([0, 87], count, ["0", "25", "50", "75", "100"]),
        ([0, 1], count, ["0", "1", "2"]),
        ([0, 10], count, ["0", "5", "10"]),
        ([0.01, 0.02], percent, ["1.0%", "1.5%", "2.0%"]),
        ([0.7512, 0.7514], decimals(3), ["0.751", "0.752", "0.753"]),
    ],
)
def test_ticks_are_where_their_labels_say(values, write, labels) -> None:
    """Defect: a chart of up to ten users had lines at 2.5 and 7.5, labelled 2 and 8,
    and one of a single user had two labelled 0."""
    ticks = ticks_of(values, write)
    assert [write(tick) for tick in ticks] == labels
    for tick, label in zip(ticks, labels, strict=True):
        shown = float(label.rstrip("%")) / (100 if "%" in label else 1)
        assert tick == pytest.approx(shown, abs=1e-9)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=80))
def test_series_stay_within_the_chart(rows) -> None:
    """Whatever is missing, nothing is drawn outside, and it can be parsed."""
    values, low, high = zip(*rows, strict=True)
    svg = line(*values, low=low, high=high)

    assert drawn(svg).get("role") == "img"
    assert all(-20 <= place <= 380 for place in places(svg))


def test_series_break_where_there_is_no_value() -> None:
    """A week without figures is a gap; an interval is a band, or of a week that stands
    alone an upright line."""
    both = line(0.1, 0.2, low=[0.0, 0.1], high=[0.2, 0.3])
    alone = line(0.1, None, low=[0.0, None], high=[0.2, None])

    assert line(0.1, 0.2, None, 0.3, 0.4).count('class="line"') == 2
    assert (both.count('class="band"'), both.count('class="whisker"')) == (1, 0)
    assert (alone.count('class="band"'), alone.count('class="whisker"')) == (0, 1)


def test_series_write_names_as_words() -> None:
    """Points have a title until there are many; a name from data is no markup."""
    odd = [Series(name="<b>", values=[1.0])]
    svg = series_svg(odd, ["<i>"], **WORDS, y_label="y")

    assert "0, n: 10.0%" in line(0.1, 0.2)
    assert "circle" not in line(*([0.5] * 60))
    assert "<b>" not in svg
    assert "<i>" not in svg
    drawn(svg)


def test_numbers_are_written_for_people() -> None:
    """Thousands apart, a real minus, no minus zero, few characters."""
    assert count(1234567) == "1,234,567"
    assert percent(0.0042) == "0.42%"
    assert percent(0.3141) == "31.4%"
    assert decimals(2)(-0.001) == "0.00"
    assert decimals(2)(-1.234) == "\N{MINUS SIGN}1.23"
    assert compact(1234567) == "1.23M"
    assert [*map(compact, (999_499, 999_500, 1e9 - 1))] == ["999k", "1M", "1B"]
    assert compact(0.012345) == "0.0123"
    assert compact(-(10.0**300)) == "\N{MINUS SIGN}1.00e+300"
    for write in (count, percent, compact, decimals(1)):
        assert write(None) == write(float("nan")) == write(float("inf")) == "—"


@pytest.mark.parametrize(
    "page", [lambda: version_page(card()), lambda: week_page(report())]
)
def test_the_policy_stands_before_all_that_it_is_about(page) -> None:
    """A browser takes it from where it stands on; only the encoding goes first."""
    tags = [
        attributes
        for tag, attributes in parse(page()).tags
        if tag not in {"html", "head"}
    ]

    assert tags[0] == {"charset": "utf-8"}
    assert tags[1]["http-equiv"] == "Content-Security-Policy"
    assert str(tags[1]["content"]).startswith("default-src 'none'; ")
