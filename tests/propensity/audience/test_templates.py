"""Templates of a destination's file, specified."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.audience.templates import MADE, filled, secrets_in

TEXTS = st.text(max_size=8)
VALUES = {name: f"a {name}" for name in MADE} | {"$TOKEN": "a secret {as_of}"}


@given(TEXTS, TEXTS, st.sampled_from(["user_id", "email", "users"]), TEXTS)
def test_a_value_of_a_user_is_a_whole_text(before, after, name, value):
    """Defect: what was around it became a part of the value, or the value of it."""
    template = {"text": f"{before}{{{name}}}{after}"}
    try:
        sent = filled(template, {**VALUES, name: value})
    except ValueError:
        assert before or after
    else:
        # Braces that are written twice stand for braces.
        is_literal = before.endswith("{") and after.startswith("}")
        assert sent == {"text": value} or is_literal


@given(st.text(st.characters(exclude_characters="{}")))
def test_a_text_without_a_brace_is_sent_as_it_stands(text):
    assert filled(text, {}) == text


def test_a_text_is_filled_with_values():
    text = "${TOKEN}/{audience}/{as_of}/{{ id }}"

    assert filled(text, VALUES) == "a secret {as_of}/a audience/a as_of/{ id }"


def test_a_whole_text_keeps_the_type_of_its_value():
    assert filled(["{n}", 7], {"n": 0.5}) == [0.5, 7]


@pytest.mark.parametrize("text", ["{first-name}", "{audience.name}", "{}", "{", "a }"])
def test_a_brace_of_no_place_is_refused(text):
    """Defect: it was sent as it stood."""
    with pytest.raises(ValueError, match="write the brace twice"):
        filled({"list": [text]}, VALUES)


def test_a_place_in_the_name_of_an_entry_is_refused():
    """Defect: it was sent as it stood."""
    with pytest.raises(ValueError, match="only values are filled in"):
        filled({"user": {"{user_id}": "member"}}, {**VALUES, "user_id": "ana"})


def test_secrets_are_those_that_the_entries_name():
    template = {"a": "Bearer ${ONE}", "b": [{"c": "${TWO}"}, 7], "d": "${{THREE}}"}

    assert secrets_in(template) == {"ONE", "TWO"}
    assert secrets_in(json.loads("{}")) == set()
