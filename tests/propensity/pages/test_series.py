"""Charts of things in time, specified: they hold what they are given."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.pages.series import Series, columns_svg, series_svg, ticks_of
from propensity.pages.words import count, decimals, percent

NUMBERS = st.floats(-1e9, 1e9) | st.none()
WORDS = {"title": "t", "description": "d", "y_label": "y"}


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def places(svg: str) -> list[float]:
    """Every number of a path, a circle or a rectangle."""
    matches = re.findall(r'\b(?:d|x|y|cx|cy|width|height)="([^"]*)"', svg)
    return [float(n) for part in matches for n in re.findall(r"-?\d+(?:\.\d+)?", part)]


def line(*values, **more) -> str:
    times = [f"{n}" for n in range(len(values))]
    return series_svg([Series(name="n", values=values, **more)], times, **WORDS)


class TestTicks:
    @given(st.lists(st.floats(-1e12, 1e12), min_size=1))
    def test_enclose_all_values_in_a_few_equal_steps(self, values):
        """However large or small they are."""
        ticks = ticks_of(values)
        step = ticks[1] - ticks[0]

        assert ticks[0] <= min(values) + step * 1e-6
        assert ticks[-1] >= max(values) - step * 1e-6
        assert 3 <= len(ticks) <= 8

    def test_are_round(self):
        """As people count."""
        assert ticks_of([0.0, 87.0]) == [0.0, 25.0, 50.0, 75.0, 100.0]

    @pytest.mark.parametrize(
        ("values", "write", "labels"),
        [
            ([0, 1], count, ["0", "1", "2"]),
            ([0, 10], count, ["0", "5", "10"]),
            ([0.01, 0.02], percent, ["1.0%", "1.5%", "2.0%"]),
            ([0.7512, 0.7514], decimals(3), ["0.751", "0.752", "0.753"]),
        ],
    )
    def test_are_where_their_labels_say(self, values, write, labels):
        """Defect: a chart of up to ten users had lines at 2.5 and 7.5, labelled 2 and
        8, and one of a single user had two labelled 0."""
        assert [write(tick) for tick in ticks_of(values, write)] == labels

    def test_of_one_value_leave_room_around_it(self):
        """A line that is level is in the middle, and not on an edge."""
        ticks = ticks_of([0.8])

        assert ticks[0] < 0.8 < ticks[-1]


class TestSeries:
    @given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=80))
    def test_stay_within_the_chart(self, rows):
        """Whatever is missing, nothing is drawn outside, and it can be parsed."""
        values, low, high = zip(*rows, strict=True)
        svg = line(*values, low=low, high=high)

        assert drawn(svg).get("role") == "img"
        assert all(-20 <= place <= 380 for place in places(svg))

    def test_break_where_there_is_no_value(self):
        """A week without figures is a gap, and no straight line over it."""
        assert line(0.1, 0.2, None, 0.3, 0.4).count('class="line"') == 2

    def test_have_a_band_for_the_interval(self):
        """And an upright line where a week stands alone."""
        both = line(0.1, 0.2, low=[0.0, 0.1], high=[0.2, 0.3])
        alone = line(0.1, None, low=[0.0, None], high=[0.2, None])

        assert (both.count('class="band"'), both.count('class="whisker"')) == (1, 0)
        assert (alone.count('class="band"'), alone.count('class="whisker"')) == (0, 1)

    def test_name_their_points_until_there_are_many(self):
        """A title for who hovers; sixty dots would hide the line."""
        assert "0, n: 10.0%" in line(0.1, 0.2)
        assert "circle" not in line(*([0.5] * 60))

    def test_write_names_as_words(self):
        """A name from data is no markup."""
        svg = series_svg([Series(name="<b>", values=[1.0])], ["<i>"], **WORDS)

        assert "<b>" not in svg
        assert "<i>" not in svg
        drawn(svg)


class TestColumns:
    @given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=200))
    def test_stay_within_the_chart(self, rows):
        """What is below nothing is no column."""
        values, above = zip(*rows, strict=True)
        times = ["t"] * len(values)
        svg = columns_svg(values, times, write=count, above=above, **WORDS)

        drawn(svg)
        assert all(-20 <= place <= 380 for place in places(svg))

    def test_stand_on_each_other(self):
        """The second height begins where the first ends."""
        svg = columns_svg([3], ["t"], write=percent, above=[1], **WORDS)
        lower, upper = [
            (float(box.get("y")), float(box.get("height")))
            for box in drawn(svg).iter("rect")
        ]

        assert upper[0] + upper[1] == pytest.approx(lower[0], abs=0.2)
        assert lower[1] == pytest.approx(3 * upper[1], rel=0.02)
