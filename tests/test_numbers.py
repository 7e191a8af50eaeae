"""
Numbers as people write them, specified.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.numbers import real_of, whole_of, whole_within


class TestWholeNumbers:
    @given(st.integers(-(10**18) + 1, 10**18 - 1))
    def test_are_read_as_they_are_written(self, number):
        """With a sign or without, up to 18 digits."""
        assert whole_of(str(number)) == number
        assert whole_of(f"{number:+d}") == number

    @pytest.mark.parametrize(
        "text", ["", "1_0", "٣", "５", "1.0", "1e3", "0x10", " 1", "1\n", "9" * 5000]
    )
    def test_are_nothing_else(self, text):
        """Neither what Python's int takes besides, nor what it fails on."""
        assert whole_of(text) is None

    @given(st.integers(-99, 99), st.integers(-99, 99), st.integers(-99, 99))
    def test_are_within_bounds(self, number, least, most):
        """Both of which are included."""
        value = whole_of(str(number), least, most)

        assert value == (number if number in range(least, most + 1) else None)
        assert real_of(str(number), least, most) == value

    @given(st.integers(-9, 99), st.integers(0, 99), st.none() | st.integers(0, 99))
    def test_after_an_option_have_no_sign(self, number, least, most):
        """Else a sign would be taken for a change by so much."""
        read = whole_within(least, most)
        is_within = least <= number and (most is None or number <= most)

        for text in (f"{number}", f"{number:+d}"):
            if is_within and text[0] != "+":
                assert read(text) == number
            else:
                with pytest.raises(ValueError, match=f"of {least} (or more|to )"):
                    read(text)

    @pytest.mark.parametrize("text", ["+1", "-0", "1_0", ""])
    def test_have_the_words_of_whoever_reads_them(self, text):
        """With the name of what they count."""
        with pytest.raises(ValueError, match="^days must be .* from 0 to 9"):
            whole_within(0, 9, what="days")(text)


class TestNumbers:
    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_are_read_as_they_are_written(self, number):
        """To the last bit."""
        assert real_of(repr(number)) == number

    @pytest.mark.parametrize(
        "text", ["", ".", "1_0", "٠.٥", "1,5", "nan", "inf", "0x1p3", " 1", "1\n"]
    )
    def test_are_nothing_else(self, text):
        """Neither what Python's float takes besides, nor what is no number."""
        assert real_of(text) is None

    def test_may_be_too_large(self):
        """That is for the bounds of whoever reads it."""
        assert real_of("1e999") == math.inf
