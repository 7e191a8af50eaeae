"""
Answers of receivers, specified: whatever one says, it is read or refused, and of its
words the ledger has codes alone.
"""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from propensity.audience.forms import Codes, Form

NAMES = st.sampled_from(["errors", "context", "ids", "u1", "n"]) | st.text()
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)
FORM = Form(rejected="errors", user="context.ids", reason="n", taken="context.n")
USERS = {"u1": ["u1"], "0": ["u2", "u3"]}


def read(text: str):
    return FORM.read(text, USERS, codes=Codes(USERS), is_removal=False)


@example("[" * 100_000)
@example("1" * 5_000)
@given(st.builds(json.dumps, ANSWERS) | st.text())
def test_any_answer_says_who_was_rejected_or_is_in_another_form(text):
    try:
        sent = read(text)
    except ValueError:
        return
    assert {*sent.rejected} <= {"u1", "u2", "u3"}
    assert not any(" " in reason for reason in sent.rejected.values())


def test_an_answer_names_all_users_of_one_address():
    answer = {"errors": [{"context": {"ids": [0]}, "n": "no"}], "context": {"n": 1}}

    assert read(json.dumps(answer)).rejected == {"u2": "no", "u3": "no"}


def test_a_user_is_rejected_by_an_address_in_small_letters():
    """Defect: the user counted as accepted, and the receiver as naming a stranger."""
    form = Form(rejected="errors", user="to", by="email")
    users = {form.name_of("Ana@X.example"): ["u1"]}
    answer = json.dumps({"errors": [{"to": "ana@x.example", "reason": "no"}]})

    sent = form.read(answer, users, codes=Codes(()), is_removal=False)

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
        form.read(answer, users, codes=Codes(()), is_removal=is_removal)


@pytest.mark.parametrize(
    "words",
    [
        "Anna Muster is unsubscribed",
        "anna@x.example",
        "YW5uYUB4LmV4YW1wbGU=",
        "+49 170 1234567",
        "unknown-Muster",
        "u1",
        "s3cret",
        "x" * 65,
        "",
    ],
)
def test_words_that_may_name_somebody_are_shown_and_not_stored(words):
    """Defect: they were stored, less what was sent in the spellings that were known."""
    form = Form(rejected="errors")
    answer = json.dumps({"errors": [{"user_id": "u1", "reason": words}]})
    sent = form.read(
        answer,
        {"u1": ["u1"]},
        codes=Codes(["u1", "anna@x.example", "Anna Muster", "s3cret"]),
        is_removal=False,
    )

    assert sent.rejected == {"u1": "rejected"}
    assert [*sent.words] == [words] * bool(words)


@pytest.mark.parametrize("code", ["unsubscribed", "INVALID_ADDRESS", "user.not-found"])
def test_codes_are_in_the_ledger(code):
    assert Codes(["anna@x.example"]).of(code) == code
