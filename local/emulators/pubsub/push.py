"""Pushes of a subscription's messages to its endpoint, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

if TYPE_CHECKING:
    from local.emulators.pubsub.broker import Delivery, Subscription

# Pushes under way at once: one more for each that succeeds, half for a failure.
FIRST_WINDOW = 4
MAX_WINDOW = 256
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 1.0
# Servers close idle connections: gunicorn after 2 s, uvicorn after 5 s.
MAX_IDLE_S = 1.0
ACKNOWLEDGING = frozenset({102, 200, 201, 202, 204})
NO_CONTENT = 204
_FAILURES = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)

logger = logging.getLogger("pubsub_emulator")


def head_of(url: str) -> str:
    """Return the head of all requests to an endpoint, without their lengths."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return (
        f"POST {path} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        "Content-Type: application/json\r\nUser-Agent: CloudPubSub-Google\r\n"
    )


def request(head: str, config: Any, delivery: Delivery) -> bytes:
    """Return the request that pushes a message; empty fields are left out."""
    from local.emulators.pubsub.broker import timestamp

    message = delivery.message
    published = timestamp(message.publish_time)
    fields: dict[str, object] = {
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": published,
        "publish_time": published,
    }
    if message.attributes:
        fields["attributes"] = dict(message.attributes)
    if message.data:
        fields["data"] = base64.b64encode(message.data).decode()
    whole: dict[str, object] = {"message": fields, "subscription": config.name}
    if config.HasField("dead_letter_policy"):
        whole["deliveryAttempt"] = delivery.attempts
    body = orjson.dumps(whole)
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Pusher:
    """
    Pushes the messages of a subscription, as many at once as the endpoint bears.

    The window grows by one with each success and is halved by a failure. While none
    succeeds, pushing pauses, twice as long each time: an endpoint that is down is
    knocked at, not hammered, and a backlog does not run out of its attempts.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        url = urlsplit(subscription.config.push_config.push_endpoint)
        self._address = url.hostname, url.port or 80
        self._head = head_of(subscription.config.push_config.push_endpoint)
        self._loop = asyncio.get_running_loop()
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._window = FIRST_WINDOW
        self._pause_s = 0.0
        self._stepped_back = 0.0
        self._is_paused = self._is_closed = False
        subscription.watchers.append(self._push)
        self._loop.call_soon(self._push)

    def close(self) -> None:
        """Push no more; what is under way may still be acknowledged."""
        self._is_closed = True
        self._subscription.watchers.remove(self._push)
        for _, _, writer in self._idle:
            writer.close()

    def _push(self) -> None:
        while not (self._is_paused or self._is_closed):
            room = self._window - len(self._under_way)
            leased = next(self._subscription.take(room), None)
            if leased is None:
                return
            task = self._loop.create_task(self._deliver(*leased))
            self._under_way.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._push()

    async def _deliver(self, number: int, delivery: Delivery) -> None:
        config, began = self._subscription.config, time.monotonic()
        try:
            async with asyncio.timeout(config.ack_deadline_seconds):
                status = await self._post(request(self._head, config, delivery))
            failure = None if status in ACKNOWLEDGING else f"answers with {status}"
        except TimeoutError:
            failure = "does not answer before the ack deadline"
        except _FAILURES as error:
            failure = f"cannot be reached: {error}"
        if failure is None:
            self._subscription.acknowledge(number)
            self._window, self._pause_s = min(self._window + 1, MAX_WINDOW), 0.0
            return
        self._subscription.nack(number)
        # Once for all pushes that were under way at a failure.
        if began >= self._stepped_back:
            self._step_back(failure)

    def _step_back(self, failure: str) -> None:
        self._stepped_back = time.monotonic()
        self._window = max(1, self._window // 2)
        if not self._pause_s:
            logger.warning("%s: %s", self._subscription.config.name, failure)
        self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), MAX_PAUSE_S)
        self._is_paused = True
        self._loop.call_later(self._pause_s, self._resume)

    def _resume(self) -> None:
        self._is_paused = False
        self._push()

    async def _post(self, message: bytes) -> int:
        """Return the status of an answer; one of ``_FAILURES`` without one."""
        reader, writer = await self._connection()
        is_reusable = False
        try:
            writer.write(message)
            status, is_reusable = await _read_answer(reader)
            return status
        finally:
            if is_reusable and not self._is_closed:
                self._idle.append((time.monotonic(), reader, writer))
            else:
                writer.close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return an idle connection, or a new one where the server might close it."""
        while self._idle:
            since, reader, writer = self._idle.pop()
            if time.monotonic() < since + MAX_IDLE_S and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(*self._address)


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """
    Return an answer's status, and whether more can be asked on its connection.

    An answer that does not state its length is done with its head, and so is its
    connection.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    first = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if not first:
        raise ValueError(f"it answers with {head[:40]!r}")
    status = int(first[1])
    if status in (100, 103):
        return await _read_answer(reader)
    length = re.search(rb"(?i)\r\nContent-Length:[ \t]*(\d+)", head)
    if length:
        await reader.readexactly(int(length[1]))
    closes = re.search(rb"(?i)\r\nConnection:[ \t]*close|^HTTP/1\.0", head)
    return status, not closes and bool(length or status == NO_CONTENT)
