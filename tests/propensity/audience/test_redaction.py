"""A receiver's words in the ledger, specified: they repeat nothing that was sent."""

from __future__ import annotations

import base64
import html
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from propensity.audience.redaction import Redaction

# Of PHP, of Python, of Ruby.
SPELLINGS = {
    "as it is": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON with letters": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "an address": lambda text: quote(text, safe=""),
    "an address in small letters": lambda text: quote(text, safe="").lower(),
    "a form": quote_plus,
    "HTML": html.escape,
    "HTML with numbers": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "HTML with hexadecimal": lambda text: "".join(
        f"&#x{ord(sign):X};" for sign in text
    ),
    "capitals": lambda text: re.sub("[a-z]+", lambda part: part[0].upper(), text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 without its end": lambda text: (
        base64.b64encode(text.encode()).decode().rstrip("=")
    ),
    "base64 of more": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
}
SECRETS = st.text(
    st.characters(exclude_categories=["Cs", "Co", "Cn", "Cc"]), min_size=4, max_size=20
)


def excerpt(words: str, *values: str, secrets=()) -> str:
    return Redaction(secrets, values).excerpt(words)


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(value=SECRETS)
@example("a/b+c=")
@example("Müller & Söhne")
@example("a%41\\u0041&amp;")
@example('"quoted"\\')
def test_words_have_no_value_in_any_spelling(spelling, value):
    """Defect: secrets were removed where they were repeated letter by letter alone."""
    assume(value.strip() == value)
    spelled = SPELLINGS[spelling](value)

    shown = excerpt(f"[ {spelled} ] is wrong", secrets=[value])

    assert "(a secret)" in shown or "base64" in shown


@pytest.mark.parametrize(
    ("words", "values", "shown"),
    [
        ('{"error": "unsubscribed"}', ["u199"], '{"error": "unsubscribed"}'),
        ("user u199 is unknown", ["u199"], "user (a value) is unknown"),
        # A short value is removed as a whole word, and stays a part of others.
        ("no user 7 of 17 in us", ["7", "us"], "no user (a value) of 17 in (a value)"),
        ("u19 and u199", ["u19", "u199"], "(a value) and (a value)"),
        ("two\nlines\u202e", [], "two lines\ufffd"),
        ("bo@example.com, x%40y.de: no", [], "(an address), (an address): no"),
        # Defect: what is spelt as people do stood in the ledger.
        ("bo (at) example.com: no", [], "(an address): no"),
        ("bo (at) example.com: no", ["bo@example.com"], "(a value): no"),
        ("no M\u0075\u0308ller", ["M\u00fcller"], "no (a value)"),
        ("no +491701234567", ["+49 170 123 4567"], "no (a value)"),
        ("no +49 (170) 123-4567", ["+491701234567"], "no (a value)"),
        ("", ["u1"], ""),
        ("x" * 20_000, [], "(a long text)"),
        ("%" + "25" * 30, [], "(a text that is encoded several times)"),
    ],
)
def test_words_stay_readable(words, values, shown):
    assert excerpt(words, *values) == shown


@pytest.mark.parametrize("length", range(10, 250, 7))
def test_words_are_cut_after_what_was_sent_is_removed(length):
    """Defect: the first half of an address stayed at the end."""
    words = f"{'x' * length} {'a' * 40}@example.com"

    assert "aaa" not in excerpt(words)
