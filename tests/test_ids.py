"""Ids, specified."""

from __future__ import annotations

import pytest

from propensity.ids import NAME, problem_of


class TestAnId:
    @pytest.mark.parametrize(
        "value", ["a", "1029957577.1716168911", "\u00e9" * 256, " "]
    )
    def test_is_any_text_of_256_characters(self, value):
        """Characters count, not bytes."""
        assert problem_of(value) == ""

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            (7, "must be a string"),
            (None, "must be a string"),
            ("", "must not be empty"),
            ("a" * 257, "has at most 256 characters"),
            ("a\nb", "has no control characters"),
            ("\x7f", "has no control characters"),
            ("\ud800", "has no control characters"),
        ],
    )
    def test_is_nothing_else(self, value, problem):
        """What is wrong is said in words that follow a name."""
        assert problem_of(value) == problem


class TestAName:
    @pytest.mark.parametrize(
        ("name", "fits"),
        [("ga4_purchase", True), ("a" * 64, True), ("a" * 65, False), ("4a", False),
         ("A", False), ("a-b", False), ("", False)],
    )  # fmt: skip
    def test_is_that_of_a_folder(self, name, fits):
        """Lower case, digits and underscores, 64 at most, a letter first."""
        assert bool(NAME.fullmatch(name)) is fits
