"""
Load for the stream's consumers: pushes, and what sends them.

It comes from ``wrk`` where it is installed, which says more of the server than of
itself; a client in Python takes its place without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import statistics
import subprocess
import time
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from google.pubsub_v1.types import (
    DeadLetterPolicy,
    PubsubMessage,
    Subscription,
)

from benchmarks.append_service import take_counts
from benchmarks.lookup import MILLISECONDS
from local.emulators.pubsub.push import Endpoint
from local.emulators.pubsub.subscription import Delivery
from local.generators.games.games import Games
from local.processes import HOST, Process

CONNECTIONS = 256
# Events that a user of the generator has, at least on average.
EVENTS_PER_USER = 25


# Requests lie in a file, each behind a line with its length.
WRK_SCRIPT = """
local requests = {{}}
local count = 0
function init(args)
  local file = io.open("{file}", "rb")
  while true do
    local length = file:read("*l")
    if not length then break end
    requests[#requests + 1] = file:read(tonumber(length))
  end
  file:close()
end
function request()
  count = count + 1
  return requests[(count - 1) % #requests + 1]
end
"""

# -- the load --------------------------------------------------------------------------


@dataclass(frozen=True)
class Push:
    """One push: the HTTP request as Pub/Sub makes it, and the event in it."""

    request: bytes
    event_id: str


def pushes(count: int) -> list[Push]:
    """Return pushes of distinct events to topic ``events``, as binary CloudEvents."""
    topic = "projects/benchmark/topics/events"
    mode = quote(f"CUSTOM_PUBSUB_{topic}", safe="")
    endpoint = Endpoint.of(f"http://{HOST}/?__GCP_CloudEventsMode={mode}")
    subscription = Subscription.pb()(
        name="projects/benchmark/subscriptions/events-stream-features",
        dead_letter_policy=DeadLetterPolicy.pb()(max_delivery_attempts=20),
    )
    made: list[Push] = []
    seed = 0
    while len(made) < count:
        seed += 1
        games = Games(seed=seed, users=max(1, count // EVENTS_PER_USER))
        for payload, attributes in islice(games.payloads(), count - len(made)):
            message = PubsubMessage.pb()(
                data=payload, attributes=attributes, message_id=str(10**15 + len(made))
            )
            message.publish_time.GetCurrentTime()
            delivery = Delivery(message, attempts=1)
            request = endpoint.request(subscription, delivery)
            made.append(Push(request, attributes["event_id"]))
    return made


@dataclass(frozen=True)
class Load:
    """What one round of requests gave."""

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failures: int


def wrk_script(made: Sequence[Push], folder: Path) -> Path:
    """Write requests, and the script that lets ``wrk`` send them; return that."""
    requests = folder / "requests"
    with requests.open("wb") as file:
        for push in made:
            file.write(b"%d\n%b" % (len(push.request), push.request))
    script = folder / "requests.lua"
    script.write_text(WRK_SCRIPT.format(file=requests))
    return script


def by_wrk(
    script: Path, port: int, seconds: float, *, connections: int = CONNECTIONS
) -> Load:
    """Send through ``wrk``."""
    done = subprocess.run(
        [
            *("wrk", "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{max(1, round(seconds))}s", "--latency"),
            *("--timeout", "30s", "--script", str(script), f"http://{HOST}:{port}"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )

    def found(pattern: str) -> re.Match[str]:
        match = re.search(pattern, done.stdout)
        if match is None:
            raise RuntimeError(f"wrk said something unexpected:\n{done.stdout}")
        return match

    p50 = found(r"50%\s+([\d.]+)(us|ms|s|m)\b")
    p99 = found(r"99%\s+([\d.]+)(us|ms|s|m)\b")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    errors = re.search(r"Socket errors: (.+)", done.stdout)
    failures = int(refused[1]) if refused else 0
    failures += sum(map(int, re.findall(r"\d+", errors[1]))) if errors else 0
    return Load(
        requests=int(found(r"(\d+) requests in")[1]),
        requests_per_s=float(found(r"Requests/sec:\s+([\d.]+)")[1]),
        p50_ms=float(p50[1]) * MILLISECONDS[p50[2]],
        p99_ms=float(p99[1]) * MILLISECONDS[p99[2]],
        failures=failures,
    )


class Sender(asyncio.Protocol):
    """A connection kept alive, with one push on it at a time."""

    def __init__(self, waiting: Iterator[Push], ended: Callable[[], None]) -> None:
        self.latencies: list[float] = []
        self.acknowledged: list[str] = []
        self.failures = 0
        self._waiting = waiting
        self._ended = ended
        self._push: Push | None = None
        self._answer = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    def itself(self) -> Sender:
        """Return this: what asyncio calls for a protocol."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._push is not None:
            self.failures += 1
        self._ended()

    def _send(self) -> None:
        assert self._transport is not None
        self._push = next(self._waiting, None)
        if self._push is None:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(self._push.request)

    def data_received(self, data: bytes) -> None:
        answer = self._answer = self._answer + data
        head = answer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = re.search(rb"(?i)content-length: *(\d+)", answer[:head])
        if length is None:
            # In chunks, as a server answers that does not know the length before.
            is_whole = answer.endswith(b"\r\n0\r\n\r\n")
        else:
            is_whole = len(answer) >= head + 4 + int(length[1])
        if not is_whole:
            return
        assert self._push is not None
        self.latencies.append(time.perf_counter() - self._sent)
        if answer.startswith(b"HTTP/1.1 200"):
            self.acknowledged.append(self._push.event_id)
        else:
            self.failures += 1
        self._answer = b""
        self._send()


async def _sent(
    port: int,
    waiting: Iterator[Push],
    *,
    seconds: float | None,
    connections: int = CONNECTIONS,
) -> tuple[float, list[Sender]]:
    """Send for some seconds, or until none is left; return how long it took."""
    loop = asyncio.get_running_loop()
    open_connections = connections
    finished = loop.create_future()

    def ended() -> None:
        nonlocal open_connections
        open_connections -= 1
        if not open_connections and not finished.done():
            finished.set_result(None)

    stopping = False

    def until_stopped() -> Iterator[Push]:
        for push in waiting:
            if stopping:
                return
            yield push

    source = until_stopped()
    senders = []
    began = time.perf_counter()
    for _ in range(connections):
        sender = Sender(source, ended)
        senders.append(sender)
        await loop.create_connection(sender.itself, HOST, port)
    if seconds is not None:
        await asyncio.sleep(seconds)
        stopping = True
    await asyncio.wait_for(finished, 120)
    return time.perf_counter() - began, senders


def by_python(
    given: Iterable[Push],
    port: int,
    seconds: float,
    *,
    connections: int = CONNECTIONS,
) -> Load:
    """Send through asyncio."""
    elapsed, senders = asyncio.run(
        _sent(port, iter(given), seconds=seconds, connections=connections)
    )
    latencies = [taken for sender in senders for taken in sender.latencies]
    cuts = statistics.quantiles(latencies, n=100)
    return Load(
        requests=len(latencies),
        requests_per_s=len(latencies) / elapsed,
        p50_ms=cuts[49] * 1e3,
        p99_ms=cuts[98] * 1e3,
        failures=sum(sender.failures for sender in senders),
    )


def unstored(given: Sequence[Push], port: int, service: int) -> tuple[int, int, int]:
    """
    Send pushes until each has an answer, and look for them in what was appended.

    Returns:
        How many were acknowledged, how many of those were in no append, and how many
        failed.
    """
    take_counts(service)
    _, senders = asyncio.run(_sent(port, iter(given), seconds=None))
    acknowledged = {push for sender in senders for push in sender.acknowledged}
    missing = acknowledged - take_counts(service).event_ids
    failures = sum(sender.failures for sender in senders)
    return len(acknowledged), len(missing), failures


def cpu_s(leader: Process) -> float:
    """Return the processor time that a process and its children have taken (Linux)."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # Behind the name: the session is the fourth field, times from the twelfth.
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader.pid:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
