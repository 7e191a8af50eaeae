"""Pushes: a message comes as it was sent, and a body that is no push is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.errors import RequestError
from propensity.events import messages
from propensity.events.messages import Message

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


@pytest.mark.parametrize("data", ["%%%", "YQ", "YWI=Yw", "YW\nJj", "-_-_", "é", " "])
def test_payload_that_is_not_base64_is_kept_with_the_reason(data):
    parsed = messages.message(body({**SENT, "data": data}))

    assert parsed.data == data.encode()
    assert parsed.problem is not None
    assert parsed.problem.reason == "wrong_encoding"


@pytest.mark.parametrize("size", [7, 8, 9, 10, 1_000])
def test_payload_that_is_too_large_is_dropped_and_its_size_is_known(size):
    """To keep it while it waits would take memory, and it can never be an event."""
    pushed = {**SENT, "data": base64.b64encode(b"x" * size).decode()}

    parsed = messages.message(body(pushed), maximum_bytes=size - 1)
    assert (parsed.data, parsed.dropped) == (b"", size)
    assert parsed.problem is not None
    assert parsed.problem.reason == "too_large"
    assert messages.message(body(pushed), maximum_bytes=size).data == b"x" * size


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        *((one, "body") for one in (b"", b"{", b"\xff", b"[]", b"null")),
        *((one * 100_000, "body") for one in (b"[", b'{"x":')),
        *((one, "body") for one in (body(SENT)[:-1], body(SENT) * 2)),
        *((one, "message") for one in (b"{}", PAYLOAD, body(None), body([]))),
        (body({}), "message.messageId"),
        *((body({**SENT, "messageId": one}), "message.messageId") for one in ("", 5)),
        *((body({**SENT, "data": one}), "message.data") for one in (5, {})),
        (body({**SENT, "attributes": {"a": 5}}), "message.attributes[...]"),
        (body({**SENT, "publishTime": 5}), "message.publishTime"),
    ],
    ids=lambda one: str(one[:40]),
)
def test_any_other_body_is_the_callers_mistake_and_the_field_is_named(sent, field):
    with pytest.raises(RequestError) as caught:
        messages.message(sent)

    assert (caught.value.status, caught.value.field) == (400, field)


@given(st.binary(max_size=100))
def test_any_bytes_crash_nothing(sent):
    with pytest.raises(RequestError):
        messages.message(sent)
