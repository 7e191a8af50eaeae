"""Answers of receivers, specified: whatever one says, it is read or refused."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from propensity.audience.forms import Form
from propensity.audience.redaction import Redaction

NAMES = st.sampled_from(["errors", "context", "ids", "u1", "n"]) | st.text()
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)
FORM = Form(rejected="errors", user="context.ids", reason="n", taken="context.n")
USERS = {"u1": ["u1"], "0": ["u2", "u3"]}


def read(text: str):
    shown = Redaction((), USERS).excerpt
    return FORM.read(text, USERS, shown=shown, is_removal=False)


@example("[" * 100_000)
@example("1" * 5_000)
@given(st.builds(json.dumps, ANSWERS) | st.text())
def test_any_answer_says_who_was_rejected_or_is_in_another_form(text):
    try:
        sent = read(text)
    except ValueError:
        return
    assert {*sent.rejected} <= {"u1", "u2", "u3"}


def test_an_answer_names_all_users_of_one_address():
    answer = {"errors": [{"context": {"ids": [0]}, "n": "no"}], "context": {"n": 1}}

    assert read(json.dumps(answer)).rejected == {"u2": "no", "u3": "no"}


def test_a_user_is_rejected_by_an_address_in_small_letters():
    """Defect: the user counted as accepted, and the receiver as naming a stranger."""
    form = Form(rejected="errors", user="to", by="email")
    users = {form.name_of("Ana@X.example"): ["u1"]}
    answer = json.dumps({"errors": [{"to": "ana@x.example", "reason": "no"}]})

    sent = form.read(answer, users, shown=str, is_removal=False)

    assert sent.rejected == {"u1": "no"}


@pytest.mark.parametrize(
    ("names", "is_removal", "taken", "is_known"),
    [
        (["7"], False, None, False),
        (["7"], True, None, False),
        # Whoever was added by mistake is taken off later; who stays on is not.
        (["7", "u1"], False, None, True),
        (["7", "u1"], True, None, False),
        (["7"], True, 2, True),
        (["7"], True, 1, False),
    ],
)
def test_an_answer_that_rejects_strangers_does_not_count_as_a_removal(
    names, is_removal, taken, is_known
):
    """Defect: a receiver rejected all by ids of its own, and all were accepted."""
    form = Form(rejected="errors", taken="n" if taken else "")
    answer = json.dumps({"errors": names, "n": taken})
    users = {"u1": ["u1"], "u2": ["u2"]}

    with nullcontext() if is_known else pytest.raises(ValueError, match=r"who|taken"):
        form.read(answer, users, shown=str, is_removal=is_removal)
