"""
The prediction index: lookups of it, cold starts with it, and how it is built.

    python -m benchmarks.index

Lookups: 02-GetProba, with an index of a million users in memory, against an empty
asynchronous handler from the same environment. Both are asked in turn for the same
addresses, as in ``benchmarks.lookup``.

Cold starts: from the start of the process to the first answer, in turn: of a user of
the index, which is loaded from the emulator of Cloud Storage, and of the empty handler.

Build: a process for each size makes the file of Arrow batches. Processor time is that
of the builder alone; memory is the most that the process had beyond what it had before,
without the size of the file.

Gates: exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import lookup, memory
from benchmarks.load import add_options, generator
from benchmarks.lookup import FUNCTION, OWN, Loads, failed, load_lines
from benchmarks.report import Line, finish
from benchmarks.servers import (
    EMPTY_ASYNCHRONOUS,
    READY_S,
    Source,
    empty,
    servers,
    started,
)
from deploy import stage
from local import sandbox, venvs
from local.processes import HOST, free_ports, stop
from local.stack.state import LOCAL
from propensity.edges.artifacts import Artifacts
from propensity.index.build import Builder
from propensity.index.layout import KEY_BYTES
from propensity.registry import index_writer
from propensity.settings import Settings

USERS = 1_000_000
SIZES = (1_000_000, 10_000_000)
BATCH_ROWS = 20_000
LEAST_OF_EMPTY = 0.9
MOST_OF_P99 = 1.3
MOST_OF_COLD_START = 1.3
LEAST_BUILT = 800_000
MOST_MEMORY = 64 * 1024**2
EMPTY = "empty asynchronous"


def rows(users: int) -> Iterator[pa.RecordBatch]:
    """Yield the predictions table of made-up users, as BigQuery streams it."""
    draws = np.random.default_rng(1)
    today = datetime.now(UTC).date()
    for first in range(0, users, BATCH_ROWS):
        count = min(BATCH_ROWS, users - first)
        yield pa.RecordBatch.from_pydict(
            {
                "user_id": [f"user.{first + n}" for n in range(count)],
                "probability": draws.random(count),
                "as_of": pa.array([today] * count, pa.date32()),
                "percentile": draws.integers(1, 101, count),
                "model_version": draws.integers(0, 3, count),
            }
        )


class Made:
    """A warehouse whose predictions table is made up."""

    def batches(self, sql: str, parameters: object = None) -> Iterator[pa.RecordBatch]:
        """Yield a million users."""
        return rows(USERS)


def build(users: int) -> dict[str, float]:
    """Build a file in this process, and return what that took."""
    builder = Builder(bytes(range(KEY_BYTES)))
    checksum, size, cpu_s = hashlib.sha256(), 0, 0.0
    batches = rows(users)
    next(rows(BATCH_ROWS))
    memory.forget_peak()
    before_mb = memory.peak_mb()
    for batch in batches:
        began = time.process_time()
        builder.add(batch)
        cpu_s += time.process_time() - began
    began = time.process_time()
    for part in builder.finish():
        checksum.update(part)
        size += len(part)
    cpu_s += time.process_time() - began
    return {
        "users": users,
        "users_per_cpu_s": users / cpu_s,
        "bytes_per_user": size / users,
        "memory_above": (memory.peak_mb() - before_mb) * 1024**2 - size,
    }


def built(users: int) -> dict[str, float]:
    """Build a file in a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.index", "--build", str(users)],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(process.stdout))


def answer_of(port: int) -> dict[str, Any]:
    """Wait for the first answer of a server, and return it."""
    url = f"http://{HOST}:{port}/?user_id=user.7"
    deadline = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                data = answer.read()
            return {} if data == b"OK" else dict(json.loads(data))
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)


def cold_starts(
    python: Path,
    sources: Mapping[str, Source],
    environment: Mapping[str, str],
    *,
    rounds: int,
) -> dict[str, list[float]]:
    """Return the seconds from the start of each process to its first answer."""
    seconds_of: dict[str, list[float]] = {name: [] for name in sources}
    # The first of each reads files that the system does not hold yet.
    for _ in range(rounds + 1):
        for name, source in sources.items():
            [port] = free_ports(1)
            began = time.perf_counter()
            process = started(name, source, python, environment, port)
            try:
                answer = answer_of(port)
                seconds_of[name].append(time.perf_counter() - began)
            finally:
                stop([process])
            if name == OWN and answer["probability"] is None:
                raise RuntimeError("02-GetProba does not know a user of the index")
    return {name: every[1:] for name, every in seconds_of.items()}


def publish(environment: Mapping[str, str]) -> None:
    """Publish the index of the made-up users in the emulator's bucket."""
    settings = Settings.from_environment(environment)
    # Google's client reads it there.
    os.environ["STORAGE_EMULATOR_HOST"] = environment["STORAGE_EMULATOR_HOST"]
    table: Any = Made()
    with contextlib.closing(Artifacts.open(settings)) as artifacts:
        index_writer.publish(
            table,
            artifacts,
            settings.use_case,
            run_id=uuid.uuid4().hex,
            at=datetime.now(UTC),
        )


def report(
    loads: Loads,
    starts: Mapping[str, Sequence[float]],
    builds: Sequence[Mapping[str, float]],
) -> Iterator[Line]:
    """Yield the lines of lookups, cold starts and builds."""
    yield from load_lines(loads, EMPTY, least=LEAST_OF_EMPTY, most_p99=MOST_OF_P99)
    yield Line(
        what=f"cold start, index of {USERS:,} users",
        unit="s",
        ours=starts[OWN],
        peer=EMPTY,
        theirs=starts[EMPTY],
        most=MOST_OF_COLD_START,
    )
    for build in builds:
        of = f"index of {build['users']:,} users"
        yield Line(
            what=f"{of}, built a processor second",
            ours=[build["users_per_cpu_s"]],
            least=LEAST_BUILT,
        )
        yield Line(
            what=f"{of}, memory beyond it",
            unit="MiB",
            ours=[build["memory_above"] / 1024**2],
            most=MOST_MEMORY / 1024**2,
        )
        yield Line(
            what=f"{of}, bytes a user", unit="bytes", ours=[build["bytes_per_user"]]
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.index")
    add_options(parser, rounds=5, seconds=2.0)
    parser.add_argument(
        "--users", type=int, nargs="+", default=SIZES, help="of the indexes built"
    )
    parser.add_argument("--build", type=int, help="only build an index of so many")
    options = parser.parse_args(arguments)
    if options.build:
        print(json.dumps(build(options.build)))
        return 0
    builds = [built(users) for users in options.users]
    python = venvs.python_of(FUNCTION / "requirements.txt", folder=LOCAL / "venvs")
    with sandbox.emulators() as stack:
        folder = stack.state.home
        environment = stack.environment | {
            "PATH": "/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
        }
        publish(environment)
        sources = {
            OWN: Source(
                folder=stage.stage(FUNCTION, folder / "get_proba"),
                target="get_proba",
            ),
            EMPTY: empty(folder / "empty", EMPTY_ASYNCHRONOUS),
        }
        starts = cold_starts(python, sources, environment, rounds=options.rounds)
        with servers(sources, python, environment) as processes:
            served = {name: process.port for name, process in processes.items()}
            for port in served.values():
                answer_of(port)
            loads = lookup.measured(
                generator(options.client, lookup.lookups(), folder),
                served,
                rounds=options.rounds,
                seconds=options.seconds,
            )
    print(
        f"Medians of {options.rounds} rounds of {options.seconds:g} s, {USERS:,} "
        f"users, load by {options.client}, one process a server."
    )
    return finish(report(loads, starts, builds), problems=failed(loads))


if __name__ == "__main__":
    sys.exit(main())
