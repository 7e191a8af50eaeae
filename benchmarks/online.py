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
import statistics
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import joblib
import pyarrow as pa
from sklearn.pipeline import Pipeline, make_pipeline

from benchmarks.append_service import append_service, take_counts
from benchmarks.load import Generator, Load, Request, add_options, generator
from benchmarks.lookup import FUNCTION
from benchmarks.report import Line, finish
from benchmarks.score_servers import (
    NAMES,
    ONE,
    OWN,
    RAY,
    USE_CASE,
    score_of,
    servers,
    transactions,
)
from local import sandbox, venvs
from local.processes import HOST, Process
from local.stack.stack import Stack
from local.stack.state import LOCAL
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

HERE = Path(__file__).resolve().parent
CANDIDATES = ("logistic_regression", "hist_gradient_boosting")
CONNECTIONS = 32
TRAINING_ROWS = 5_000
TRANSACTIONS = 20_000
LEAST_OF_ONE = 10.0
LEAST_OF_RAY = 5.0
WARM_UP_S = 2.0


def fitted(name: str) -> Pipeline:
    """Return a pipeline with a candidate of the use case, on named columns."""
    rows = transactions(TRAINING_ROWS, seed=1)
    batch = pa.RecordBatch.from_arrays([*rows.T], names=NAMES)
    label = rows[:, 3] + rows[:, 13] + rows[:, 28] > 2
    [candidate] = [
        candidate for candidate in USE_CASE.candidates if candidate.name == name
    ]
    model = candidates.estimator(candidate, {}, seed=0)
    pipeline = make_pipeline(default_preprocessor(USE_CASE), model)
    features: Any = dict(USE_CASE.features)
    return pipeline.fit(to_frame(batch, features), label)


def requests_of(count: int) -> list[Request]:
    """Return requests for the scores of distinct transactions."""
    rows = transactions(count, seed=2).tolist()
    requests = []
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
        requests.append(Request(head.encode() + body, event_id))
    return requests


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
    load: Generator,
    *,
    service: int,
    rounds: int,
    seconds: float,
) -> Measured:
    """Compare scores, then let the servers take turns under load."""
    rows = transactions(20, seed=4).tolist()
    scores = {
        name: [score_of(process.port, row) for row in rows]
        for name, process in processes.items()
    }
    difference = max(
        abs(score - another)
        for values in scores.values()
        for score, another in zip(values, scores[OWN], strict=True)
    )
    loads: dict[str, list[Load]] = {name: [] for name in processes}
    for process in processes.values():
        load(process.port, WARM_UP_S, CONNECTIONS)
    alone = {
        name: load(process.port, seconds, 1) for name, process in processes.items()
    }
    time.sleep(1)
    take_counts(service)
    for number in range(rounds):
        for name, process in processes.items():
            loads[name].append(load(process.port, seconds, CONNECTIONS))
        print(f"{model}: round {number + 1} of {rounds}", file=sys.stderr)
    # What is logged waits for others first.
    time.sleep(1)
    logged = take_counts(service).refused
    answered = sum(load.requests - load.failures for load in loads[OWN])
    return Measured(model, loads, alone, difference, answered, logged)


def report(every: Sequence[Measured]) -> tuple[list[Line], list[str]]:
    """Print the table of servers; return lines, and what went wrong."""
    lines, problems = [], []
    print(
        "\n| model | server | requests/s | p50 ms | p99 ms | failures "
        "| one connection: requests/s | p50 ms | p99 ms |"
    )
    print("|:--|:--|--:|--:|--:|--:|--:|--:|--:|")
    for model in every:
        for name, rounds in model.rounds.items():
            failures = sum(load.failures for load in rounds)
            if failures:
                problems.append(f"{model.model}, {name}: {failures} requests failed")
            alone = model.alone[name]
            print(
                f"| {model.model} | {name} "
                f"| {statistics.median(load.requests_per_s for load in rounds):,.0f} "
                f"| {statistics.median(load.p50_ms for load in rounds):.2f} "
                f"| {statistics.median(load.p99_ms for load in rounds):.2f} "
                f"| {failures} | {alone.requests_per_s:,.0f} "
                f"| {alone.p50_ms:.2f} | {alone.p99_ms:.2f} |"
            )
    for model in every:
        for name, least in ((ONE, LEAST_OF_ONE), (RAY, LEAST_OF_RAY)):
            if name in model.rounds:
                lines.append(
                    Line(
                        what=f"scores of {model.model}",
                        unit="/s",
                        ours=[load.requests_per_s for load in model.rounds[OWN]],
                        peer=name,
                        theirs=[load.requests_per_s for load in model.rounds[name]],
                        least=least,
                    )
                )
        if model.difference > 1e-9:
            problems.append(f"{model.model}: scores differ by {model.difference}")
        if model.logged < model.answered:
            lost = model.answered - model.logged
            problems.append(f"{model.model}: {lost} answers were not logged")
    print()
    for model in every:
        print(
            f"{model.model}: scores differ by {model.difference:.1g} at most; of "
            f"{model.answered:,} answers of score {model.logged:,} rows were logged."
        )
    return lines, problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.online")
    parser.add_argument(
        "--only", choices=(OWN, ONE, RAY), action="append", help="servers to run"
    )
    parser.add_argument("--model", choices=CANDIDATES, action="append")
    add_options(parser, rounds=3, seconds=4.0)
    parser.add_argument("--linger-ms", type=float, help="PROPENSITY_SCORE_LINGER_MS")
    options = parser.parse_args(arguments)
    names = [
        OWN,
        *(name for name in (ONE, RAY) if name in (options.only or (ONE, RAY))),
    ]
    score_python = venvs.python_of(
        FUNCTION / "requirements-score.txt", folder=LOCAL / "venvs", say=print
    )
    pythons = {OWN: score_python, ONE: score_python}
    if RAY in names:
        pythons[RAY] = venvs.python_of(
            HERE / "requirements-ray.txt", folder=LOCAL / "venvs", say=print
        )
    every = []
    with contextlib.ExitStack() as undo:
        stack = undo.enter_context(sandbox.emulators())
        folder = stack.state.home
        service = undo.enter_context(append_service(folder))
        environment = stack.environment | {
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"{HOST}:{service}",
        }
        if options.linger_ms is not None:
            environment["PROPENSITY_SCORE_LINGER_MS"] = str(options.linger_ms)
        load = generator(options.client, requests_of(TRANSACTIONS), folder)
        for model in options.model or CANDIDATES:
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
                        load,
                        service=service,
                        rounds=options.rounds,
                        seconds=options.seconds,
                    )
                )
    print(
        f"Medians of {options.rounds} rounds of {options.seconds:g} s at {CONNECTIONS} "
        f"connections, load by {options.client}, one process a server."
    )
    lines, problems = report(every)
    return finish(lines, problems=problems)


if __name__ == "__main__":
    sys.exit(main())
