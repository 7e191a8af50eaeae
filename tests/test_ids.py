"""Ids and names, specified."""

from __future__ import annotations

import ast

import pytest

from propensity.ids import MEANINGLESS, NAME, is_event_name, is_meaningless, problem_of
from propensity.statements import statement


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        *((text, "") for text in ("a", "1029957577.1716168911", "\u00e9" * 256, " ")),
        (7, "must be a string"),
        (None, "must be a string"),
        ("", "is empty"),
        ("a" * 257, "is too long: 257 characters; the limit is 256"),
        *(
            (text, "contains a control character; remove it")
            for text in ("a\nb", "\x7f", "\ud800")
        ),
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
    [("ga4_purchase", True), ("a" * 64, True), ("a" * 65, False), ("4a", False),
     ("A", False), ("a-b", False), ("", False)],
)  # fmt: skip
def test_a_use_case_is_named_as_a_folder_is(name, fits):
    """Lower case, digits and underscores, 64 at most, a letter first."""
    assert bool(NAME.fullmatch(name)) is fits


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        # GA4 takes letters of each language; blanks and hyphens are seen in exports.
        *(
            (name, True)
            for name in ("purchase", "Sign_Up2", "Form Submit", "cta-click")
        ),
        *((name, True) for name in ("inscri\u00e7\u00e3o", "\u8cfc\u5165", "a" * 40)),
        *((name, False) for name in ("", "2nd", "_event", "-a", " a", "a ", "a" * 41)),
        # A name stands in files, statements and commands.
        *((name, False) for name in ("it's", 'a"b', "a\nb", "a$b", "a\\b", "a\ud800")),
    ],
)
def test_an_event_is_named_by_letters_that_end_no_quote(name, fits):
    assert is_event_name(name) is fits
