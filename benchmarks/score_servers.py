"""The three servers of ``benchmarks.online``, and a request to each."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lookup import FUNCTION
from benchmarks.servers import wait_until_ready
from deploy import stage
from local.processes import HOST, Process, free_ports, spawn, stop
from propensity import usecases

USE_CASE = usecases.load("card_fraud")
NAMES = list(USE_CASE.features)
OWN, ONE, RAY = "score", "one at a time", "Ray Serve"
RAY_BATCH = 64
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
            wait_until_scores(process, is_ray=name == RAY)
        yield processes
    finally:
        stop(processes.values())


def wait_until_scores(process: Process, *, is_ray: bool) -> None:
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
