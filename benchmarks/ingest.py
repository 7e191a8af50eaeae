"""
Speed of the stream through HTTP: stream_features against a function that does nothing.

    python -m benchmarks.ingest

Three servers run from one virtual environment, which holds only the requirements of
04-StreamFeatures, each as functions-framework deploys it: stream_features from its
staged source, an empty CloudEvent function under the default, threaded server, and an
empty asynchronous handler. They are asked in turn, several rounds long, with the same
requests: pushes of Pub/Sub as binary CloudEvents, every one a distinct event. Figures
are medians of the rounds, and only ratios within a run mean anything.

What stream_features appends to and publishes to is a service of its own process, which
speaks the Storage Write API and Pub/Sub's Publish on Google's own types. It answers an
append 10 ms after it came, many at a time and in their order, and a publish at once:
the emulators are not what is measured. It counts rows, and reads their ids: every event
that was acknowledged must have been in an append.

The load comes from ``wrk`` where it is installed, which says more of the server than of
itself; a client in Python takes its place without it.

Gates: exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import grpc.aio
import pyarrow as pa
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse
from google.pubsub_v1.types import (
    DeadLetterPolicy,
    PublishRequest,
    PublishResponse,
    PubsubMessage,
    Subscription,
)

from benchmarks.lookup import EMPTY_ASYNCHRONOUS, MILLISECONDS, wait_until_ready
from deploy import stage
from local import venvs
from local.emulators.pubsub.push import Endpoint
from local.emulators.pubsub.subscription import Delivery
from local.generators.games.games import Games
from local.generators.games.towns import postcodes
from local.processes import HOST, Process, free_ports, spawn, stop, stop_with
from local.stack.stack import Stack
from local.stack.state import EMULATOR_PORTS, LOCAL, ROOT, State
from propensity import tables
from propensity.edges.warehouse import Warehouse
from propensity.events.postcodes import normalised
from propensity.settings import Settings

FUNCTION = ROOT / "04-StreamFeatures"
OWN = "stream_features"
EMPTY = "empty CloudEvent, threaded"
EMPTY_ASYNC = "empty asynchronous"
CONNECTIONS = 256
APPEND_S = 0.010
LEAST_OF_EMPTY = 3.0
LEAST_EVENTS = 20.0
MOST_APPENDS_OF_P50 = 3.0
# Processor time of a push, of the empty asynchronous handler's.
MOST_CPU_OF_EMPTY = 1.43
# More distinct requests than any of the servers can take in a second.
REQUESTS_PER_S = 30_000
CHECKED_REQUESTS = 20_000
WARM_UP_S = 1.0
# Events that a user of the generator has, at least on average.
EVENTS_PER_USER = 25
# The table is read with the answer of its query: what the Storage Read API would stream
# is none of this benchmark's.
POSTCODES = 900

EMPTY_CLOUD_EVENT = """
import functions_framework


@functions_framework.cloud_event
def empty(event):
    pass
"""

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

# -- the append service ----------------------------------------------------------------

_WRITE = "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows"
_PUBLISH = "/google.pubsub.v1.Publisher/Publish"
_TAKE = "/benchmark.Counts/Take"


@dataclass(frozen=True)
class Counts:
    """What the service was sent since it was last asked: a number for each append."""

    rows: Sequence[int]
    in_flight: Sequence[int]
    event_ids: frozenset[str]
    published: int
    refused: int


@dataclass(frozen=True)
class Appended:
    """An append as it came: looked into once the load is over."""

    schema: bytes
    batch: bytes
    is_events: bool
    in_flight: int

    def rows(self) -> pa.RecordBatch:
        schema = pa.ipc.read_schema(pa.py_buffer(self.schema))
        return pa.ipc.read_record_batch(pa.py_buffer(self.batch), schema)


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    """BigQueryWrite.AppendRows and Publisher.Publish, and what they were sent."""

    def __init__(self) -> None:
        self._appended: list[Appended] = []
        self._published = 0
        self._under_way = 0
        self._message_ids = 0

    def service(self, call: Any) -> Any:
        """Return the handler of a method; grpc calls this."""
        if call.method == _WRITE:
            return grpc.stream_stream_rpc_method_handler(
                self._append,
                AppendRowsRequest.pb().FromString,
                AppendRowsResponse.pb().SerializeToString,
            )
        if call.method == _PUBLISH:
            return grpc.unary_unary_rpc_method_handler(
                self._publish,
                PublishRequest.pb().FromString,
                PublishResponse.pb().SerializeToString,
            )
        return (
            grpc.unary_unary_rpc_method_handler(self._take)
            if call.method == _TAKE
            else None
        )

    async def _append(
        self, requests: AsyncIterator[Any], _: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        """Answer every request ``APPEND_S`` after it came, in their order."""
        loop = asyncio.get_running_loop()
        due: asyncio.Queue[float | None] = asyncio.Queue()

        async def read() -> None:
            schema, is_events = b"", False
            async for request in requests:
                due.put_nowait(loop.time() + APPEND_S)
                self._under_way += 1
                if request.write_stream:
                    schema = request.arrow_rows.writer_schema.serialized_schema
                    is_events = f"/{tables.STREAM_EVENTS.name}/" in request.write_stream
                batch = request.arrow_rows.rows.serialized_record_batch
                self._appended.append(
                    Appended(schema, batch, is_events, self._under_way)
                )
            due.put_nowait(None)

        reading = asyncio.create_task(read())
        try:
            while (moment := await due.get()) is not None:
                await asyncio.sleep(max(0.0, moment - loop.time()))
                self._under_way -= 1
                yield AppendRowsResponse.pb()(
                    append_result=AppendRowsResponse.AppendResult.pb()()
                )
        finally:
            reading.cancel()

    async def _publish(self, request: Any, _: grpc.aio.ServicerContext) -> Any:
        count = len(request.messages)
        self._published += count
        first = self._message_ids
        self._message_ids += count
        return PublishResponse.pb()(
            message_ids=[str(first + number) for number in range(count)]
        )

    async def _take(self, _: bytes, __: grpc.aio.ServicerContext) -> bytes:
        appended, self._appended = self._appended, []
        published, self._published = self._published, 0
        events = [one for one in appended if one.is_events]
        rows = [one.rows() for one in events]
        ids = {event_id for one in rows for event_id in one["event_id"].to_pylist()}
        others = [one for one in appended if not one.is_events]
        counts = {
            "rows": [one.num_rows for one in rows],
            "in_flight": [one.in_flight for one in events],
            "event_ids": sorted(ids),
            "published": published,
            "refused": sum(one.rows().num_rows for one in others),
        }
        return json.dumps(counts).encode()


async def serve(port: int) -> None:
    """Serve appends and publishes on a port of 127.0.0.1 until this process ends."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Service(),))
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    await server.wait_for_termination()


def take_counts(port: int) -> Counts:
    """Return what the service was sent since this was last asked."""
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"{HOST}:{port}", options=options) as channel:
        taken = channel.unary_unary(_TAKE)(b"", timeout=60, wait_for_ready=True)
    found = json.loads(taken)
    return Counts(**found | {"event_ids": frozenset(found["event_ids"])})


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
    found: list[Push] = []
    seed = 0
    while len(found) < count:
        seed += 1
        games = Games(seed=seed, users=max(1, count // EVENTS_PER_USER))
        for payload, attributes in islice(games.payloads(), count - len(found)):
            message = PubsubMessage.pb()(
                data=payload, attributes=attributes, message_id=str(10**15 + len(found))
            )
            message.publish_time.GetCurrentTime()
            delivery = Delivery(message, attempts=1)
            request = endpoint.request(subscription, delivery)
            found.append(Push(request, attributes["event_id"]))
    return found


@dataclass(frozen=True)
class Load:
    """What one round of requests gave."""

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failures: int


@dataclass(frozen=True)
class Round:
    """A load, what it cost the server, and what reached the service meanwhile."""

    load: Load
    cpu_us: float
    appends: int
    rows: int
    distinct: int
    in_flight: float
    most_in_flight: int
    published: int
    refused: int


Generator = Callable[[int, float], Load]


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
    latencies = [taken for one in senders for taken in one.latencies]
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
    acknowledged = {one for sender in senders for one in sender.acknowledged}
    missing = acknowledged - take_counts(service).event_ids
    failures = sum(sender.failures for sender in senders)
    return len(acknowledged), len(missing), failures


# -- the run ---------------------------------------------------------------------------


def load_postcodes(stack: Stack) -> None:
    """Fill the postcode table with as many rows as are read without the Storage API."""
    found = postcodes().slice(0, POSTCODES)
    rows = {
        "postcode": [normalised(code.as_py()) for code in found["postcode"]],
        "socioeconomic_idx": found["socioeconomic_idx"].to_pylist(),
        "is_outward": [False] * found.num_rows,
        "loaded_on": [datetime.now(UTC).date()] * found.num_rows,
    }
    warehouse = Warehouse.open(Settings.from_environment(stack.environment))
    warehouse.create(tables.POSTCODE_INDEX)
    schema = tables.POSTCODE_INDEX.arrow_schema()
    made = pa.Table.from_pydict(rows, schema=schema)
    warehouse.append(tables.POSTCODE_INDEX, made, job_id=f"postcodes-{os.getpid()}")
    warehouse.close()


@contextlib.contextmanager
def servers(
    python: Path, folder: Path, environment: Mapping[str, str]
) -> Iterator[dict[str, Process]]:
    """Serve the three from the function's environment; yields them by name."""
    sources = {
        OWN: stage.stage(FUNCTION, folder / OWN),
        EMPTY: folder / "threaded",
        EMPTY_ASYNC: folder / "asynchronous",
    }
    for name, source in (
        (EMPTY, EMPTY_CLOUD_EVENT),
        (EMPTY_ASYNC, EMPTY_ASYNCHRONOUS),
    ):
        sources[name].mkdir()
        (sources[name] / "main.py").write_text(source)
    ports = dict(zip(sources, free_ports(len(sources)), strict=True))
    processes: dict[str, Process] = {}
    try:
        for name, source_folder in sources.items():
            processes[name] = spawn(
                name,
                [
                    *(str(python), "-m", "functions_framework"),
                    *("--source", "main.py"),
                    *("--target", OWN if name == OWN else "empty"),
                    *("--host", HOST, "--port", str(ports[name])),
                    *([] if name == EMPTY else ["--asgi"]),
                ],
                environment=environment,
                folder=source_folder,
                port=ports[name],
                log=folder / f"{source_folder.name}.log",
            )
        for port in ports.values():
            wait_until_ready(port)
        yield processes
    finally:
        stop(processes.values())


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


@contextlib.contextmanager
def append_service(folder: Path) -> Iterator[int]:
    """Run the append service; yields its port."""
    port = free_ports(1)[0]
    process = spawn(
        "appends",
        [sys.executable, "-m", "benchmarks.ingest", "--serve", str(port)],
        environment={**os.environ, "PYTHONUNBUFFERED": "1"},
        folder=ROOT,
        port=port,
        log=folder / "appends.log",
    )
    try:
        take_counts(port)
        yield port
    finally:
        stop([process])


def measured(
    generator: Generator,
    processes: Mapping[str, Process],
    service: int,
    *,
    rounds: int,
    seconds: float,
) -> dict[str, list[Round]]:
    """Let the servers take turns; return the rounds of each."""
    found: dict[str, list[Round]] = {name: [] for name in processes}
    for process in processes.values():
        generator(process.port, WARM_UP_S)
    for number in range(rounds):
        for name, process in processes.items():
            take_counts(service)
            began = cpu_s(process)
            load = generator(process.port, seconds)
            spent = cpu_s(process) - began
            # What was under way when the load ended is appended too.
            time.sleep(20 * APPEND_S)
            counts = take_counts(service)
            found[name].append(
                Round(
                    load=load,
                    cpu_us=spent / load.requests * 1e6,
                    appends=len(counts.rows),
                    rows=sum(counts.rows),
                    distinct=len(counts.event_ids),
                    in_flight=statistics.fmean(counts.in_flight or [0]),
                    most_in_flight=max(counts.in_flight, default=0),
                    published=counts.published,
                    refused=counts.refused,
                )
            )
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return found


def report(found: Mapping[str, Sequence[Round]]) -> list[str]:
    """Print the tables; return the targets that were missed."""
    missed = []

    def median(name: str, what: Callable[[Round], float]) -> float:
        return statistics.median(what(one) for one in found[name])

    rates = {name: median(name, lambda one: one.load.requests_per_s) for name in found}
    print("\n| server | requests/s | p50 ms | p99 ms | CPU µs a request | failures |")
    print("|:--|--:|--:|--:|--:|--:|")
    for name, rounds in found.items():
        print(
            f"| {name} | {rates[name]:,.0f} "
            f"| {median(name, lambda one: one.load.p50_ms):.1f} "
            f"| {median(name, lambda one: one.load.p99_ms):.1f} "
            f"| {median(name, lambda one: one.cpu_us):.0f} "
            f"| {sum(one.load.failures for one in rounds)} |"
        )
    own = found[OWN]
    rows = sum(one.rows for one in own) / sum(one.appends for one in own)
    p50 = median(OWN, lambda one: one.load.p50_ms) / (APPEND_S * 1e3)
    in_flight = statistics.fmean(one.in_flight for one in own)
    cpu, cpu_of_empty = (
        median(name, lambda one: one.cpu_us) for name in (OWN, EMPTY_ASYNC)
    )
    print("\n| stream_features | measured | target |")
    print("|:--|--:|--:|")
    for what, value, target, is_met in (
        (
            "requests/s, of the empty CloudEvent function's",
            rates[OWN] / rates[EMPTY],
            f"≥ {LEAST_OF_EMPTY:g}",
            rates[OWN] >= LEAST_OF_EMPTY * rates[EMPTY],
        ),
        ("events an append", rows, f"≥ {LEAST_EVENTS:g}", rows >= LEAST_EVENTS),
        (
            f"p50, in appends of {APPEND_S * 1e3:g} ms",
            p50,
            f"< {MOST_APPENDS_OF_P50:g}",
            p50 < MOST_APPENDS_OF_P50,
        ),
        ("appends in flight, on average", in_flight, "> 1", in_flight > 1),
        (
            "processor time of a push, of an empty asynchronous handler's",
            cpu / cpu_of_empty,
            f"≤ {MOST_CPU_OF_EMPTY:g}",
            cpu <= MOST_CPU_OF_EMPTY * cpu_of_empty,
        ),
    ):
        print(f"| {what} | {value:.2f}{'' if is_met else ' (missed)'} | {target} |")
        if not is_met:
            missed.append(f"{what} is {value:.2f}, not {target}")
    most = max(one.most_in_flight for one in own)
    print(f"| appends in flight, at most | {most} | informs |")
    of_async = rates[OWN] / rates[EMPTY_ASYNC]
    print(
        f"| requests/s, of an empty asynchronous handler's | {of_async:.2f} | informs |"
    )
    for number, one in enumerate(own):
        acknowledged = one.load.requests - one.load.failures
        if one.load.failures:
            missed.append(f"round {number + 1}: {one.load.failures} pushes failed")
        if one.distinct < acknowledged:
            lost = acknowledged - one.distinct
            missed.append(f"round {number + 1}: {lost} acknowledged, never appended")
        if one.published != one.rows:
            missed.append(
                f"round {number + 1}: {one.rows} appended, {one.published} published"
            )
        if one.refused:
            missed.append(f"round {number + 1}: {one.refused} dead letters")
    return missed


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.ingest")
    parser.add_argument("--rounds", type=int, default=5, help="of each server")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument(
        "--client",
        choices=("wrk", "python"),
        default="wrk" if shutil.which("wrk") else "python",
        help="what makes the load; wrk where it is installed",
    )
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.serve:
        stop_with(os.getppid())
        asyncio.run(serve(given.serve))
        return 0

    say = print if sys.stderr.isatty() else lambda _: None
    python = venvs.python_of(
        FUNCTION / "requirements.txt", folder=LOCAL / "venvs", say=say
    )
    made = pushes(round(REQUESTS_PER_S * given.seconds))
    ports = dict(zip(EMULATOR_PORTS, free_ports(len(EMULATOR_PORTS)), strict=True))
    with contextlib.ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
        state = State("benchmark", folder / "states")
        stack = undo.enter_context(Stack(state, ports=ports, functions=()))
        load_postcodes(stack)
        service = undo.enter_context(append_service(folder))
        environment = stack.environment | {
            "PATH": "/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"{HOST}:{service}",
            "PUBSUB_EMULATOR_HOST": f"{HOST}:{service}",
        }
        generator = _generator(given.client, made, folder)
        processes = undo.enter_context(servers(python, folder, environment))
        found = measured(
            generator,
            processes,
            service,
            rounds=given.rounds,
            seconds=given.seconds,
        )
        checked = unstored(made[:CHECKED_REQUESTS], processes[OWN].port, service)
    print(
        f"Medians of {given.rounds} rounds of {given.seconds:g} s at {CONNECTIONS} "
        f"connections, load by {given.client}, one process a server."
    )
    missed = report(found)
    acknowledged, missing, failures = checked
    print(
        f"\nOf {len(made[:CHECKED_REQUESTS]):,} distinct events {acknowledged:,} were "
        f"acknowledged; {missing} of those were in no append, {failures} failed."
    )
    if missing or failures:
        missed.append(f"{missing} acknowledged events not appended, {failures} failed")
    for miss in missed:
        print(f"missed: {miss}", file=sys.stderr)
    return 1 if missed else 0


def _generator(client: str, made: Sequence[Push], folder: Path) -> Generator:
    if client == "python":
        return lambda port, seconds: by_python(made, port, seconds)
    requests = folder / "requests"
    with requests.open("wb") as file:
        for push in made:
            file.write(b"%d\n%b" % (len(push.request), push.request))
    script = folder / "requests.lua"
    script.write_text(WRK_SCRIPT.format(file=requests))
    return lambda port, seconds: by_wrk(script, port, seconds)


if __name__ == "__main__":
    sys.exit(main())
