"""Lookups of users on connections that are kept alive, by asyncio."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.report import Line
from local.processes import HOST

USERS = 1_000


@dataclass(frozen=True)
class Load:
    """What one round of requests gave."""

    requests_per_s: float
    p99_ms: float
    failures: int


# The rounds of a server at a number of connections.
Loads = Mapping[tuple[str, int], Sequence[Load]]


def load_lines(
    loads: Loads,
    own: str,
    peer: str,
    *,
    least: float | None = None,
    most_p99: float | None = None,
) -> Iterator[Line]:
    """Yield requests a second and p99 of a server beside another's."""
    for connections in sorted({connections for _, connections in loads}):
        ours, theirs = loads[own, connections], loads[peer, connections]
        yield Line(
            what=f"lookups at {connections} connections",
            unit="/s",
            ours=[load.requests_per_s for load in ours],
            peer=peer,
            theirs=[load.requests_per_s for load in theirs],
            least=least,
        )
        yield Line(
            what=f"p99 at {connections} connections",
            unit="ms",
            ours=[load.p99_ms for load in ours],
            peer=peer,
            theirs=[load.p99_ms for load in theirs],
            most=most_p99,
        )


def failed(loads: Loads, own: str) -> list[str]:
    """Return how many lookups of a server failed, by connections."""
    counts = {
        connections: sum(load.failures for load in rounds)
        for (name, connections), rounds in loads.items()
        if name == own
    }
    return [
        f"{count} lookups at {connections} connections failed"
        for connections, count in counts.items()
        if count
    ]


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
        latencies = [taken for connection in opened for taken in connection.latencies]
        return Load(
            len(latencies) / elapsed,
            statistics.quantiles(latencies, n=100)[-1] * 1e3,
            sum(connection.failures for connection in opened),
        )

    return asyncio.run(ask())
