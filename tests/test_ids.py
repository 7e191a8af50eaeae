"""Ids and names, specified."""

from __future__ import annotations

import ast

import pytest

from propensity.ids import MEANINGLESS, is_event_name, is_meaningless, problem_of
from propensity.statements import statement


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("\u00e9" * 256, ""),
        (7, "must be a string"),
        ("", "is empty"),
        ("a" * 257, "is too long: 257 characters; the limit is 256"),
        ("a\nb", "contains a control character; remove it"),
        ("\ud800", "contains a control character; remove it"),
    ],
)
def test_an_id_is_any_text_of_256_characters(value, problem):
    """Not bytes. What is wrong is said in words that follow a name."""
    assert problem_of(value) == problem


def test_an_id_that_means_nothing_is_the_same_in_sql():
    """The export's view knows those that the stream refuses, and no others."""
    _, listed = statement("meaningless_ids").split("\n", 1)
    texts = ast.literal_eval(f"({listed.strip()},)")

    assert all(map(is_meaningless, (*texts, " NULL ", "(Not Set)")))
    assert len(texts) == len(MEANINGLESS)


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        # GA4 takes letters of each language; blanks and hyphens are seen in exports.
        ("Form Submit", True),
        ("cta-click", True),
        ("inscri\u00e7\u00e3o", True),
        ("a" * 41, False),
        ("2nd", False),
        # A name stands in files, statements and commands.
        ("it's", False),
        ("a\nb", False),
    ],
)
def test_an_event_is_named_by_letters_that_end_no_quote(name, fits):
    assert is_event_name(name) is fits
