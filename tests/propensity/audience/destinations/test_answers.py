"""Whom an answer rejects, specified: it is read or refused; reasons are codes."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from propensity.audience.destinations.chat import body_for, post
from propensity.audience.destinations.forms import Codes, Form
from propensity.audience.destinations.values import MADE, filled
from propensity.errors import SettingsError

NAMES = st.sampled_from(["errors", "context", "ids", "u1", "n"]) | st.text()
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)
FORM = Form(rejected="errors", user="context.ids", reason="n", taken="context.n")
# By what an answer names them, the entries of a request, with their members.
USERS = {"u1": [["u1"]], "0": [["u2", "u3"]]}


def read(text: str, form=FORM, users=USERS, *, sent=(), is_removal=False):
    return form.read(text, users, codes=Codes(sent), is_removal=is_removal)


@example("[" * 100_000)
@example("1" * 5_000)
@given(st.builds(json.dumps, ANSWERS) | st.text())
def test_any_answer_says_who_was_rejected_or_is_in_another_form(text):
    try:
        sent = read(text, sent=USERS)
    except ValueError:
        return
    assert {*sent.rejected} <= {"u1", "u2", "u3"}
    assert not any(" " in reason for reason in sent.rejected.values())


def test_a_user_is_rejected_by_an_address_in_small_letters():
    """With all users of that address: it is no stranger's."""
    form = Form(rejected="errors", user="to", by="email", taken="n")
    users = {form.name_of("Ana@X.example"): [["u1", "u2"]], "b@x.example": [["u3"]]}
    answer = json.dumps({"errors": [{"to": "ana@x.example", "reason": "no"}], "n": 1})

    sent = read(answer, form, users)
    assert (sent.rejected, sent.unsure) == ({"u1": "no", "u2": "no"}, frozenset())
    # Of an address in two entries, which one was taken is not known.
    twice = {"ana@x.example": [["u1"], ["u2"]]}
    assert read(
        answer, Form(rejected="errors", user="to", by="email"), twice
    ).unsure == {"u1", "u2"}


@pytest.mark.parametrize(
    ("names", "is_removal", "taken", "is_known"),
    [
        (["7"], False, None, False),
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
    """Such as one that rejects all by ids of its own."""
    form = Form(rejected="errors", taken="n" if taken else "")
    answer = json.dumps({"errors": names, "n": taken})
    users = {"u1": [["u1"]], "u2": [["u2"]]}

    with nullcontext() if is_known else pytest.raises(ValueError, match=r"who|taken"):
        read(answer, form, users, is_removal=is_removal)


@pytest.mark.parametrize(
    ("words", "is_code"),
    [
        ("INVALID_ADDRESS", True),
        ("Anna is unsubscribed", False),
        ("YW5uYUB4LmV4YW1wbGU=", False),
        ("+49 170 1234567", False),
        ("unknown-Muster", False),
        ("x" * 65, False),
        ("", False),
    ],
)
def test_codes_are_in_the_ledger_and_words_that_may_name_somebody_are_shown(
    words, is_code
):
    """Words are not stored, in whatever spelling they name somebody."""
    answer = json.dumps({"errors": [{"user_id": "u1", "reason": words}]})
    sent = read(answer, Form(rejected="errors"), sent=["u1", "Anna Muster"])

    assert sent.rejected == {"u1": words if is_code else "rejected"}
    assert sent.words == ([words] if words and not is_code else [])


SENTENCES = ["One & two.", "<three>"]


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("hooks.slack.com", "One &amp; two.\n&lt;three&gt;"),
        ("chat.googleapis.com", "One & two.\n‹three›"),
    ],
)
def test_a_chat_takes_a_text_in_which_no_sign_begins_a_link_or_mention(host, text):
    assert body_for(host, SENTENCES) == {"text": text}


def test_teams_takes_an_adaptive_card():
    said = SENTENCES + ["[four](http://x.example)"]
    [attachment] = body_for("x.environment.api.powerplatform.com", said)["attachments"]
    card = attachment["content"]

    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    texts = [block["text"] for block in card["body"]]
    assert texts == ["One & two.", "‹three›", "(four)(http://x.example)"]


def test_another_address_is_refused_without_a_word_of_it():
    with pytest.raises(SettingsError, match="PROPENSITY_MESSAGE_SECRET") as refused:
        post("http://hooks.slack.com/x", SENTENCES)

    assert "slack.com" not in refused.value.message


TEXTS = st.text(max_size=8)
VALUES = {name: f"a {name}" for name in MADE}
VALUES |= {"$TOKEN": "a secret {as_of}", "n": 0.5}


@given(TEXTS, TEXTS, st.sampled_from(["user_id", "email", "users"]), TEXTS)
def test_a_value_of_a_user_is_a_whole_text(before, after, name, value):
    """What is around it is no part of it."""
    template = {"text": f"{before}{{{name}}}{after}"}
    try:
        sent = filled(template, {**VALUES, name: value})
    except ValueError:
        assert before or after
    else:
        # Braces that are written twice stand for braces.
        is_literal = before.endswith("{") and after.startswith("}")
        assert sent == {"text": value} or is_literal
