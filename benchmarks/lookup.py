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
import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from benchmarks.lookup_load import (
    USERS,
    Load,
    Loads,
    by_python,
    failed,
    load_lines,
)
from benchmarks.report import Line, finish
from benchmarks.servers import EMPTY_ASYNCHRONOUS, Source, empty, servers
from deploy import stage
from local import venvs
from local.processes import HOST, free_ports
from local.stack.stack import Stack
from local.stack.state import EMULATOR_PORTS, LOCAL, ROOT, State
from propensity import tables

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

# wrk asks for one address after another, each connection from the first on.
WRK_SCRIPT = """
local paths = {{}}
for user = 0, {users} - 1 do
  paths[user] = "/?user_id=user." .. user
end
local requests = {{}}
local count = 0
function init(args)
  for user = 0, {users} - 1 do requests[user] = wrk.format("GET", paths[user]) end
end
function request()
  count = count + 1
  return requests[count % {users}]
end
"""
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


Generator = Callable[[int, int, float], Load]


def by_wrk(port: int, connections: int, seconds: float) -> Load:
    """Ask through ``wrk``."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT.format(users=USERS))
        script.flush()
        done = subprocess.run(
            [
                *("wrk", "--threads", "1", "--connections", str(connections)),
                *("--duration", f"{max(1, round(seconds))}s", "--latency"),
                *("--script", script.name, f"http://{HOST}:{port}"),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)\b", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if p99 is None or rate is None:
        raise RuntimeError(f"wrk said something unexpected:\n{done.stdout}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    errors = re.search(r"Socket errors: (.+)", done.stdout)
    failures = int(refused[1]) if refused else 0
    failures += sum(map(int, re.findall(r"\d+", errors[1]))) if errors else 0
    return Load(float(rate[1]), float(p99[1]) * MILLISECONDS[p99[2]], failures)


def publish_users(stack: Stack) -> None:
    """Fill the predictions table with the users that are asked for."""
    with bigquery.Client(
        project=stack.options.project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": stack.url("bigquery")},
    ) as client:
        dataset = f"{stack.options.project}.{stack.options.dataset}"
        config = bigquery.QueryJobConfig(
            default_dataset=dataset,
            query_parameters=[
                bigquery.ScalarQueryParameter("users", "INT64", USERS),
                bigquery.ScalarQueryParameter(
                    "as_of", "DATE", datetime.now(UTC).date()
                ),
                bigquery.ScalarQueryParameter(
                    "use_case", "STRING", stack.options.use_case
                ),
            ],
        )
        client.query_and_wait(
            tables.PREDICTIONS.ddl(),
            job_config=bigquery.QueryJobConfig(default_dataset=dataset),
        )
        client.query_and_wait(
            """
            INSERT INTO ma_predictions_table
              (use_case, user_id, as_of, probability, percentile, model_version)
            SELECT
              @use_case, CONCAT('user.', CAST(n AS STRING)), @as_of,
              (n + 0.5) / @users, CAST(CEIL((n + 1) * 100 / @users) AS INT64), 0
            FROM UNNEST(GENERATE_ARRAY(0, @users - 1)) AS n
            """,
            job_config=config,
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
    taken: dict[str, list[float]] = {BASE_IMPORT: [], OWN_IMPORT: []}
    for _ in range(IMPORT_ROUNDS + 1):
        for what, seconds in taken.items():
            done = subprocess.run(
                [str(python), "-c", TIMED_IMPORT.format(what)],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            )
            seconds.append(float(done.stdout))
    # The first of each reads files that the system does not hold yet.
    return taken[BASE_IMPORT][1:], taken[OWN_IMPORT][1:]


def measured(
    generator: Generator, ports: Mapping[str, int], *, rounds: int, seconds: float
) -> dict[tuple[str, int], list[Load]]:
    """Return the rounds of every server at every number of connections."""
    loads: dict[tuple[str, int], list[Load]] = {
        (name, connections): [] for connections in CONNECTIONS for name in ports
    }
    for port in ports.values():
        generator(port, CONNECTIONS[0], WARM_UP_S)
    for number in range(rounds):
        for (name, connections), rounds_ in loads.items():
            rounds_.append(generator(ports[name], connections, seconds))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return loads


def report(
    loads: Loads, imports: tuple[Sequence[float], Sequence[float]]
) -> tuple[list[Line], list[str]]:
    """Return the lines, and how many lookups failed where some did."""
    lines = [
        *load_lines(loads, OWN, "empty asynchronous", least=LEAST_OF_ASYNCHRONOUS),
        *load_lines(
            loads,
            OWN,
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
    return lines, failed(loads, OWN)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.lookup")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument(
        "--client",
        choices=("wrk", "python"),
        default="wrk" if shutil.which("wrk") else "python",
        help="what makes the load; wrk where it is installed",
    )
    given = parser.parse_args(arguments)
    generator = by_wrk if given.client == "wrk" else by_python
    say = print if sys.stderr.isatty() else lambda _: None
    python = venvs.python_of(
        FUNCTION / "requirements.txt", folder=LOCAL / "venvs", say=say
    )
    ports = dict(zip(EMULATOR_PORTS, free_ports(len(EMULATOR_PORTS)), strict=True))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state = State("benchmark", folder / "states")
        with Stack(state, ports=ports, functions=()) as stack:
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
                "02-GetProba": Source(
                    folder=stage.stage(FUNCTION, folder / "get_proba"),
                    target="get_proba",
                ),
                "empty asynchronous": empty(
                    folder / "asynchronous", EMPTY_ASYNCHRONOUS
                ),
                "empty threaded": empty(
                    folder / "threaded", EMPTY_THREADED, is_asynchronous=False
                ),
            }
            with servers(sources, python, environment) as processes:
                fill_cache(processes["02-GetProba"].port)
                loads = measured(
                    generator,
                    {name: process.port for name, process in processes.items()},
                    rounds=given.rounds,
                    seconds=given.seconds,
                )
        imports = import_seconds(python, folder / "get_proba")
    print(
        f"Medians of {given.rounds} rounds of {given.seconds:g} s, {USERS} users, "
        f"load by {given.client}, one process a server."
    )
    lines, problems = report(loads, imports)
    return finish(lines, problems=problems)


if __name__ == "__main__":
    sys.exit(main())
