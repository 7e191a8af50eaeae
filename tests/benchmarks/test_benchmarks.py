"""Every benchmark, played in its smallest size: it ends, and has figures of both sides.

What is not here is stood in for: a peer's environment, and ``wrk``."""

from __future__ import annotations

import os
import socket
from functools import partial
from importlib import import_module

import pyarrow as pa
import pytest

from benchmarks.__main__ import every, run
from benchmarks.measuring import report, serving
from local.generators.shop import Shop
from local.processes import HOST

SIZES = {
    "half_space_trees": {"ROWS": 100},
    "million": {"ROWS": 3_000},
    "scoring": {"ROWS": 2_000, "TRAINING_ROWS": 2_000},
    "stream": {"EVENTS": 2_000},
    "training": {"ROWS": 2_600},
    "ingest": {"REQUESTS": 50},
    "lookup": {"USERS": 20_000, "STARTS": 1, "ASKED": 20},
    "quality": {"WEEKS": 2, "RESAMPLES": 2, "Shop": partial(Shop, users=600)},
}
# They start servers and emulators, or train.
LONG = ("ingest", "lookup", "million", "quality", "training")


def by_peer(name, script, *asked):
    """Answer as the script would, where its environment has to be installed."""
    if name == "lifetimes":
        purchases, weeks, _ = asked
        return [dict.fromkeys(purchases["user"], 0.1) for _ in weeks]
    if name == "storey":
        return 1.0
    return report.by_peer(name, script, *asked)


def loads(here, sources, requests, **_):
    """Send each server each request once."""
    measured = {}
    with serving.running(sources, here.environment) as processes:
        for name, process in processes.items():
            for data in requests:
                with socket.create_connection((HOST, process.port), 30) as link:
                    link.sendall(data)
                    assert b" 200 " in link.recv(4096)
            count = len(requests)
            measured[name] = [serving.Load(count, 1.0, 1.0, 1.0)]
    return measured


@pytest.fixture
def smallest(monkeypatch, request):
    """A benchmark in its smallest size, which leaves this process as it was."""
    name = request.param
    module = import_module(f"benchmarks.{name}")
    for constant, value in {"ROUNDS": 1, **SIZES[name]}.items():
        monkeypatch.setattr(module, constant, value, raising=constant != "ROUNDS")
    for function in (by_peer, loads):
        if hasattr(module, function.__name__):
            monkeypatch.setattr(module, function.__name__, function)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    threads = pa.cpu_count()
    yield name
    pa.set_cpu_count(threads)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "smallest",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in LONG else [])
        for name in every()
        if name != "published"
    ],
    indirect=True,
)
def test_a_benchmark_ends_with_its_table(smallest, tmp_path):
    """In this size a target may be missed."""
    table = tmp_path / "bench.md"
    status = run(smallest, table)

    assert status in (0, 1)
    rows = table.read_text().splitlines()
    assert rows
    assert all(row.startswith("| ") for row in rows)
