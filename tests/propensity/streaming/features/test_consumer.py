"""
The consumers of pushes, specified: what they read, and what they keep of it.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from starlette.requests import Request

from propensity.errors import Unavailable
from propensity.gcp.writes import RowsRefused
from propensity.streaming.events.messages import MAXIMUM_BODY_BYTES, Message
from propensity.streaming.events.values import BadEvent
from propensity.streaming.features import consumer as consumers
from propensity.streaming.features.consumer import (
    READING_BYTES,
)
from propensity.streaming.scores.score_stream import ScoreStream
from propensity.suppression import EVERYWHERE, NOBODY, Suppressed, user_hash
from tests.propensity.streaming.features.consumers import Log, Tables, stream_of


def push_of(data: bytes) -> bytes:
    """The body of a push of a message."""
    message = {"messageId": "m", "data": base64.b64encode(data).decode()}
    return json.dumps({"message": message}).encode()


BODY = push_of(b"{}")
LISTED = Suppressed("k", [(EVERYWHERE, user_hash("k", "ana"))])


class Pushed:
    """A push whose body comes once it is let through."""

    def __init__(self, length: int | None, body: bytes = BODY) -> None:
        self.is_read = False
        self.body = body
        self.comes = asyncio.Event()
        headers = [(b"content-length", b"%d" % length)] if length is not None else []
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        self.request = Request(scope, self.receive)

    async def receive(self) -> Any:
        self.is_read = True
        await self.comes.wait()
        return {"type": "http.request", "body": self.body, "more_body": False}


@pytest.mark.parametrize("length", [MAXIMUM_BODY_BYTES, None])
async def test_a_body_is_refused_unread_while_others_fill_the_memory(length):
    """By the length that it declares; one that comes in chunks may become the longest.
    Pub/Sub sends it again, and it is read once there is room."""
    consumer = stream_of(Log())
    fitting = READING_BYTES // MAXIMUM_BODY_BYTES
    first = [Pushed(length) for _ in range(fitting)]
    taken = [asyncio.create_task(consumer.take(one.request)) for one in first]
    await asyncio.sleep(0)

    further = Pushed(length)
    with pytest.raises(Unavailable) as caught:
        await consumer.take(further.request)
    assert (caught.value.status, caught.value.retryable) == (503, True)
    assert (further.is_read, all(one.is_read for one in first)) == (False, True)
    small = Pushed(len(BODY))
    small.comes.set()
    assert (await consumer.take(small.request)).status_code == 200

    for one in (*first, further):
        one.comes.set()
    assert {answer.status_code for answer in await asyncio.gather(*taken)} == {200}
    assert (await consumer.take(further.request)).status_code == 200


async def test_a_body_that_does_not_end_keeps_no_other_from_being_read(monkeypatch):
    """Nor do four of them."""
    monkeypatch.setattr(consumers, "BODY_S", 0.01)
    consumer = stream_of(Log())
    endless = [Pushed(None) for _ in range(READING_BYTES // MAXIMUM_BODY_BYTES)]
    takes = [consumer.take(one.request) for one in endless]
    ended = await asyncio.gather(*takes, return_exceptions=True)
    whole = Pushed(None)
    whole.comes.set()

    assert {type(one) for one in ended} == {Unavailable}
    assert (await consumer.take(whole.request)).status_code == 200


async def lettered(consumer: ScoreStream, sent: Message, suppressed: Suppressed) -> Any:
    """The dead letter of a refused message, None where none is stored."""
    log: Any = consumer.clients.appends
    log.last = None
    await consumer.dead_letter([sent], {0: BadEvent("bad_value", "any")}, suppressed)
    return log.last


async def test_a_dead_letter_that_the_table_refuses_is_delivered_again():
    """Otherwise it would be acknowledged, and the message nowhere."""
    consumer = stream_of(Tables(refuses="m"))

    with pytest.raises(RowsRefused) as raised:
        await consumer.consume([Message(b"{", "m")])
    assert raised.value.status >= 500


@pytest.mark.parametrize(
    "data", [b'{"x": "users/ana/extra"}', b'{"user_id": "\\u0061na"}']
)
async def test_a_refused_message_of_a_suppressed_user_is_not_stored(data):
    consumer = stream_of(Log())

    assert await lettered(consumer, Message(data, "m"), NOBODY)
    assert await lettered(consumer, Message(data, "m"), LISTED) is None
    assert await lettered(consumer, Message(b"{}", "m", {"u": "ana"}), LISTED) is None
