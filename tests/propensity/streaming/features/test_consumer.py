"""
The consumers of pushes, specified: what they read, and what they keep of it.
"""

from __future__ import annotations

from typing import Any

import pytest

from propensity.gcp.writes import RowsRefused
from propensity.streaming.events.messages import Message
from propensity.streaming.events.values import BadEvent
from propensity.streaming.scores.score_stream import ScoreStream
from propensity.suppression import EVERYWHERE, NOBODY, Suppressed, user_hash
from tests.propensity.streaming.features.consumers import Log, Tables, stream_of

LISTED = Suppressed("k", [(EVERYWHERE, user_hash("k", "ana"))])


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
