"""Ids, specified."""

from __future__ import annotations

import ast

import pytest

from propensity.ids import MEANINGLESS, NAME, is_event_name, is_meaningless, problem_of
from propensity.statements import statement


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

    def test_that_means_nothing_is_the_same_in_sql(self):
        """The export's view knows those that the stream refuses, and no others."""
        _, listed = statement("meaningless_ids").split("\n", 1)
        texts = ast.literal_eval(f"({listed.strip()},)")

        assert all(map(is_meaningless, (*texts, " NULL ", "(Not Set)")))
        assert len(texts) == len(MEANINGLESS)


class TestAName:
    @pytest.mark.parametrize(
        ("name", "fits"),
        [("ga4_purchase", True), ("a" * 64, True), ("a" * 65, False), ("4a", False),
         ("A", False), ("a-b", False), ("", False)],
    )  # fmt: skip
    def test_is_that_of_a_folder(self, name, fits):
        """Lower case, digits and underscores, 64 at most, a letter first."""
        assert bool(NAME.fullmatch(name)) is fits


class TestTheNameOfAnEvent:
    @pytest.mark.parametrize(
        "name",
        [
            "purchase",
            "Sign_Up2",
            "inscri\u00e7\u00e3o_conclu\u00edda",
            "\u8cfc\u5165",
            "\u0916\u0930\u0940\u0926",
            "Form Submit",
            "cta-click",
            "a" * 40,
        ],
    )
    def test_is_of_any_language(self, name):
        """GA4 takes letters of each; blanks and hyphens are seen in exports."""
        assert is_event_name(name)

    @pytest.mark.parametrize(
        "name",
        ["", "2nd", "_event", "-a", " a", "a ", "a" * 41, "it's", 'a"b', "a\nb", "a$b",
         "a\\b", "a\ud800"],
    )  # fmt: skip
    def test_is_nothing_else(self, name):
        """It stands in files, statements and commands, where quotes would end it."""
        assert not is_event_name(name)
