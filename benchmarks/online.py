"""
Speed of online scoring: 02-GetProba's score against one row at a time. Gates.

    python -m benchmarks.online

The shipped churn model is served two ways, and asked in turn for scores of the same
features:

- score, from its staged source as functions-framework deploys it. What it logs goes to
  ``benchmarks.append_service``, which must get as many rows as there were answers.
- One at a time: a plain handler under functions-framework's default, threaded server,
  which gives the pipeline a DataFrame of one row.
"""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from typing import Any

import numpy as np

from benchmarks.report import beside, finish
from benchmarks.serving import in_turns, place, problems, served
from local.processes import HOST
from offline import load_model
from propensity import usecases
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.tables.every import INFERENCE_LOG
from propensity.usecases import NUMBER

USE_CASE = usecases.load(load_model.USE_CASE)
OWN, ONE = "score", "one at a time"
LEAST = 5.0
CONNECTIONS, ROUNDS, SECONDS, BODIES = 32, 4, 4, 20_000
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
    head = "POST / HTTP/1.1\r\nHost: f\r\nContent-Type: application/json\r\n"
    requests = [
        f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        for body in bodies(BODIES, seed=2)
    ]
    with place() as here:
        settings = here.settings
        with (
            contextlib.closing(Artifacts.open(settings)) as artifacts,
            contextlib.closing(Warehouse.open(settings)) as warehouse,
        ):
            load_model.load(warehouse, artifacts, settings)
        sources = {
            OWN: here.function("02-GetProba", OWN, "requirements-score.txt"),
            ONE: here.handler("one", ONE_AT_A_TIME, is_asynchronous=False),
        }
        how = {"connections": CONNECTIONS, "rounds": ROUNDS, "seconds": SECONDS}
        with served(sources, here.environment) as processes:
            loads = in_turns(processes, requests, here.folder, **how)
            [body] = bodies(1, seed=4)
            scores = [score_of(each.port, body) for each in processes.values()]
        logged = here.service.appended(INFERENCE_LOG.name)
    found = problems(loads[OWN], logged)
    if abs(scores[0] - scores[1]) > 1e-9:
        found.append(f"scores differ: {scores}")
    rates = {name: [one.requests_per_s for one in of] for name, of in loads.items()}
    line = beside("scores of the shipped model", "/s", rates, least=LEAST)
    return finish([line], problems=found)


if __name__ == "__main__":
    sys.exit(main())
