"""
The load on servers: requests on connections that are kept alive, one at a time on each.

It comes from ``wrk`` where it is installed, which says more of the server than of
itself; a client in Python takes its place without it.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from local.processes import HOST

MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}

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


@dataclass(frozen=True)
class Request:
    """An HTTP request as it is sent, and what it is known by."""

    data: bytes
    name: str = ""


@dataclass(frozen=True)
class Load:
    """What one round of requests gave."""

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failures: int


# Loads a port for some seconds, on so many connections.
Generator = Callable[[int, float, int], Load]


def add_options(
    parser: argparse.ArgumentParser, *, rounds: int, seconds: float
) -> None:
    """Give a command the options of its load, with defaults."""
    parser.add_argument("--rounds", type=int, default=rounds, help="of each server")
    parser.add_argument("--seconds", type=float, default=seconds, help="of each round")
    parser.add_argument(
        "--client",
        choices=("wrk", "python"),
        default="wrk" if shutil.which("wrk") else "python",
        help="what makes the load; wrk where it is installed",
    )


def generator(client: str, requests: Sequence[Request], folder: Path) -> Generator:
    """Return what sends requests one after another, and then again."""
    if client == "python":
        return lambda port, seconds, connections: by_python(
            cycle(requests), port, seconds, connections=connections
        )
    script = wrk_script(requests, folder)
    return lambda port, seconds, connections: by_wrk(
        script, port, seconds, connections=connections
    )


def wrk_script(requests: Sequence[Request], folder: Path) -> Path:
    """Write requests, and the script that lets ``wrk`` send them; return that."""
    file_name = folder / "requests"
    with file_name.open("wb") as file:
        for request in requests:
            file.write(b"%d\n%b" % (len(request.data), request.data))
    script = folder / "requests.lua"
    script.write_text(WRK_SCRIPT.format(file=file_name))
    return script


def by_wrk(script: Path, port: int, seconds: float, *, connections: int) -> Load:
    """Send through ``wrk``."""
    process = subprocess.run(
        [
            *("wrk", "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{max(1, round(seconds))}s", "--latency"),
            *("--timeout", "30s", "--script", str(script), f"http://{HOST}:{port}"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )

    def figure(pattern: str) -> re.Match[str]:
        match = re.search(pattern, process.stdout)
        if match is None:
            raise RuntimeError(f"wrk said something unexpected:\n{process.stdout}")
        return match

    p50 = figure(r"50%\s+([\d.]+)(us|ms|s|m)\b")
    p99 = figure(r"99%\s+([\d.]+)(us|ms|s|m)\b")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", process.stdout)
    errors = re.search(r"Socket errors: (.+)", process.stdout)
    failures = int(refused[1]) if refused else 0
    failures += sum(map(int, re.findall(r"\d+", errors[1]))) if errors else 0
    return Load(
        requests=int(figure(r"(\d+) requests in")[1]),
        requests_per_s=float(figure(r"Requests/sec:\s+([\d.]+)")[1]),
        p50_ms=float(p50[1]) * MILLISECONDS[p50[2]],
        p99_ms=float(p99[1]) * MILLISECONDS[p99[2]],
        failures=failures,
    )


class Sender(asyncio.Protocol):
    """A connection kept alive, with one request on it at a time."""

    def __init__(self, waiting: Iterator[Request], ended: Callable[[], None]) -> None:
        self.latencies: list[float] = []
        self.acknowledged: list[str] = []
        self.failures = 0
        self._waiting = waiting
        self._ended = ended
        self._request: Request | None = None
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
        if self._request is not None:
            self.failures += 1
        self._ended()

    def _send(self) -> None:
        assert self._transport is not None
        self._request = next(self._waiting, None)
        if self._request is None:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(self._request.data)

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
        assert self._request is not None
        self.latencies.append(time.perf_counter() - self._sent)
        if answer.startswith(b"HTTP/1.1 200"):
            self.acknowledged.append(self._request.name)
        else:
            self.failures += 1
        self._answer = b""
        self._send()


async def send(
    port: int,
    waiting: Iterator[Request],
    *,
    seconds: float | None,
    connections: int,
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

    def until_stopped() -> Iterator[Request]:
        for request in waiting:
            if stopping:
                return
            yield request

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
    given: Iterable[Request],
    port: int,
    seconds: float,
    *,
    connections: int,
) -> Load:
    """Send through asyncio."""
    elapsed, senders = asyncio.run(
        send(port, iter(given), seconds=seconds, connections=connections)
    )
    latencies = [latency for sender in senders for latency in sender.latencies]
    cuts = statistics.quantiles(latencies, n=100)
    return Load(
        requests=len(latencies),
        requests_per_s=len(latencies) / elapsed,
        p50_ms=cuts[49] * 1e3,
        p99_ms=cuts[98] * 1e3,
        failures=sum(sender.failures for sender in senders),
    )
