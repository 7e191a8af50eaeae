"""
Speed of a lookup: 02-GetProba against handlers that do nothing. Gates.

    python -m benchmarks.lookup

Three servers run from one virtual environment, which holds only 02-GetProba's
requirements, each as functions-framework deploys it: 02-GetProba from its staged
source, with an index of a million users; an empty asynchronous handler; and an empty
one under the default, threaded server. They are asked in turn for the same addresses,
several rounds long. A cold start is the time from the start of a process to its first
answer, beside that of a handler that imports the framework and BigQuery's client.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.load import Load, generator
from benchmarks.report import beside, finish
from benchmarks.servers import (
    EMPTY_ASYNCHRONOUS,
    Source,
    empty,
    servers,
    started,
    wait_until_ready,
)
from deploy import stage
from local import sandbox, venvs
from local.processes import HOST, free_ports, stop
from local.stack.state import LOCAL, ROOT
from propensity.gcp.artifacts import Artifacts
from propensity.runs import index
from propensity.settings import Settings

FUNCTION = ROOT / "02-GetProba"
OWN, ASYNCHRONOUS, THREADED = "02-GetProba", "empty asynchronous", "empty threaded"
BASE = "framework and client"
LEAST = {ASYNCHRONOUS: 0.6, THREADED: 4.0}
MOST_OF_COLD_START = 1.3
USERS, ASKED = 1_000_000, 1_000
CONNECTIONS = 32
ROUNDS, SECONDS, STARTS = 5, 2.0, 7
EMPTY_THREADED = """
import functions_framework


@functions_framework.http
def empty(request):
    return "OK"
"""


class Made:
    """A warehouse whose predictions table is made up."""

    def batches(self, sql: str, parameters: object = None) -> Iterator[pa.RecordBatch]:
        """Yield a million users, as BigQuery streams them."""
        draws, count = np.random.default_rng(1), 20_000
        today = pa.array([datetime.now(UTC).date()] * count, pa.date32())
        for first in range(0, USERS, count):
            yield pa.RecordBatch.from_pydict(
                {
                    "user_id": [f"user.{first + n}" for n in range(count)],
                    "probability": draws.random(count),
                    "as_of": today,
                    "percentile": draws.integers(1, 101, count),
                    "model_version": draws.integers(0, 3, count),
                    "expected_value": draws.random(count),
                }
            )


def publish(environment: Mapping[str, str]) -> None:
    """Publish the index of the made-up users in the emulator's bucket."""
    settings = Settings.from_environment(environment)
    # Google's client reads it there.
    os.environ["STORAGE_EMULATOR_HOST"] = environment["STORAGE_EMULATOR_HOST"]
    table: Any = Made()
    with contextlib.closing(Artifacts.open(settings)) as artifacts:
        index.publish(table, artifacts, settings.use_case, run_id=uuid.uuid4().hex)


def cold_start(
    name: str, source: Source, python: Path, environment: Mapping[str, str]
) -> float:
    """Return the seconds from the start of a process to its first answer."""
    [port] = free_ports(1)
    url = f"http://{HOST}:{port}/?user_id=user.7"
    began = time.perf_counter()
    process = started(name, source, python, environment, port)
    try:
        wait_until_ready(port)
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert b"null" not in answer.read()
        return time.perf_counter() - began
    finally:
        stop([process])


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    python = venvs.functions_python(ROOT, folder=LOCAL / "venvs", say=print)
    starts: dict[str, list[float]] = {OWN: [], BASE: []}
    rounds: dict[str, list[Load]] = {OWN: [], ASYNCHRONOUS: [], THREADED: []}
    with sandbox.emulators() as stack:
        folder = stack.state.home
        environment = stack.environment | {"PATH": "/usr/bin:/bin"}
        publish(environment)
        own = stage.stage(FUNCTION, folder / "get_proba")
        client = f"from google.cloud import bigquery\n{EMPTY_ASYNCHRONOUS}"
        sources = {
            OWN: Source(folder=own, target="get_proba"),
            ASYNCHRONOUS: empty(folder / "asynchronous", EMPTY_ASYNCHRONOUS),
            THREADED: empty(folder / "threaded", EMPTY_THREADED, is_asynchronous=False),
            BASE: empty(folder / "base", client),
        }
        # The first of each reads files that the system does not hold yet.
        for number in range(STARTS + 1):
            for name, seconds in starts.items():
                took = cold_start(name, sources[name], python, environment)
                if number:
                    seconds.append(took)
        address = "GET /?user_id=user.{} HTTP/1.1\r\nHost: f\r\n\r\n"
        load = generator([address.format(n).encode() for n in range(ASKED)], folder)
        with servers(sources, python, environment) as processes:
            for process in processes.values():
                load(process.port, 1.0, CONNECTIONS)
            for _ in range(ROUNDS):
                for name, loads in rounds.items():
                    loads.append(load(processes[name].port, SECONDS, CONNECTIONS))
    rates = {
        name: [one.requests_per_s for one in loads] for name, loads in rounds.items()
    }
    lines = [
        beside(
            f"lookups at {CONNECTIONS} connections",
            "/s",
            {OWN: rates[OWN], peer: rates[peer]},
            least=least,
        )
        for peer, least in LEAST.items()
    ]
    start = beside("cold start", "s", starts, most=MOST_OF_COLD_START)
    failures = sum(one.failures for one in rounds[OWN])
    problems = [f"{failures} lookups failed"] if failures else []
    return finish([*lines, start], problems=problems)


if __name__ == "__main__":
    sys.exit(main())
