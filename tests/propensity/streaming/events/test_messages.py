"""
Messages: a push is as it was sent, or refused; and dead letters: what came and why, and
nobody's name.
"""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from propensity.errors import RequestError
from propensity.streaming.events import messages
from propensity.streaming.events.dead_letters import REMOVED, dead_letters, redacted
from propensity.streaming.events.messages import Message
from propensity.streaming.events.values import BadEvent
from tests.support.events import (
    CATALOGUE,
    NOW,
    accept,
    bet,
    message,
    registration,
    written,
)

PAYLOAD = b'{"user_id": "u1"}'
SENT = {
    "data": base64.b64encode(PAYLOAD).decode(),
    "messageId": "136969346945",
    "publishTime": "2026-03-01T12:00:00.123Z",
    "attributes": {"event_id": "e1"},
}
EXPECTED = Message(
    PAYLOAD, "136969346945", {"event_id": "e1"}, "2026-03-01T12:00:00.123Z"
)


def body(pushed: Any) -> bytes:
    """A push as a subscription sends it: ids and times are also in snake case."""
    return json.dumps(
        {"message": pushed, "subscription": "projects/p/subscriptions/s"}
    ).encode()


def test_a_message_is_as_it_was_sent():
    twice = {**SENT, "message_id": SENT["messageId"], "publish_time": "then"}

    assert messages.message(body(SENT)) == EXPECTED
    assert messages.message(body(twice)) == EXPECTED


@pytest.mark.parametrize("data", ["%%%", "YW\nJj", "é"])
def test_payload_that_is_not_base64_is_kept_with_the_reason(data):
    parsed = messages.message(body({**SENT, "data": data}))

    assert parsed.data == data.encode()
    assert parsed.problem is not None
    assert parsed.problem.reason == "wrong_encoding"


def test_payload_that_is_too_large_is_dropped():
    """To keep it while it waits would take memory, and it can never be an event. The
    largest message of Pub/Sub, of 10 MB, is read."""
    pushed = {**SENT, "data": base64.b64encode(b"x" * 1_000).decode()}

    parsed = messages.message(body(pushed), maximum_bytes=999)
    assert (parsed.data, parsed.dropped) == (b"", 1_000)
    assert parsed.problem is not None
    assert parsed.problem.reason == "too_large"
    assert messages.message(body(pushed), maximum_bytes=1_000).data == b"x" * 1_000
    assert len(base64.b64encode(bytes(10**7))) < messages.MAXIMUM_BODY_BYTES


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (b"\xff", "body"),
        (b"[]", "body"),
        (b"[" * 100_000, "body"),
        (body(SENT) * 2, "body"),
        (PAYLOAD, "message"),
        (body({}), "message.messageId"),
        (body({**SENT, "data": 5}), "message.data"),
    ],
    ids=lambda one: str(one[:40]),
)
def test_any_other_body_is_the_callers_mistake(sent, field):
    with pytest.raises(RequestError) as caught:
        messages.message(sent)

    assert (caught.value.status, caught.value.field) == (400, field)


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
    def test_dead_letters_hold_what_came(self):
        messages = [
            message(bet(), "m1"),
            message(
                b'{"age":1}', "m2", published_at="2026-03-02T05:00:00Z", event_id="é"
            ),
            Message(b"%%%", "m3", problem=BadEvent("wrong_encoding", "not base64")),
            Message(b"", "m4", problem=BadEvent("too_large", "5"), dropped=5),
        ]
        accepted = accept(*messages)
        letters = dead_letters(
            messages, accepted.refused, received_at=NOW, kinds=CATALOGUE.kinds
        )

        first, second, third = letters.to_pylist()
        assert (first["message_id"], first["reason"]) == ("m2", "missing_field")
        assert (first["raw"], first["raw_size"]) == (b'{"age":1}', 9)
        assert first["detail"] == accepted.refused[1].detail
        assert first["attributes"] == '{"event_id":"é"}'
        assert first["published_at"] == NOW - timedelta(hours=1)
        assert (second["reason"], second["raw"]) == ("wrong_encoding", None)
        assert (third["raw"], third["raw_size"]) == (None, 5)

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
