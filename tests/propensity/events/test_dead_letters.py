"""
Redaction, specified: a dead letter can be sent again, and says of nobody who they are.
"""

from __future__ import annotations

import json

import pytest

from propensity.events.dead_letters import REMOVED, personal_fields, redacted
from tests.events import CATALOGUE, bet, registration, written

PERSONAL = personal_fields(CATALOGUE.types)


def test_personal_fields_are_those_that_types_declare():
    """By the kinds of the event types, whatever their names."""
    assert PERSONAL == {
        "name": "personal",
        "street_address": "personal",
        "date_of_birth": "birth date",
    }


def test_leaves_an_age_in_the_place_of_a_birth_date():
    """Sent again, the registration is what it would have been."""
    sent = written(registration(label="maybe"))
    fields = json.loads(redacted(sent, PERSONAL))

    assert fields.pop("age") == 35
    assert (fields["name"], fields["street_address"]) == (REMOVED, REMOVED)
    assert "date_of_birth" not in fields
    assert fields["label"] == "maybe"


def test_leaves_no_birth_date_that_gives_no_age():
    """One that is none, or a time that is none: nothing of it stays."""
    for changed in ({"date_of_birth": "May 1990"}, {"event_time": "soon"}):
        fields = json.loads(redacted(written(registration(**changed)), PERSONAL))
        assert fields["date_of_birth"] == REMOVED


@pytest.mark.parametrize(
    "data",
    [
        written(bet(bet_amount="x")),
        b"{",
        b"\xff\x00{",
        b'{"rename": "x"}',
        b"",
        b"abcd",
        b"[" + written(registration()) + b"]",
    ],
)
def test_leaves_all_else_to_the_byte(data):
    """What has no such field, or is no JSON object, is kept as it came."""
    assert redacted(data, PERSONAL) == data


def test_twice_is_once():
    """What was redacted stays as it is when it is sent, and refused, again."""
    once = redacted(written(registration(label="maybe")), PERSONAL)

    assert redacted(once, PERSONAL) == once
