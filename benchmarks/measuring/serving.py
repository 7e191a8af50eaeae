"""
Functions as they are deployed, beside other handlers, and requests to them in turn.

functions-framework runs each from one virtual environment, which holds only the
requirements of the functions. Requests go over connections that are kept alive, one at
a time on each, sent by ``wrk``: it is written in C and far from its limit here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse
from google.pubsub_v1.types import PublishRequest, PublishResponse

from benchmarks.measuring.report import in_turns
from deploy import stage
from local import venvs
from local.processes import HOST, Process, answers, free_ports, served, spawn, stop
from local.stack import temporary
from local.stack.state import ROOT
from propensity.settings import Settings

READY_S = 60.0
# Requests under way when a load ends are done after this.
SETTLED_S = 1.0
APPEND_S = 0.010
EMPTY_ASYNCHRONOUS = """
import functions_framework.aio


@functions_framework.aio.http
async def empty(request):
    return "OK"
"""
# Sends the requests of a file.
WRK_SCRIPT = Path(__file__).with_name("requests.lua")

# Stream and rows of each append.
Appended = list[tuple[str, int]]


@contextlib.contextmanager
def append_server(port: int) -> Iterator[Appended]:
    """
    Take what functions append and publish, in threads of this process.

    It answers an append 10 ms after it came: the emulators are not what is measured.
    """
    appended: Appended = []

    def publish(request: Any, _: Any) -> Any:
        return PublishResponse.pb()(message_ids=["1"] * len(request.messages))

    def append(requests: Iterable[Any], _: Any) -> Iterator[Any]:
        stream = ""
        schema = pa.schema([])
        for request in requests:
            if request.write_stream:
                stream = request.write_stream
            rows = request.arrow_rows
            if rows.writer_schema.serialized_schema:
                buffer = pa.py_buffer(rows.writer_schema.serialized_schema)
                schema = pa.ipc.read_schema(buffer)
            buffer = pa.py_buffer(rows.rows.serialized_record_batch)
            batch = pa.ipc.read_record_batch(buffer, schema)
            appended.append((stream, batch.num_rows))
            time.sleep(APPEND_S)
            done = AppendRowsResponse.AppendResult.pb()()
            yield AppendRowsResponse.pb()(append_result=done)

    appends = grpc.stream_stream_rpc_method_handler(
        append,
        AppendRowsRequest.pb().FromString,
        AppendRowsResponse.pb().SerializeToString,
    )
    publishes = grpc.unary_unary_rpc_method_handler(
        publish,
        PublishRequest.pb().FromString,
        PublishResponse.pb().SerializeToString,
    )
    services = {
        "google.cloud.bigquery.storage.v1.BigQueryWrite": {"AppendRows": appends},
        "google.pubsub.v1.Publisher": {"Publish": publishes},
    }
    unlimited = ("grpc.max_receive_message_length", -1)
    server = grpc.server(ThreadPoolExecutor(32), options=[unlimited])
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(service, methods)
            for service, methods in services.items()
        ]
    )
    server.add_insecure_port(f"{HOST}:{port}")
    server.start()
    try:
        yield appended
    finally:
        server.stop(None)


@dataclass(frozen=True, kw_only=True)
class Place:
    """
    Emulators, a folder for sources, and what functions run in.

    Attributes:
        python: Of the environment of the function that is measured.
        environment: The variables.
    """

    settings: Settings
    folder: Path
    python: Path
    environment: Mapping[str, str]
    appended: Appended

    def function(self, folder: str, target: str) -> Source:
        """Stage a function as a deploy does."""
        staged = stage.stage(ROOT / folder, self.folder / target)
        return Source(folder=staged, python=self.python, target=target)

    def handler(self, name: str, main: str, *, is_asynchronous: bool = True) -> Source:
        """Write the source of a handler ``empty`` into a folder of this name."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "main.py").write_text(main)
        return Source(
            folder=folder,
            python=self.python,
            target="empty",
            is_asynchronous=is_asynchronous,
        )


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder with a ``main.py``, and how the framework serves it."""

    folder: Path
    python: Path
    target: str
    is_asynchronous: bool = True


@dataclass(frozen=True)
class Load:
    """
    What one round of requests gave, and the processor time of each of them.

    Attributes:
        p99_ms: In which time 99% of them were answered.
    """

    requests: int
    requests_per_s: float
    cpu_us: float
    p99_ms: float


@contextlib.contextmanager
def place(folder: str) -> Iterator[Place]:
    """Run emulators; appends and publishes go to an ``append_server``."""
    [port] = free_ports(1)
    with append_server(port) as appended, temporary.emulators() as stack:
        # Google's client in this process finds the bucket there.
        os.environ["STORAGE_EMULATOR_HOST"] = stack.url("storage")
        yield Place(
            settings=Settings.from_environment(stack.environment),
            folder=stack.state.home,
            python=venvs.python_of(venvs.LOCKS / folder / "requirements.txt"),
            environment={
                **stack.environment,
                "PATH": "/usr/bin:/bin",
                "HOME": str(stack.state.home),
                "OMP_NUM_THREADS": "1",
                "BIGQUERY_STORAGE_EMULATOR_HOST": f"{HOST}:{port}",
                "PUBSUB_EMULATOR_HOST": f"{HOST}:{port}",
            },
            appended=appended,
        )


@contextlib.contextmanager
def running(
    sources: Mapping[str, Source], environment: Mapping[str, str]
) -> Iterator[dict[str, Process]]:
    """Serve sources by name until all answer; stops them afterwards."""
    processes: dict[str, Process] = {}
    try:
        ports = free_ports(len(sources))
        for (name, source), port in zip(sources.items(), ports, strict=True):
            options = served(source.target, port, source.is_asynchronous)
            framework = [f"{source.python}", "-m", "functions_framework"]
            processes[name] = spawn(
                name,
                framework + options,
                environment=environment,
                folder=source.folder,
                port=port,
                log=source.folder.with_suffix(".log"),
            )
        deadline = time.monotonic() + READY_S
        # The framework answers this path by itself.
        while not all(answers(f"http://{HOST}:{port}/robots.txt") for port in ports):
            if time.monotonic() > deadline:
                raise SystemExit(f"a server did not start: {sources}")
            time.sleep(0.002)
        yield processes
    finally:
        stop(processes.values())


def cpu_s(process: Process) -> float:
    """Return the seconds of a processor that a server and its workers have used."""
    # In user and system mode, and those of ended children.
    return sum(sum(member.cpu_times()[:4]) for member in process.members())


def loads(
    here: Place,
    sources: Mapping[str, Source],
    requests: Sequence[bytes],
    *,
    connections: int,
    rounds: int,
    seconds: int,
) -> dict[str, list[Load]]:
    """Send each the same requests, in turns; none may fail of the first."""
    if not shutil.which("wrk"):
        raise SystemExit("this benchmark needs wrk: apt-get install wrk")
    asked = here.folder / "requests"
    with asked.open("wb") as file:
        for data in requests:
            file.write(b"%d\n%b" % (len(data), data))
    pace = f"wrk --threads 1 --connections {connections} --timeout 30s"
    wrk = f"{pace} --duration {seconds}s --script".split()

    def load(process: Process) -> Load:
        began = cpu_s(process)
        url = f"http://{HOST}:{process.port}"
        command = wrk + [f"{WRK_SCRIPT}", url, "--", f"{asked}"]
        text = subprocess.check_output(command, text=True)
        figures = [int(word) for word in text.splitlines()[-1].split()]
        count, micros, failures, p99_us = figures
        if failures and process.name == next(iter(sources)):
            raise SystemExit(f"{process.name}: {failures} requests failed")
        cpu_us = (cpu_s(process) - began) / count * 1e6
        time.sleep(SETTLED_S)
        rate = count / micros * 1e6
        return Load(count, rate, cpu_us, p99_us / 1e3)

    with running(sources, here.environment) as processes:
        ways = {name: partial(load, process) for name, process in processes.items()}
        return in_turns(rounds, ways)
