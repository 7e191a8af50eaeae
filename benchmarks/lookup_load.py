"""Lookups of users on connections that are kept alive, by asyncio."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from local.processes import HOST

USERS = 1_000


@dataclass(frozen=True)
class Load:
    """What one round of requests gave."""

    requests_per_s: float
    p99_ms: float
    failures: int


class Connection(asyncio.Protocol):
    """A connection kept alive, with one request on it at a time."""

    def __init__(self, requests: Sequence[bytes], first: int) -> None:
        self.latencies: list[float] = []
        self.failures = 0
        self._requests = requests
        self._next = first
        self._answer = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    def itself(self) -> Connection:
        """Return this: what asyncio calls for a protocol."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        answer = self._answer = self._answer + data
        head = answer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = answer[:head].lower()
        at = lower.find(b"content-length:") + 15
        end = lower.find(b"\r\n", at)
        length = int(lower[at : end if end >= 0 else head])
        if len(answer) < head + 4 + length:
            return
        self.latencies.append(time.perf_counter() - self._sent)
        self.failures += not answer.startswith(b"HTTP/1.1 200")
        self._answer = b""
        self._send()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def by_python(port: int, connections: int, seconds: float) -> Load:
    """Ask through asyncio."""
    requests = [
        f"GET /?user_id=user.{user} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
        for user in range(USERS)
    ]

    async def ask() -> Load:
        loop = asyncio.get_running_loop()
        opened = []
        for number in range(connections):
            connection = Connection(requests, number * 17)
            await loop.create_connection(connection.itself, HOST, port)
            opened.append(connection)
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        elapsed = time.perf_counter() - began
        for connection in opened:
            connection.close()
        latencies = [taken for one in opened for taken in one.latencies]
        return Load(
            len(latencies) / elapsed,
            statistics.quantiles(latencies, n=100)[-1] * 1e3,
            sum(connection.failures for connection in opened),
        )

    return asyncio.run(ask())
