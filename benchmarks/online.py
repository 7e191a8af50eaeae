"""
Speed of online scoring: 02-GetProba's score against one row at a time. Gates.

    python -m benchmarks.online

The shipped churn model is served two ways, and asked in turn for scores of the same
features:

- score, from its staged source as functions-framework deploys it. What it logs goes to
  ``benchmarks.append_service``: every score that was answered must be among it.
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
from typing import Any

import numpy as np

from benchmarks.append_service import append_service
from benchmarks.load import Load, generator
from benchmarks.lookup import FUNCTION
from benchmarks.report import beside, finish
from benchmarks.servers import Source, empty, servers
from deploy import stage
from local import sandbox, venvs
from local.processes import HOST
from local.stack.state import LOCAL, ROOT
from offline import load_model
from propensity import usecases
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.tables.every import INFERENCE_LOG
from propensity.usecases import NUMBER

USE_CASE = usecases.load(load_model.USE_CASE)
OWN, ONE = "score", "one at a time"
LOG = INFERENCE_LOG.name
LEAST = 5.0
CONNECTIONS, ROUNDS, SECONDS, BODIES = 32, 3, 4.0, 20_000
ONE_AT_A_TIME = f"""
import functions_framework
import joblib
import pandas as pd

folder = "{load_model.MODELS / USE_CASE.name}"
preprocessor, model = (joblib.load(f"{{folder}}/{{part}}.joblib")
                       for part in ("preprocessor", "model"))
names = list(preprocessor.feature_names_in_)


@functions_framework.http
def empty(request):
    frame = pd.DataFrame([request.get_json()["features"]], columns=names)
    encoded = preprocessor.transform(frame)
    return {{"probability": float(model.predict_proba(encoded)[0, 1])}}
"""


def bodies(count: int, *, seed: int) -> list[bytes]:
    """Return bodies of requests for scores of made-up features."""
    draws = np.random.default_rng(seed).gamma(2.0, 3.0, (count, len(USE_CASE.features)))
    rows = []
    for row in draws.round(3).tolist():
        features: dict[str, Any] = dict(zip(USE_CASE.features, row, strict=True))
        for name, kind in USE_CASE.features.items():
            if kind != NUMBER:
                features[name] = f"value {int(features[name])}"
        body = {"use_case": USE_CASE.name, "features": features}
        rows.append(json.dumps(body).encode())
    return rows


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
        for body in bodies(BODIES, seed=2)
    ]
    loads: dict[str, list[Load]] = {OWN: [], ONE: []}
    problems = []
    with contextlib.ExitStack() as undo:
        stack = undo.enter_context(sandbox.emulators())
        folder = stack.state.home
        service = undo.enter_context(append_service())
        os.environ["STORAGE_EMULATOR_HOST"] = stack.url("storage")
        settings = Settings.from_environment(stack.environment)
        with (
            contextlib.closing(Artifacts.open(settings)) as artifacts,
            contextlib.closing(Warehouse.open(settings)) as warehouse,
        ):
            load_model.load(warehouse, artifacts, settings)
        environment = stack.environment | {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "OMP_NUM_THREADS": "1",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"{HOST}:{service.port}",
        }
        load = generator(requests, folder)
        staged = stage.stage(
            FUNCTION, folder / OWN, requirements="requirements-score.txt"
        )
        one = empty(folder / "one", ONE_AT_A_TIME, is_asynchronous=False)
        sources = {OWN: Source(folder=staged, target="score"), ONE: one}
        processes = undo.enter_context(servers(sources, python, environment))
        [body] = bodies(1, seed=4)
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
    if failures := sum(each.failures for each in loads[OWN]):
        problems.append(f"{failures} requests failed")
    if answered > logged:
        problems.append(f"{answered - logged} answers were not logged")
    rates = {name: [one.requests_per_s for one in made] for name, made in loads.items()}
    line = beside("scores of the shipped model", "/s", rates, least=LEAST)
    return finish([line], problems=problems)


if __name__ == "__main__":
    sys.exit(main())
