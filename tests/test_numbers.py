"""
Numbers as people write them, specified.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.numbers import real_of, whole_of


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
