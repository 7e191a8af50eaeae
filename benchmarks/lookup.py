"""
Speed of a cached lookup of the table: 02-GetProba against handlers that do nothing.

    python -m benchmarks.lookup

Three servers run from one virtual environment, which holds only 02-GetProba's
requirements, each as functions-framework deploys it: 02-GetProba from its staged
source, an empty asynchronous handler and an empty one under the default, threaded
server. They are asked in turn, several rounds long, for the same addresses; every
figure is the median of the rounds, and only ratios within a run mean anything.

The load comes from ``wrk`` where it is installed (package ``wrk`` of Debian), which is
written in C and far from its limit here. Without it a client in Python takes its place;
it costs about as much as a fast server, so that ratios then come out closer to 1.

Gates: exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.load import Generator, Load, Request, add_options, generator
from benchmarks.report import Line, finish
from benchmarks.servers import EMPTY_ASYNCHRONOUS, Source, empty, servers
from deploy import stage
from local import sandbox, venvs
from local.processes import HOST
from local.stack.stack import Stack
from local.stack.state import LOCAL, ROOT
from propensity import tables
from propensity.edges.warehouse import Warehouse
from propensity.settings import Settings

FUNCTION = ROOT / "02-GetProba"
OWN = "02-GetProba"
CONNECTIONS = (8, 32, 128)
LEAST_OF_ASYNCHRONOUS = 0.6
LEAST_OF_THREADED = 3.0
MOST_OF_THREADED_P99 = 0.5
MOST_OF_IMPORT = 1.3
IMPORT_ROUNDS = 9
WARM_UP_S = 0.5

EMPTY_THREADED = """
import functions_framework


@functions_framework.http
def empty(request):
    return "OK"
"""
TIMED_IMPORT = (
    "import time; began = time.perf_counter(); import {}; "
    "print(time.perf_counter() - began)"
)
BASE_IMPORT = "functions_framework, google.cloud.bigquery"
OWN_IMPORT = "main"

USERS = 1_000
# The rounds of a server at a number of connections.
Loads = Mapping[tuple[str, int], Sequence[Load]]


def load_lines(
    loads: Loads,
    peer: str,
    *,
    least: float | None = None,
    most_p99: float | None = None,
) -> Iterator[Line]:
    """Yield our requests a second and p99 beside those of another server."""
    for connections in sorted({connections for _, connections in loads}):
        ours, theirs = loads[OWN, connections], loads[peer, connections]
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


def failed(loads: Loads) -> list[str]:
    """Return how many of our lookups failed, by connections."""
    counts = {
        connections: sum(load.failures for load in rounds)
        for (name, connections), rounds in loads.items()
        if name == OWN
    }
    return [
        f"{count} lookups at {connections} connections failed"
        for connections, count in counts.items()
        if count
    ]


def lookups() -> list[Request]:
    """Return a request for each of the users."""
    head = "GET /?user_id=user.{} HTTP/1.1\r\nHost: {}\r\n\r\n"
    return [Request(head.format(user, HOST).encode()) for user in range(USERS)]


def publish_users(stack: Stack) -> None:
    """Fill the predictions table with the users that are asked for."""
    settings = Settings.from_environment(stack.environment)
    with contextlib.closing(Warehouse.open(settings)) as warehouse:
        warehouse.create(tables.PREDICTIONS)
        warehouse.execute(
            """
            INSERT INTO ma_predictions_table
              (use_case, user_id, as_of, probability, percentile, model_version)
            SELECT
              @use_case, CONCAT('user.', CAST(n AS STRING)), @as_of,
              (n + 0.5) / @users, CAST(CEIL((n + 1) * 100 / @users) AS INT64), 0
            FROM UNNEST(GENERATE_ARRAY(0, @users - 1)) AS n
            """,
            {
                "users": USERS,
                "as_of": datetime.now(UTC).date(),
                "use_case": stack.options.use_case,
            },
        )


def fill_cache(port: int) -> None:
    """Ask for every user once, so that every later answer is cached."""
    body = json.dumps({"user_ids": [f"user.{user}" for user in range(USERS)]})
    request = urllib.request.Request(
        f"http://{HOST}:{port}/",
        data=body.encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        predictions = json.load(answer)["predictions"]
    if len(predictions) != USERS or any(
        user["probability"] is None for user in predictions
    ):
        raise RuntimeError("02-GetProba does not find the users it is asked for")


def import_seconds(
    python: Path, folder: Path
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the seconds of the base's import and of 02-GetProba's own."""
    seconds_of: dict[str, list[float]] = {BASE_IMPORT: [], OWN_IMPORT: []}
    for _ in range(IMPORT_ROUNDS + 1):
        for what, seconds in seconds_of.items():
            process = subprocess.run(
                [str(python), "-c", TIMED_IMPORT.format(what)],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            )
            seconds.append(float(process.stdout))
    # The first of each reads files that the system does not hold yet.
    return seconds_of[BASE_IMPORT][1:], seconds_of[OWN_IMPORT][1:]


def measured(
    load: Generator, ports: Mapping[str, int], *, rounds: int, seconds: float
) -> dict[tuple[str, int], list[Load]]:
    """Return the rounds of every server at every number of connections."""
    loads: dict[tuple[str, int], list[Load]] = {
        (name, connections): [] for connections in CONNECTIONS for name in ports
    }
    for port in ports.values():
        load(port, WARM_UP_S, CONNECTIONS[0])
    for number in range(rounds):
        for (name, connections), rounds_ in loads.items():
            rounds_.append(load(ports[name], seconds, connections))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return loads


def report(
    loads: Loads, imports: tuple[Sequence[float], Sequence[float]]
) -> tuple[list[Line], list[str]]:
    """Return the lines, and how many lookups failed where some did."""
    lines = [
        *load_lines(loads, "empty asynchronous", least=LEAST_OF_ASYNCHRONOUS),
        *load_lines(
            loads,
            "empty threaded",
            least=LEAST_OF_THREADED,
            most_p99=MOST_OF_THREADED_P99,
        ),
        Line(
            what="import",
            unit="s",
            ours=imports[1],
            peer=BASE_IMPORT,
            theirs=imports[0],
            most=MOST_OF_IMPORT,
        ),
    ]
    return lines, failed(loads)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.lookup")
    add_options(parser, rounds=5, seconds=2.0)
    options = parser.parse_args(arguments)
    say = print if sys.stderr.isatty() else lambda _: None
    python = venvs.python_of(
        FUNCTION / "requirements.txt", folder=LOCAL / "venvs", say=say
    )
    with sandbox.emulators() as stack:
        folder = stack.state.home
        publish_users(stack)
        environment = stack.environment | {
            "PATH": "/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            # The table and its cache; ``benchmarks.index`` measures the index.
            "PROPENSITY_LOOKUP_SOURCE": "bigquery",
            # Longer than this runs: all lookups are to be cached ones.
            "PROPENSITY_LOOKUP_TTL_S": "86400",
        }
        sources = {
            OWN: Source(
                folder=stage.stage(FUNCTION, folder / "get_proba"),
                target="get_proba",
            ),
            "empty asynchronous": empty(folder / "asynchronous", EMPTY_ASYNCHRONOUS),
            "empty threaded": empty(
                folder / "threaded", EMPTY_THREADED, is_asynchronous=False
            ),
        }
        with servers(sources, python, environment) as processes:
            fill_cache(processes[OWN].port)
            loads = measured(
                generator(options.client, lookups(), folder),
                {name: process.port for name, process in processes.items()},
                rounds=options.rounds,
                seconds=options.seconds,
            )
        imports = import_seconds(python, folder / "get_proba")
    print(
        f"Medians of {options.rounds} rounds of {options.seconds:g} s, {USERS} users, "
        f"load by {options.client}, one process a server."
    )
    lines, problems = report(loads, imports)
    return finish(lines, problems=problems)


if __name__ == "__main__":
    sys.exit(main())
