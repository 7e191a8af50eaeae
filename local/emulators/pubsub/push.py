"""Pushes of a subscription's messages to its endpoint."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from local.emulators.pubsub.messages import Proto, RefusedError, timestamp
from local.emulators.pubsub.subscription import PUSH_RETRY_S, Delivery, Subscription

# Pushes under way at once: one more for each that succeeds, half for a failure.
FIRST_WINDOW = 4
MAX_WINDOW = 256
MAX_PAUSE_S = 1.0
# Servers close idle connections: gunicorn after 2 s, uvicorn after 5 s.
MAX_IDLE_S = 1.0
MAX_HEAD_BYTES = 65_536
ACKNOWLEDGING = frozenset({102, 200, 201, 202, 204})


logger = logging.getLogger("pubsub_emulator")


@dataclass(frozen=True)
class Endpoint:
    """Where a subscription is pushed to."""

    host: str
    port: int
    is_secure: bool
    head: str

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """
        Read the URL of an endpoint.

        Raises:
            RefusedError: It is not one.
        """
        try:
            parts = urlsplit(url)
            usual_port = {"http": 80, "https": 443}[parts.scheme]
            port = parts.port or usual_port
        except (KeyError, ValueError) as error:
            raise RefusedError("Unsupported push_endpoint") from error
        if not parts.hostname or not re.fullmatch(r"[!-~]+", url):
            raise RefusedError("Unsupported push_endpoint")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
            "Content-Type: application/json\r\nUser-Agent: CloudPubSub-Google\r\n"
        )
        return cls(parts.hostname, port, parts.scheme == "https", head)

    def request(self, config: Proto, delivery: Delivery) -> bytes:
        """Return the HTTP request that pushes a message; empty fields are left out."""
        message = delivery.message
        publish_time = timestamp(message.publish_time)
        fields: dict[str, object] = {}
        if message.attributes:
            fields["attributes"] = dict(message.attributes)
        if message.data:
            fields["data"] = base64.b64encode(message.data).decode()
        fields["messageId"] = fields["message_id"] = message.message_id
        if message.ordering_key:
            fields["orderingKey"] = message.ordering_key
        fields["publishTime"] = fields["publish_time"] = publish_time
        whole: dict[str, object] = {"message": fields, "subscription": config.name}
        if config.HasField("dead_letter_policy"):
            whole["deliveryAttempt"] = delivery.attempts
        body = orjson.dumps(whole)
        head = f"{self.head}Content-Length: {len(body)}"
        return head.encode() + b"\r\n\r\n" + body


def read_answer(received: bytes) -> tuple[int, bool] | None:
    """
    Return an answer's status, and whether more can be asked on its connection.

    An answer that does not state its length is done with its head, and so is its
    connection. None while there is more to come.

    Raises:
        ValueError: It is not HTTP.
    """
    head, end, body = received.partition(b"\r\n\r\n")
    if not end and len(head) < MAX_HEAD_BYTES:
        return None
    first = re.match(rb"HTTP/1\.([01]) (\d{3})", head)
    if not first or not end:
        raise ValueError(f"answers with {head[:40]!r}")
    status = int(first[2])
    if status in (100, 103):
        return read_answer(body)
    length_header = re.search(rb"(?i)\r\nContent-Length:[ \t]*(\d+)", head)
    length = 0 if status == 204 else int(length_header[1]) if length_header else None
    if length is not None and len(body) < length:
        return None
    closes = re.search(rb"(?i)\r\nConnection:[ \t]*close", head)
    return status, len(body) == length and first[1] == b"1" and not closes


class Connection(asyncio.Protocol):
    """One connection to an endpoint, with one push under way at most."""

    def __init__(self, pusher: Pusher) -> None:
        self.is_open = True
        self.since = 0.0
        self._pusher = pusher
        self._number: int | None = None
        self._request = b""
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None

    def push(self, number: int, request: bytes) -> None:
        """Send the message of a lease; pass the result to ``Pusher.finish``."""
        self._number, self._request, self._received = number, request, b""
        if self._transport is None:
            self._connecting = asyncio.create_task(self._connect())
        else:
            self._transport.write(request)

    def expire(self, _: Delivery) -> None:
        """Give the push up if it is still under way when its lease ends."""
        if self._number is not None:
            self.close()
            self._finish("does not answer before the ack deadline")

    def close(self) -> None:
        """Use it no more."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    async def _connect(self) -> None:
        endpoint, loop = self._pusher.endpoint, asyncio.get_running_loop()
        tls = True if endpoint.is_secure else None
        try:
            await loop.create_connection(
                lambda: self, endpoint.host, endpoint.port, ssl=tls
            )
        except OSError as error:
            self.is_open = False
            self._finish(f"cannot be reached: {error}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self.is_open:
            transport.write(self._request)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._number is None:
            self.close()
            return
        self._received += data
        try:
            answer = read_answer(self._received)
        except ValueError as error:
            self.is_open = False
            self._finish(str(error))
            return
        if answer is not None:
            status, self.is_open = answer
            is_done = status in ACKNOWLEDGING
            self._finish(None if is_done else f"answers with {status}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._finish("closes the connection before it answers")

    def _finish(self, failure: str | None) -> None:
        number, self._number, self._request = self._number, None, b""
        if number is not None:
            self._pusher.finish(self, number, failure)


class Pusher:
    """
    Pushes the messages of a subscription, as many at once as the endpoint bears.

    The window grows by one with each success. A failure halves it, once for all pushes
    that were under way then. If none has succeeded since the last such step, pushing
    pauses too: an endpoint that is down is knocked at, not hammered, and a backlog does
    not run out of its attempts.
    """

    def __init__(self, subscription: Subscription, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._subscription = subscription
        self._loop = asyncio.get_running_loop()
        self._window = FIRST_WINDOW
        self._under_way = 0
        self._idle: list[Connection] = []
        self._stepped_back = 0.0
        self._has_succeeded = False
        self._n_pauses = 0
        self._pause: asyncio.TimerHandle | None = None
        self._is_closed = False
        subscription.watchers.append(self._push)
        subscription.wake()

    def finish(self, connection: Connection, number: int, failure: str | None) -> None:
        """Take note that a push succeeded, or of why it failed."""
        self._under_way -= 1
        if failure is None:
            self._subscription.acknowledge(number)
            self._window = min(self._window + 1, MAX_WINDOW)
            self._has_succeeded = True
        else:
            self._subscription.nack(number)
            if connection.since >= self._stepped_back:
                self._step_back(failure)
        if self._is_closed or not connection.is_open:
            connection.close()
        else:
            connection.since = self._loop.time()
            self._idle.append(connection)
        self._push()

    def close(self) -> None:
        """Push no more; what is under way may still be acknowledged."""
        self._is_closed = True
        self._subscription.watchers.remove(self._push)
        for connection in self._idle:
            connection.close()

    def _push(self) -> None:
        config, ready = self._subscription.config, self._subscription.ready
        while ready and self._under_way < self._window:
            if self._pause is not None or self._is_closed:
                return
            connection = self._connection()
            leased = self._subscription.take(
                1, seconds=config.ack_deadline_seconds, on_end=connection.expire
            )
            for number, delivery in leased.items():
                self._under_way += 1
                connection.since = self._loop.time()
                connection.push(number, self.endpoint.request(config, delivery))

    def _connection(self) -> Connection:
        """Return an idle connection, or a new one where the server might close it."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and self._loop.time() < connection.since + MAX_IDLE_S:
                return connection
            connection.close()
        return Connection(self)

    def _step_back(self, failure: str) -> None:
        self._stepped_back = self._loop.time()
        self._window = max(1, self._window // 2)
        self._n_pauses = 0 if self._has_succeeded else self._n_pauses + 1
        self._has_succeeded = False
        if self._n_pauses == 1:
            logger.warning("%s: %s", self._subscription.config.name, failure)
        if self._n_pauses:
            pause_s = PUSH_RETRY_S * 2.0 ** min(self._n_pauses - 1, 60)
            self._pause = self._loop.call_later(min(pause_s, MAX_PAUSE_S), self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._push()
