"""
Speed of a lookup: 02-GetProba against handlers that do nothing. Gates.

Three servers are asked in turn for the same addresses: 02-GetProba with an index of a
million users, an empty asynchronous handler, and an empty one under the default,
threaded server. Their processor time is compared, since the rate of a server depends on
what else the machine does. A cold start is the time from the start of a process to its
first answer, beside a handler that imports the framework and BigQuery's client.
"""

from __future__ import annotations

import contextlib
import time
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.measuring.report import Line, in_turns
from benchmarks.measuring.serving import (
    EMPTY_ASYNCHRONOUS,
    Source,
    loads,
    place,
    running,
)
from local.processes import HOST
from propensity.gcp.artifacts import Artifacts
from propensity.registry import index

OWN = "02-GetProba"
ASYNCHRONOUS = "empty asynchronous"
THREADED = "empty threaded"
BASE = "framework and client"
LEAST = {ASYNCHRONOUS: 0.5, THREADED: 4.0}
MOST_OF_COLD_START = 1.7
USERS = 1_000_000
ASKED = 1_000
CONNECTIONS = 32
ROUNDS = 6
SECONDS = 2
STARTS = 7
EMPTY_THREADED = """
import functions_framework


@functions_framework.http
def empty(request):
    return "OK"
"""


def predictions(sql: str, parameters: object = None) -> Iterator[pa.RecordBatch]:
    """Yield a million users, as BigQuery streams the predictions table."""
    draws = np.random.default_rng(1)
    count = 20_000
    today = pa.array([datetime.now(UTC).date()] * count, pa.date32())
    for first in range(0, USERS, count):
        yield pa.RecordBatch.from_pydict(
            {
                "user_id": [f"user.{first + n}" for n in range(count)],
                "probability": draws.random(count),
                "as_of": today,
                "percentile": draws.integers(1, 101, count),
                "model_version": draws.integers(0, 3, count),
                "expected_value": draws.random(count),
                "decile_value": draws.integers(0, 100, count),
            }
        )


def cold_start(name: str, source: Source, environment: Mapping[str, str]) -> float:
    """Return the seconds from the start of a process to its first answer."""
    began = time.perf_counter()
    with running({name: source}, environment) as processes:
        url = f"http://{HOST}:{processes[name].port}/?user_id=user.7"
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert b"null" not in answer.read()
        return time.perf_counter() - began


def lines() -> list[Line]:
    warehouse: Any = SimpleNamespace(batches=predictions)
    with place(OWN) as here:
        with contextlib.closing(Artifacts.open(here.settings)) as artifacts:
            index.store_index(warehouse, artifacts, here.settings.use_case, days=60)
        sources = {
            OWN: here.function(OWN, "get_proba"),
            ASYNCHRONOUS: here.handler("asynchronous", EMPTY_ASYNCHRONOUS),
            THREADED: here.handler("threaded", EMPTY_THREADED, is_asynchronous=False),
        }
        client = f"from google.cloud import bigquery\n{EMPTY_ASYNCHRONOUS}"
        base = here.handler("base", client)
        ways = {
            OWN: partial(cold_start, OWN, sources[OWN], here.environment),
            BASE: partial(cold_start, BASE, base, here.environment),
        }
        # The first round reads files that the system does not hold yet.
        in_turns(1, ways)
        starts = in_turns(STARTS, ways)
        address = "GET /?user_id=user.{} HTTP/1.1\r\nHost: f\r\n\r\n"
        requests = [address.format(n).encode() for n in range(ASKED)]
        how = {"rounds": ROUNDS, "seconds": SECONDS}
        sent = loads(here, sources, requests, connections=CONNECTIONS, **how)
        # How long a caller waits whom nobody else keeps waiting.
        pair = {OWN: sources[OWN], ASYNCHRONOUS: sources[ASYNCHRONOUS]}
        alone = loads(here, pair, requests, connections=1, **how)
    rates = {
        name: [load.requests_per_s for load in figures]
        for name, figures in sent.items()
    }
    per_cpu_s = {
        name: [1e6 / load.cpu_us for load in figures] for name, figures in sent.items()
    }
    what = "lookups in a second of processor time"
    measured = [
        Line(what, "", {OWN: per_cpu_s[OWN], peer: per_cpu_s[peer]}, least=target)
        for peer, target in LEAST.items()
    ]
    what = f"lookups at {CONNECTIONS} connections"
    for peer in LEAST:
        measured.append(Line(what, "/s", {OWN: rates[OWN], peer: rates[peer]}))
    times = {}
    for peer, figures in alone.items():
        times[peer] = [load.p99_ms for load in figures]
    measured.append(Line("p99 of a lookup at one connection", "ms", times))
    measured.append(Line("cold start", "s", starts, most=MOST_OF_COLD_START))
    return measured
