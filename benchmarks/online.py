"""
Speed of online scoring: 02-GetProba's score against one row at a time. Gates.

    python -m benchmarks.online

The same fitted pipelines, of card fraud's own preprocessor, are served two ways, and
asked in turn for scores of the same transactions:

- score, from its staged source as functions-framework deploys it. What it logs goes to
  ``benchmarks.append_service``: every transaction that was answered must be among it.
- One at a time: a plain handler under functions-framework's default, threaded server,
  which gives the pipeline a DataFrame of one row.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import urllib.request
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
from sklearn.pipeline import Pipeline, make_pipeline

from benchmarks.append_service import append_service
from benchmarks.load import Load, generator
from benchmarks.lookup import FUNCTION
from benchmarks.report import Line, finish
from benchmarks.servers import Source, empty, servers
from deploy import stage
from local import sandbox, venvs
from local.processes import HOST
from local.stack.stack import Stack
from local.stack.state import LOCAL, ROOT
from propensity import usecases
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.columns import record
from propensity.gcp.warehouse import Warehouse
from propensity.learning import candidates
from propensity.learning.preprocessor import default_preprocessor
from propensity.models.encoding import to_frame
from propensity.registry.champion import ANYTHING
from propensity.registry.versions import Registry, pickled
from propensity.settings import Settings
from propensity.tables.every import INFERENCE_LOG, TRAINING_METADATA

USE_CASE = usecases.load("card_fraud")
NAMES = list(USE_CASE.features)
OWN, ONE = "score", "one at a time"
MODEL, LOG = "hist_gradient_boosting", INFERENCE_LOG.name
LEAST = 5.0
CONNECTIONS, ROUNDS, SECONDS, TRANSACTIONS = 32, 3, 4.0, 20_000
ONE_AT_A_TIME = """
import functions_framework
import joblib
import pandas as pd

pipeline = joblib.load("pipeline.joblib")
names = list(pipeline.feature_names_in_)


@functions_framework.http
def empty(request):
    given = request.get_json()
    frame = pd.DataFrame([[float(given[name]) for name in names]], columns=names)
    return {"probability": float(pipeline.predict_proba(frame)[0, 1])}
"""


def transactions(count: int, *, seed: int) -> np.ndarray[Any, Any]:
    """Return features of transactions, a row each."""
    return np.random.default_rng(seed).normal(size=(count, len(NAMES))).round(6)


def fitted(name: str) -> Pipeline:
    """Return a pipeline with a candidate of the use case, on named columns."""
    rows = transactions(5_000, seed=1)
    batch = pa.RecordBatch.from_arrays([*rows.T], names=NAMES)
    label = rows[:, 3] + rows[:, 13] + rows[:, 28] > 2
    [candidate] = [one for one in USE_CASE.candidates if one.name == name]
    model = candidates.estimator(candidate, seed=0)
    features: Any = dict(USE_CASE.features)
    pipeline = make_pipeline(default_preprocessor(USE_CASE), model)
    return pipeline.fit(to_frame(batch, features), label)


def publish(stack: Stack, pipeline: Pipeline) -> None:
    """Publish a pipeline as training does, and let it serve."""
    settings = Settings.from_environment(stack.environment)
    os.environ["STORAGE_EMULATOR_HOST"] = stack.url("storage")
    with (
        contextlib.closing(Artifacts.open(settings)) as artifacts,
        contextlib.closing(Warehouse.open(settings)) as warehouse,
    ):
        registry = Registry(artifacts, USE_CASE.name)
        now = datetime.now(UTC)
        version = registry.claim(run_id=uuid.uuid4().hex, at=now)
        parts = {"preprocessor": pipeline[0], "model": pipeline[1]}
        published = registry.publish(
            version,
            {f"{part}.joblib": (pickled(step), "") for part, step in parts.items()},
        )
        row: dict[str, Any] = {
            "use_case": USE_CASE.name,
            "model_version": version,
            "training_date": date(2026, 3, 2),
            "as_of": date(2026, 3, 2),
            "algorithm": type(pipeline[1]).__name__,
            "card": json.dumps(
                {
                    "features": dict(USE_CASE.features),
                    "statement_parameters": {},
                    "files": {},
                }
            ),
        }
        for part in parts:
            row[f"{part}_object"] = published.objects[f"{part}.joblib"]
            row[f"{part}_sha256"] = published.checksums[f"{part}.joblib"]
        metadata = record(row, TRAINING_METADATA)
        warehouse.write(TRAINING_METADATA, metadata)
        checksum = published.checksums["model.joblib"]
        registry.promote(version, model_sha256=checksum, at=now, instead_of=ANYTHING)


def body_of(row: Sequence[float]) -> bytes:
    """Return a request's body for the score of a transaction."""
    given = {"transaction_id": uuid.uuid4().hex, "ingest_ts": time.time()}
    return json.dumps({**given, **dict(zip(NAMES, row, strict=True))}).encode()


def score_of(port: int, body: bytes) -> float:
    """Ask a server for one score."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{HOST}:{port}/", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return float(json.load(answer)["probability"])


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    python = venvs.functions_python(ROOT, folder=LOCAL / "venvs", say=print)
    head = "POST / HTTP/1.1\r\nHost: f\r\nContent-Type: application/json\r\n"
    requests = [
        f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        for body in map(body_of, transactions(TRANSACTIONS, seed=2).tolist())
    ]
    loads: dict[str, list[Load]] = {OWN: [], ONE: []}
    problems = []
    with contextlib.ExitStack() as undo:
        stack = undo.enter_context(sandbox.emulators())
        folder = stack.state.home
        service = undo.enter_context(append_service())
        environment = stack.environment | {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "OMP_NUM_THREADS": "1",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"{HOST}:{service.port}",
        }
        load = generator(requests, folder)
        pipeline = fitted(MODEL)
        publish(stack, pipeline)
        staged = stage.stage(
            FUNCTION, folder / OWN, requirements="requirements-score.txt"
        )
        one = empty(folder / "one", ONE_AT_A_TIME, is_asynchronous=False)
        joblib.dump(pipeline, one.folder / "pipeline.joblib")
        sources = {OWN: Source(folder=staged, target="score"), ONE: one}
        processes = undo.enter_context(servers(sources, python, environment))
        body = body_of(transactions(1, seed=4)[0].tolist())
        scores = [score_of(each.port, body) for each in processes.values()]
        if abs(scores[0] - scores[1]) > 1e-9:
            problems.append(f"scores differ: {scores}")
        for process in processes.values():
            load(process.port, 2.0, CONNECTIONS)
        # What is logged waits for others first.
        time.sleep(1)
        service.take(LOG)
        for _ in range(ROUNDS):
            for name, process in processes.items():
                loads[name].append(load(process.port, SECONDS, CONNECTIONS))
        time.sleep(1)
        logged = sum(map(len, service.take(LOG)))
    answered = sum(each.requests - each.failures for each in loads[OWN])
    wrong = {
        "requests failed": sum(each.failures for each in loads[OWN]),
        "answers were not logged": answered - logged,
    }
    problems += [f"{n} {what}" for what, n in wrong.items() if n > 0]
    line = Line(
        what=f"scores of {MODEL}",
        unit="/s",
        ours=[each.requests_per_s for each in loads[OWN]],
        peer=ONE,
        theirs=[each.requests_per_s for each in loads[ONE]],
        least=LEAST,
    )
    return finish([line], problems=problems)


if __name__ == "__main__":
    sys.exit(main())
