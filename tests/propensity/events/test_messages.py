"""
Pushes, specified: a message comes as it was sent, and what is no push says where.

Bodies are written here as Google documents them. That the functions answer by what is
read is theirs to say.
"""

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
SUBSCRIPTION = "projects/p/subscriptions/events-stream-features"
EXPECTED = Message(
    PAYLOAD, "136969346945", {"event_id": "e1"}, "2026-03-01T12:00:00.123Z"
)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def plain(pushed: Any) -> bytes:
    """A push as a subscription sends it."""
    return encoded(
        {"message": pushed, "subscription": SUBSCRIPTION, "deliveryAttempt": 1}
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


class TestMessage:
    def test_is_as_it_was_sent(self):
        """Payload, id, attributes and time of publication."""
        assert messages.message(plain(SENT)) == EXPECTED

    def test_may_have_both_spellings(self):
        """Pub/Sub writes ids and times twice, for older readers; either will do."""
        snake = {
            "data": SENT["data"],
            "message_id": SENT["messageId"],
            "publish_time": SENT["publishTime"],
            "attributes": SENT["attributes"],
        }

        assert messages.message(plain(snake)) == EXPECTED
        assert messages.message(plain({**snake, **SENT})) == EXPECTED

    @pytest.mark.parametrize("absent", [None, ...])
    @pytest.mark.parametrize(
        ("field", "read"),
        [
            ("data", {"data": b""}),
            ("attributes", {"attributes": {}}),
            ("publishTime", {"published_at": ""}),
        ],
    )
    def test_may_leave_out_what_is_empty(self, absent, field, read):
        """A field that is not there, or null, is empty."""
        sent = {**SENT, field: absent}
        parsed = messages.message(
            plain({k: v for k, v in sent.items() if v is not ...})
        )

        assert {name: getattr(parsed, name) for name in read} == read
        assert parsed.message_id == EXPECTED.message_id
        assert parsed.problem is None

    @pytest.mark.parametrize(
        "data", ["%%%", "YQ", "YWI=Yw", "YW\nJj", "-_-_", "é", " "]
    )
    def test_that_is_not_base64_is_a_dead_letter(self, data):
        """The push itself is right: what stood there is kept, and the reason told."""
        parsed = messages.message(plain({**SENT, "data": data}))

        assert (parsed.data, parsed.message_id) == (data.encode(), EXPECTED.message_id)
        assert parsed.problem is not None
        assert parsed.problem.reason == "wrong_encoding"

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"messageId": None}, "message.messageId"),
            ({"messageId": ""}, "message.messageId"),
            ({"messageId": 5}, "message.messageId"),
            ({"data": 5}, "message.data"),
            ({"data": {}}, "message.data"),
            ({"attributes": []}, "message.attributes"),
            ({"attributes": {"a": 5}}, "message.attributes[...]"),
            ({"publishTime": 5}, "message.publishTime"),
        ],
        ids=str,
    )
    def test_has_fields_of_their_types(self, wrong, field):
        """What Pub/Sub does not send is no push; the field is named, where it is."""
        with pytest.raises(RequestError) as caught:
            messages.message(plain({**SENT, **wrong}))

        assert caught.value.field is not None
        assert caught.value.field.endswith(field)

    @given(
        payload=st.binary(max_size=200),
        message_id=TEXT.filter(bool),
        attributes=st.dictionaries(TEXT, TEXT, max_size=3),
        published_at=TEXT,
    )
    def test_is_any_message(self, payload, message_id, attributes, published_at):
        """Whatever is published comes unchanged."""
        sent = {
            "data": base64.b64encode(payload).decode(),
            "messageId": message_id,
            "publishTime": published_at,
            "attributes": attributes,
        }

        assert messages.message(plain(sent)) == Message(
            payload, message_id, attributes, published_at
        )


class TestOtherBodies:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            *((one, "body") for one in (b"", b"hello", b"{", b"\xff", b"[]", b"5")),
            *((one * 100_000, "body") for one in (b"[", b'{"x":')),
            (b"null", "body"),
            (plain(SENT)[:-1], "body"),
            (plain(SENT) * 2, "body"),
            (plain(SENT).decode().encode("utf-16"), "body"),
            (encoded([json.loads(plain(SENT))]), "body"),
            (b"{}", "message"),
            *((encoded({"message": one}), "message") for one in (None, [], "text")),
            (encoded({"message": {}}), "message.messageId"),
            (encoded({"user_id": "u1"}), "message"),
            (PAYLOAD, "message"),
        ],
        ids=lambda one: str(one[:40]),
    )
    def test_are_the_caller_s_mistake(self, body, field):
        """What is no push is answered by 400, and the field is named."""
        with pytest.raises(RequestError) as caught:
            messages.message(body)

        assert (caught.value.status, caught.value.field) == (400, field)

    @given(st.binary(max_size=100))
    def test_are_any_bytes(self, body):
        """Nothing crashes it."""
        with pytest.raises(RequestError):
            messages.message(body)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | TEXT | st.just(SENT),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(["message", "data", "messageId", "attributes"]),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=8,
        )
    )
    def test_are_any_json(self, value):
        """JSON of whatever shape is a message with an id, or the caller's mistake."""
        try:
            parsed = messages.message(encoded(value))
        except RequestError as error:
            parsed = error

        if isinstance(parsed, RequestError):
            assert parsed.field
        else:
            assert parsed.message_id
