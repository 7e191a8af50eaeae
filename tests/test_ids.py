"""Ids and names, specified."""

from __future__ import annotations

import ast
import re

from local.stack.state import ROOT
from propensity.ids import MEANINGLESS, is_event_name, is_meaningless, problem_of
from propensity.statements import statement

SETTINGS = (ROOT / "docs" / "settings.md").read_text("utf-8")


def test_an_id_is_any_text_of_256_characters():
    """Not bytes. What is wrong is said in words that follow a name."""
    assert problem_of("\u00e9" * 256) == ""
    assert problem_of(7) == "must be a string"
    assert problem_of("") == "is empty"
    too_long = "is too long: 257 characters; the limit is 256"
    assert problem_of("a" * 257) == too_long
    for text in ("a\nb", "\ud800"):
        assert problem_of(text) == "contains a control character; remove it"


def test_an_id_that_means_nothing_is_the_same_in_sql():
    """The export's view knows those that the stream refuses, and no others; the page
    lists them."""
    _, listed = statement("meaningless_ids").split("\n", 1)
    texts = ast.literal_eval(f"({listed.strip()},)")

    assert all(map(is_meaningless, (*texts, " NULL ", "(Not Set)")))
    assert len(texts) == len(MEANINGLESS)
    [listed] = re.findall(r"count as none, .*: an empty one, (.*?)\.", SETTINGS)
    assert {"", *re.findall("`(.+?)`", listed)} == MEANINGLESS


def test_an_event_is_named_by_letters_that_end_no_quote():
    """GA4 takes letters of each language; blanks and hyphens are seen in exports. A
    name stands in files, statements and commands."""
    for name in ("Form Submit", "cta-click", "inscri\u00e7\u00e3o"):
        assert is_event_name(name)
    for name in ("a" * 41, "2nd", "it's", "a\nb"):
        assert not is_event_name(name)
