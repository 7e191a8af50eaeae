"""
Speed of online scoring: 02-GetProba's score against one at a time, and Ray Serve.

    python -m benchmarks.online

The same fitted pipelines, of card fraud's own preprocessor, are served three ways, each
in a virtual environment of its own, and asked in turn for scores of the same
transactions, several rounds long:

- score, from its staged source as functions-framework deploys it. What it logs goes to
  a service of its own process, which answers an append 10 ms after it came and counts
  rows: every transaction that was answered must be among them.
- One at a time: a plain handler under functions-framework's default, threaded server,
  which gives the pipeline a DataFrame of one row.
- Ray Serve, one replica, as the original served its model: an asynchronous deployment
  whose ``@serve.batch`` takes up to 64 requests, and gives the pipeline one DataFrame.
  It logs nothing.

OpenMP has one thread everywhere: trees, given one row at a time, are several times
slower with more. Figures are medians of the rounds, and only ratios within a run mean
anything. The load comes from ``wrk`` where it is installed.

Gates: exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
from sklearn.pipeline import Pipeline, make_pipeline

from benchmarks.append_service import append_service, take_counts
from benchmarks.ingest_load import (
    WRK_SCRIPT,
    Load,
    Push,
    by_python,
    by_wrk,
)
from benchmarks.lookup import wait_until_ready
from deploy import stage
from local import venvs
from local.processes import HOST, Process, free_ports, spawn, stop
from local.stack.stack import Stack
from local.stack.state import EMULATOR_PORTS, LOCAL, ROOT, State
from propensity import usecases
from propensity.edges.artifacts import Artifacts
from propensity.edges.columns import record
from propensity.edges.warehouse import Warehouse
from propensity.learning import candidates
from propensity.learning.preprocessor import default_preprocessor
from propensity.models.encoding import to_frame
from propensity.registry.champion import ANYTHING
from propensity.registry.versions import Registry, pickled
from propensity.settings import Settings
from propensity.tables import TRAINING_METADATA

FUNCTION = ROOT / "02-GetProba"
HERE = Path(__file__).resolve().parent
USE_CASE = usecases.load("card_fraud")
NAMES = list(USE_CASE.features)
CANDIDATES = ("logistic_regression", "hist_gradient_boosting")
OWN, ONE, RAY = "score", "one at a time", "Ray Serve"
CONNECTIONS = 32
TRAINING_ROWS = 5_000
TRANSACTIONS = 20_000
LEAST_OF_ONE = 10.0
LEAST_OF_RAY = 5.0
RAY_BATCH = 64
WARM_UP_S = 2.0
READY_S = 120.0

ONE_AT_A_TIME = """
import functions_framework
import joblib
import pandas as pd

pipeline = joblib.load("pipeline.joblib")
names = list(pipeline.feature_names_in_)


@functions_framework.http
def one(request):
    given = request.get_json()
    frame = pd.DataFrame([[float(given[name]) for name in names]], columns=names)
    return {"probability": float(pipeline.predict_proba(frame)[0, 1])}
"""
RAY_SERVE = """
import sys
import time

import joblib
import pandas as pd
import ray
from ray import serve


@serve.deployment(num_replicas=1, max_ongoing_requests=1000)
class Model:
    def __init__(self, file):
        self.pipeline = joblib.load(file)
        self.names = list(self.pipeline.feature_names_in_)

    @serve.batch(max_batch_size=@BATCH@)
    async def score(self, rows):
        frame = pd.DataFrame(rows, columns=self.names)
        return self.pipeline.predict_proba(frame)[:, 1].tolist()

    async def __call__(self, request):
        given = await request.json()
        row = [float(given[name]) for name in self.names]
        return {"probability": await self.score(row)}


ray.init(
    num_cpus=2,
    include_dashboard=False,
    _node_ip_address="127.0.0.1",
    object_store_memory=100 * 1024**2,
    log_to_driver=False,
    runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(Model.bind(sys.argv[2]))
while True:
    time.sleep(60)
"""


def transactions(count: int, *, seed: int) -> np.ndarray[Any, Any]:
    """Return features of transactions, a row each."""
    return np.random.default_rng(seed).normal(size=(count, len(NAMES))).round(6)


def fitted(name: str) -> Pipeline:
    """Return a pipeline with a candidate of the use case, on named columns."""
    rows = transactions(TRAINING_ROWS, seed=1)
    batch = pa.RecordBatch.from_arrays([*rows.T], names=NAMES)
    label = rows[:, 3] + rows[:, 13] + rows[:, 28] > 2
    [candidate] = [one for one in USE_CASE.candidates if one.name == name]
    model = candidates.estimator(candidate, {}, seed=0)
    pipeline = make_pipeline(default_preprocessor(USE_CASE), model)
    features: Any = dict(USE_CASE.features)
    return pipeline.fit(to_frame(batch, features), label)


def requests_of(count: int) -> list[Push]:
    """Return requests for the scores of distinct transactions."""
    rows = transactions(count, seed=2).tolist()
    found = []
    for row in rows:
        event_id = uuid.uuid4().hex
        given = {
            "transaction_id": event_id,
            **dict(zip(NAMES, row, strict=True)),
            "ingest_ts": time.time(),
        }
        body = json.dumps(given).encode()
        head = (
            f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        found.append(Push(head.encode() + body, event_id))
    return found


def publish(stack: Stack, pipeline: Pipeline) -> int:
    """Publish a pipeline as training does, and let it serve; return its version."""
    settings = Settings.from_environment(stack.environment)
    os.environ["STORAGE_EMULATOR_HOST"] = stack.url("storage")
    artifacts, warehouse = Artifacts.open(settings), Warehouse.open(settings)
    registry = Registry(artifacts, USE_CASE.name)
    now = datetime.now(UTC)
    version = registry.claim(run_id=uuid.uuid4().hex, at=now)
    files = {
        f"{part}.joblib": (pickled(step), "")
        for part, step in zip(
            ("preprocessor", "model"), (pipeline[0], pipeline[1]), strict=True
        )
    }
    published = registry.publish(version, files)
    row: dict[str, Any] = {
        "use_case": USE_CASE.name,
        "model_version": version,
        "training_date": date(2026, 3, 2),
        "as_of": date(2026, 3, 2),
        "algorithm": type(pipeline[1]).__name__,
        "features": json.dumps(dict(USE_CASE.features)),
    }
    for part in ("model", "preprocessor"):
        row[f"{part}_object"] = published.objects[f"{part}.joblib"]
        row[f"{part}_sha256"] = published.checksums[f"{part}.joblib"]
    metadata = record(row, TRAINING_METADATA)
    warehouse.append(TRAINING_METADATA, metadata, job_id=uuid.uuid4().hex)
    checksum = published.checksums["model.joblib"]
    registry.promote(version, model_sha256=checksum, at=now, instead_of=ANYTHING)
    warehouse.close()
    artifacts.close()
    return version


@contextlib.contextmanager
def servers(
    folder: Path,
    environment: Mapping[str, str],
    pythons: Mapping[str, Path],
    names: Sequence[str],
) -> Iterator[dict[str, Process]]:
    """Serve the pipeline in ``folder`` the ways that are named; yields the servers."""
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    commands: dict[str, tuple[Path, list[str]]] = {}
    for name in names:
        place = folder / name.replace(" ", "-")
        place.mkdir()
        if name == RAY:
            program = RAY_SERVE.replace("@BATCH@", str(RAY_BATCH))
            (place / "served.py").write_text(program)
            command = ["served.py", str(ports[name]), str(folder / "pipeline.joblib")]
        else:
            target = "score" if name == OWN else "one"
            command = [
                *("-m", "functions_framework", "--source", "main.py"),
                *("--target", target, "--host", HOST, "--port", str(ports[name])),
                *(["--asgi"] if name == OWN else []),
            ]
            if name == OWN:
                place = stage.stage(
                    FUNCTION, place, requirements="requirements-score.txt"
                )
            else:
                (place / "main.py").write_text(ONE_AT_A_TIME)
                shutil.copy(folder / "pipeline.joblib", place)
        commands[name] = place, [str(pythons[name]), *command]
    processes: dict[str, Process] = {}
    try:
        for name, (place, command) in commands.items():
            processes[name] = spawn(
                name,
                command,
                environment={**environment, "HOME": str(folder)},
                folder=place,
                port=ports[name],
                log=folder / f"{place.name}.log",
            )
        for name, process in processes.items():
            wait_until_scores(process, environment, is_ray=name == RAY)
        yield processes
    finally:
        stop(processes.values())


def wait_until_scores(
    process: Process, environment: Mapping[str, str], *, is_ray: bool
) -> None:
    """Wait until a server has given a score."""
    if not is_ray:
        wait_until_ready(process.port)
    deadline = time.monotonic() + READY_S
    while True:
        try:
            score_of(process.port, transactions(1, seed=3)[0].tolist())
            return
        except OSError:
            if time.monotonic() > deadline or not process.is_running:
                print(Path(process.log).read_text()[-3000:], file=sys.stderr)
                raise
            time.sleep(0.2)


def score_of(port: int, row: Sequence[float]) -> float:
    """Ask a server for one score."""
    request = urllib.request.Request(
        f"http://{HOST}:{port}/",
        data=json.dumps(dict(zip(NAMES, row, strict=True))).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return float(json.load(answer)["probability"])


@dataclass(frozen=True)
class Measured:
    """Rounds of each server with one model, and what came of checks."""

    model: str
    rounds: Mapping[str, Sequence[Load]]
    alone: Mapping[str, Load]
    difference: float
    answered: int
    logged: int


def measured(
    model: str,
    processes: Mapping[str, Process],
    made: Sequence[Push],
    *,
    client: str,
    folder: Path,
    service: int,
    rounds: int,
    seconds: float,
) -> Measured:
    """Compare scores, then let the servers take turns under load."""

    def load(port: int, seconds: float, connections: int) -> Load:
        if client == "python":
            return by_python(cycle(made), port, seconds, connections=connections)
        script = folder / "requests.lua"
        return by_wrk(script, port, seconds, connections=connections)

    rows = transactions(20, seed=4).tolist()
    scores = {
        name: [score_of(process.port, row) for row in rows]
        for name, process in processes.items()
    }
    difference = max(
        abs(one - another)
        for found in scores.values()
        for one, another in zip(found, scores[OWN], strict=True)
    )
    found: dict[str, list[Load]] = {name: [] for name in processes}
    for process in processes.values():
        load(process.port, WARM_UP_S, CONNECTIONS)
    alone = {name: load(one.port, seconds, 1) for name, one in processes.items()}
    time.sleep(1)
    take_counts(service)
    for number in range(rounds):
        for name, process in processes.items():
            found[name].append(load(process.port, seconds, CONNECTIONS))
        print(f"{model}: round {number + 1} of {rounds}", file=sys.stderr)
    # What is logged waits for others first.
    time.sleep(1)
    logged = take_counts(service).refused
    answered = sum(one.requests - one.failures for one in found[OWN])
    return Measured(model, found, alone, difference, answered, logged)


def report(every: Sequence[Measured]) -> list[str]:
    """Print the tables; return the targets that were missed."""
    missed = []
    print(
        "\n| model | server | requests/s | p50 ms | p99 ms | failures "
        "| one connection: requests/s | p50 ms | p99 ms |"
    )
    print("|:--|:--|--:|--:|--:|--:|--:|--:|--:|")
    for one in every:
        for name, rounds in one.rounds.items():
            failures = sum(load.failures for load in rounds)
            if failures:
                missed.append(f"{one.model}, {name}: {failures} requests failed")
            alone = one.alone[name]
            print(
                f"| {one.model} | {name} "
                f"| {statistics.median(load.requests_per_s for load in rounds):,.0f} "
                f"| {statistics.median(load.p50_ms for load in rounds):.2f} "
                f"| {statistics.median(load.p99_ms for load in rounds):.2f} "
                f"| {failures} | {alone.requests_per_s:,.0f} "
                f"| {alone.p50_ms:.2f} | {alone.p99_ms:.2f} |"
            )
    print("\n| model | score, in requests/s of | ratio | target |")
    print("|:--|:--|--:|--:|")
    for one in every:
        rates = {
            name: statistics.median(load.requests_per_s for load in rounds)
            for name, rounds in one.rounds.items()
        }
        for name, least in ((ONE, LEAST_OF_ONE), (RAY, LEAST_OF_RAY)):
            if name not in rates:
                continue
            ratio = rates[OWN] / rates[name]
            is_met = ratio >= least
            told = "" if is_met else " (missed)"
            print(f"| {one.model} | {name} | {ratio:.1f}{told} | ≥ {least:g} |")
            if not is_met:
                missed.append(f"{one.model}: {ratio:.1f} of {name}, not {least:g}")
        if one.difference > 1e-9:
            missed.append(f"{one.model}: scores differ by {one.difference}")
        if one.logged < one.answered:
            lost = one.answered - one.logged
            missed.append(f"{one.model}: {lost} answers were not logged")
    print()
    for one in every:
        print(
            f"{one.model}: scores differ by {one.difference:.1g} at most; of "
            f"{one.answered:,} answers of score {one.logged:,} rows were logged."
        )
    return missed


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.online")
    parser.add_argument("--rounds", type=int, default=3, help="of each server")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument(
        "--only", choices=(OWN, ONE, RAY), action="append", help="servers to run"
    )
    parser.add_argument("--model", choices=CANDIDATES, action="append")
    parser.add_argument(
        "--client",
        choices=("wrk", "python"),
        default="wrk" if shutil.which("wrk") else "python",
        help="what makes the load; wrk where it is installed",
    )
    parser.add_argument("--linger-ms", type=float, help="PROPENSITY_SCORE_LINGER_MS")
    given = parser.parse_args(arguments)
    names = [OWN, *(name for name in (ONE, RAY) if name in (given.only or (ONE, RAY)))]
    score_python = venvs.python_of(
        FUNCTION / "requirements-score.txt", folder=LOCAL / "venvs", say=print
    )
    pythons = {OWN: score_python, ONE: score_python}
    if RAY in names:
        pythons[RAY] = venvs.python_of(
            HERE / "requirements-ray.txt", folder=LOCAL / "venvs", say=print
        )
    made = requests_of(TRANSACTIONS)
    ports = dict(zip(EMULATOR_PORTS, free_ports(len(EMULATOR_PORTS)), strict=True))
    every = []
    with contextlib.ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
        state = State("benchmark", folder / "states")
        stack = undo.enter_context(Stack(state, ports=ports, functions=()))
        service = undo.enter_context(append_service(folder))
        environment = stack.environment | {
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"{HOST}:{service}",
        }
        if given.linger_ms is not None:
            environment["PROPENSITY_SCORE_LINGER_MS"] = str(given.linger_ms)
        write_requests(made, folder)
        for model in given.model or CANDIDATES:
            place = folder / model
            place.mkdir()
            pipeline = fitted(model)
            joblib.dump(pipeline, place / "pipeline.joblib")
            publish(stack, pipeline)
            with servers(place, environment, pythons, names) as processes:
                every.append(
                    measured(
                        model,
                        processes,
                        made,
                        client=given.client,
                        folder=folder,
                        service=service,
                        rounds=given.rounds,
                        seconds=given.seconds,
                    )
                )
    print(
        f"Medians of {given.rounds} rounds of {given.seconds:g} s at {CONNECTIONS} "
        f"connections, load by {given.client}, one process a server."
    )
    missed = report(every)
    for miss in missed:
        print(f"missed: {miss}", file=sys.stderr)
    return 1 if missed else 0


def write_requests(made: Sequence[Push], folder: Path) -> None:
    """Write requests, and the script that lets wrk send them."""
    requests = folder / "requests"
    with requests.open("wb") as file:
        for push in made:
            file.write(b"%d\n%b" % (len(push.request), push.request))
    script = WRK_SCRIPT.format(file=requests)
    (folder / "requests.lua").write_text(script)


if __name__ == "__main__":
    sys.exit(main())
