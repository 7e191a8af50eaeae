"""Pushes of a subscription's messages to its endpoint, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import time
from typing import Any
from urllib.parse import urlsplit

import orjson

from local.emulators.pubsub.broker import Delivery, Subscription, timestamp

# Pushes under way at once.
WINDOW = 128
# Servers close idle connections: gunicorn after 2 s, uvicorn after 5 s.
MAX_IDLE_S = 1.0
ACKNOWLEDGING = frozenset({102, 200, 201, 202, 204})
NO_CONTENT = 204
_FAILURES = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)

logger = logging.getLogger("pubsub_emulator")


def head_of(url: str) -> str:
    """Return the head of all requests to an endpoint, without their lengths."""
    parts = urlsplit(url)
    path = parts.path if parts.path else "/"
    if parts.query:
        path += f"?{parts.query}"
    return (
        f"POST {path} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        "Content-Type: application/json\r\nUser-Agent: CloudPubSub-Google\r\n"
    )


def request(head: str, config: Any, delivery: Delivery) -> bytes:
    """Return the request that pushes a message; empty fields are left out."""
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
    """Pushes the messages of a subscription, many at once."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        endpoint = subscription.config.push_config.push_endpoint
        url = urlsplit(endpoint)
        self._address = url.hostname, 80 if url.port is None else url.port
        self._head = head_of(endpoint)
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_closed = self._is_failing = False
        subscription.watchers.append(self._push)
        asyncio.get_running_loop().call_soon(self._push)

    def close(self) -> None:
        """Push no more; messages under way may still be acknowledged."""
        self._is_closed = True
        self._subscription.watchers.remove(self._push)
        for _, _, writer in self._idle:
            writer.close()

    def _push(self) -> None:
        while not self._is_closed:
            room = WINDOW - len(self._under_way)
            leased = next(self._subscription.take(room), None)
            if leased is None:
                return
            task = asyncio.get_running_loop().create_task(self._deliver(*leased))
            self._under_way.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._push()

    async def _deliver(self, number: int, delivery: Delivery) -> None:
        config = self._subscription.config
        try:
            async with asyncio.timeout(config.ack_deadline_seconds):
                status = await self._post(request(self._head, config, delivery))
            failure = "" if status in ACKNOWLEDGING else f"answers with {status}"
        except TimeoutError:
            failure = "does not answer before the ack deadline"
        except _FAILURES as error:
            failure = f"cannot be reached: {error}"
        if failure:
            self._subscription.nack(number)
        else:
            self._subscription.acknowledge(number)
        # Log only the first of several failures in a row.
        if failure and not self._is_failing:
            logger.warning("%s: %s", config.name, failure)
        self._is_failing = bool(failure)

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
    length = re.search(rb"(?i)\r\nContent-Length:[ \t]*(\d+)", head)
    if length:
        await reader.readexactly(int(length[1]))
    closes = re.search(rb"(?i)\r\nConnection:[ \t]*close|^HTTP/1\.0", head) is not None
    has_end = length is not None or status == NO_CONTENT
    return status, has_end and not closes
