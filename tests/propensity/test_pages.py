"""Charts and words of pages: what is drawn is where and as long as its value says."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.pages.page import ChartLine, histogram_svg, lines_svg, ticks
from propensity.pages.words import abbreviate, amount, count, decimals, percent

NUMBERS = st.floats(-1e9, 1e9) | st.none()


def places(svg: str) -> list[float]:
    """Every number of a path, a circle or a rectangle."""
    matches = re.findall(r'\b(?:d|x|y|cx|cy|width|height)="([^"]*)"', svg)
    return [float(n) for part in matches for n in re.findall(r"-?\d+(?:\.\d+)?", part)]


def line(*values, **more) -> str:
    times = [f"{n}" for n in range(len(values))]
    return lines_svg([ChartLine(name="n", y=values, **more)], title="t", times=times)


@pytest.mark.parametrize(
    ("values", "write", "labels"),
    [
        ([0, 87], count, ["0", "20", "40", "60", "80", "100"]),
        ([0, 1], count, ["0", "1", "2"]),
        ([0, 10], count, ["0", "2", "4", "6", "8", "10"]),
        ([0.01, 0.02], percent, ["1.0%", "1.2%", "1.4%", "1.6%", "1.8%", "2.0%"]),
        ([0.7512, 0.7514], decimals(3), ["0.751", "0.752", "0.753"]),
    ],
)
def test_ticks_are_where_their_labels_say(values, write, labels) -> None:
    """Defect: a chart of up to ten users had lines at 2.5 and 7.5, labelled 2 and 8,
    and one of a single user had two labelled 0."""
    found = ticks(values, write)

    assert [write(tick) for tick in found] == labels
    for tick, label in zip(found, labels, strict=True):
        shown = float(label.rstrip("%")) / (100 if "%" in label else 1)
        assert tick == pytest.approx(shown, abs=1e-9)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=80))
def test_lines_stay_within_the_chart(rows) -> None:
    """Whatever is missing, nothing is drawn outside, and it can be parsed; so can a
    histogram of one bin."""
    values, low, high = zip(*rows, strict=True)
    svg = line(*values, low=low, high=high)

    for picture in (svg, histogram_svg([3, 3], [[1.0]], title="t")):
        assert ElementTree.fromstring(picture).get("role") == "img"
    assert all(-20 <= x <= 380 for x in places(svg))


def test_lines_break_where_there_is_no_value() -> None:
    """A week without metrics is a gap; an interval is a band, or of a week that stands
    alone an upright line."""
    both = line(0.1, 0.2, low=[0.0, 0.1], high=[0.2, 0.3])
    alone = line(0.1, None, low=[0.0, None], high=[0.2, None])

    assert line(0.1, 0.2, None, 0.3, 0.4).count('class="line"') == 2
    assert (both.count('class="band"'), both.count('class="whisker"')) == (1, 0)
    assert (alone.count('class="band"'), alone.count('class="whisker"')) == (0, 1)


def test_numbers_are_written_for_people() -> None:
    """Thousands apart, a real minus, no minus zero, few characters."""
    assert count(1234567) == "1,234,567"
    assert percent(0.0042) == "0.42%"
    assert percent(0.3141) == "31.4%"
    assert decimals(2)(-0.001) == "0.00"
    assert decimals(2)(-1.234) == "\N{MINUS SIGN}1.23"
    assert [*map(abbreviate, (999_499, 999_500, 1e9 - 1))] == ["999k", "1M", "1B"]
    assert abbreviate(0.012345) == "0.0123"
    assert abbreviate(-(10.0**300)) == "\N{MINUS SIGN}1.00e+300"
    for write in (count, percent, abbreviate, decimals(1)):
        assert write(None) == write(float("nan")) == write(float("inf")) == "—"


def test_halves_of_money_go_up() -> None:
    """As on a bill; cents are shown of small sums alone."""
    assert [*map(amount, (2.345, 2.335, 100.5, 99.5))] == [
        "2.35",
        "2.34",
        "101",
        "99.50",
    ]
