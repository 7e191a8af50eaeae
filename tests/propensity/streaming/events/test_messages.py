"""
Messages: a push is as it was sent, or refused; and dead letters: what came and why, and
nobody's name.
"""

from __future__ import annotations

import json

import pytest

from propensity.streaming.events.dead_letters import REMOVED, dead_letters, redacted
from propensity.streaming.events.messages import Message
from propensity.streaming.events.values import BadEvent
from tests.support.events import (
    CATALOGUE,
    NOW,
    registration,
    written,
)

# Registrations that are refused, as producers write them by mistake: each names Ada.
PERSON = {
    "name": "Ada Muster",
    "date_of_birth": "1990-05-04",
    "street_address": "1 High",
}
ADA = json.dumps(PERSON)
NAMED = [
    written(registration(age="35"), age="NaN"),
    written(registration(), age="-Infinity", label="1e999"),
    b"\xef\xbb\xbf" + ADA.encode(),
    written({"event": PERSON, "event_type": "new_registration"}),
    written({"Name": "Ada", "DATE_OF_BIRTH": "1990-05-04", "Street_Address": "1 High"}),
    b'{"\\u006eame": "Ada", "date_of_birth": 19900504}',
    b'{"name": "Ada", "name": "x"}',
    # Misspelt fields, and persons within a text.
    written({"first_name": "Ada", "birth_date": "1990-05-04", "address": "1 High"}),
    written({"amount": {"name": "Ada"}, "payload": f"event: {ADA}"}),
    # These are no JSON objects.
    ADA.encode()[:-1],
    ADA.encode("utf-16"),
    b'["Ada Muster", "1990-05-04", "1 High Street"]',
    b'{"name": "Ada"' + b',"a":[' * 2_000,
    b'{"age": 35, "Ada@Muster.example": 1, "1 High Street": 2, "Ada Muster": 3}',
]


@pytest.mark.parametrize("data", NAMED, ids=lambda one: str(one[:50]))
def test_a_dead_letter_names_nobody_however_it_is_written(data):
    sent = Message(data, "m", {"Name": "Ada", "use_case": "first_day_churn"})
    refused = {0: BadEvent("bad_value", "any")}
    letters = dead_letters([sent], refused, received_at=NOW, kinds=CATALOGUE.kinds)

    [letter] = letters.to_pylist()
    assert letter["raw_size"] == len(data)
    for secret in ("Ada", "1990", "1 High", "Muster"):
        assert secret not in f"{letter}"


def test_a_dead_letter_is_kept_only_if_it_is_an_object_of_json():
    """Another message can never be an event, and could name somebody anywhere."""
    kinds = CATALOGUE.kinds
    for data in (b"{", b"\xff\x00{", b"[1]", b'{"a":1,"a":2}'):
        assert redacted(data, kinds) is None
    for data in (b"{}", b' {"campaign": "x", "amount": NaN, "label": 1e999} '):
        assert redacted(data, kinds) == data
    # Numbers stay as they were written.
    data = b'{"Name":"Ada","amount":1.10,"bet_amount":-0.0,"label":NaN,"age":%d}'
    kept = redacted(data % 10**30, kinds)
    assert kept == (data % 10**30).replace(b"Ada", REMOVED.encode())


class TestDeadLetters:
    def test_dead_letters_have_an_age_in_the_place_of_personal_fields(self):
        """So one can be sent again, and says of nobody who they are."""
        kinds = CATALOGUE.kinds
        letter = redacted(written(registration(label="maybe")), kinds)

        fields = json.loads(letter)
        assert (fields["name"], fields["street_address"]) == (REMOVED, REMOVED)
        assert (fields["age"], fields["label"]) == (35, "maybe")
        assert "date_of_birth" not in fields
        assert redacted(letter, kinds) == letter
        for changed in ({"date_of_birth": "May 1990"}, {"event_time": "soon"}):
            fields = json.loads(redacted(written(registration(**changed)), kinds))
            assert fields["date_of_birth"] == REMOVED
