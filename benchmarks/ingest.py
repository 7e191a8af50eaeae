"""
Speed of the stream through HTTP: stream_features against a handler that does nothing.

    python -m benchmarks.ingest

Two servers run from one virtual environment, which holds only the requirements of
04-StreamFeatures, each as functions-framework deploys it: stream_features from its
staged source, and an empty asynchronous handler. They take turns with the same
requests: pushes of Pub/Sub, every one a distinct event. What stream_features appends
and publishes goes to ``benchmarks.append_service``: every event that was acknowledged
must have been in an append. Gates.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from google.pubsub_v1.types import DeadLetterPolicy, PubsubMessage, Subscription

from benchmarks.append_service import APPEND_S, Counts, append_service, take_counts
from benchmarks.load import Load, generator
from benchmarks.report import Line, finish
from benchmarks.servers import EMPTY_ASYNCHRONOUS, Source, empty, servers
from deploy import stage
from local import sandbox, venvs
from local.emulators.pubsub.messages import Delivery
from local.emulators.pubsub.push import head_of, request
from local.generators.games.games import Games
from local.processes import HOST, cpu_s
from local.stack.state import LOCAL, ROOT
from propensity import tables
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings

FUNCTION = ROOT / "04-StreamFeatures"
OWN, EMPTY = "stream_features", "empty asynchronous"
# Processor time of a push, of the empty asynchronous handler's.
MOST_CPU_OF_EMPTY = 2.0
LEAST_EVENTS_AN_APPEND = 20.0
CONNECTIONS, ROUNDS, SECONDS = 256, 5, 3.0
# More distinct requests than any of the servers can take in a round.
REQUESTS = 90_000
EVENTS_PER_USER = 25


@dataclass(frozen=True)
class Round:
    """A load, what it cost the server, and what reached the service meanwhile."""

    load: Load
    cpu_us: float
    counts: Counts


def pushes(count: int) -> list[bytes]:
    """Return pushes of distinct events to topic ``events``."""
    head = head_of(f"http://{HOST}/")
    subscription = Subscription.pb()(
        name="projects/benchmark/subscriptions/events-stream-features",
        dead_letter_policy=DeadLetterPolicy.pb()(max_delivery_attempts=20),
    )
    requests: list[bytes] = []
    seed = 0
    while len(requests) < count:
        seed += 1
        games = Games(seed=seed, users=max(1, count // EVENTS_PER_USER))
        for payload, attributes in islice(games.payloads(), count - len(requests)):
            message = PubsubMessage.pb()(
                data=payload,
                attributes=attributes,
                message_id=str(10**15 + len(requests)),
            )
            message.publish_time.GetCurrentTime()
            delivery = Delivery(message, attempts=1)
            requests.append(request(head, subscription, delivery))
    return requests


def lines(turns: Mapping[str, Sequence[Round]]) -> Iterator[Line]:
    """Yield the lines of the rounds of each server."""
    own, others = turns[OWN], turns[EMPTY]
    yield Line(
        what="processor time of a push",
        unit="µs",
        ours=[turn.cpu_us for turn in own],
        peer=EMPTY,
        theirs=[turn.cpu_us for turn in others],
        most=MOST_CPU_OF_EMPTY,
    )
    yield Line(
        what="requests a second",
        ours=[turn.load.requests_per_s for turn in own],
        peer=EMPTY,
        theirs=[turn.load.requests_per_s for turn in others],
    )
    yield Line(
        what=f"p50 with appends of {APPEND_S * 1e3:g} ms",
        unit="ms",
        ours=[turn.load.p50_ms for turn in own],
    )
    yield Line(
        what="events an append",
        ours=[sum(turn.counts.rows) / len(turn.counts.rows) for turn in own],
        least=LEAST_EVENTS_AN_APPEND,
    )


def problems(turns: Mapping[str, Sequence[Round]]) -> Iterator[str]:
    """Yield what was lost, refused or failed in the rounds of stream_features."""
    for number, turn in enumerate(turns[OWN], 1):
        acknowledged = turn.load.requests - turn.load.failures
        lost = acknowledged - len(turn.counts.event_ids)
        wrong = {
            "pushes failed": turn.load.failures,
            "acknowledged events were in no append": max(0, lost),
            "dead letters": turn.counts.refused,
        }
        yield from (f"round {number}: {n} {what}" for what, n in wrong.items() if n)


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    python = venvs.functions_python(ROOT, folder=LOCAL / "venvs", say=print)
    turns: dict[str, list[Round]] = {OWN: [], EMPTY: []}
    with contextlib.ExitStack() as undo:
        stack = undo.enter_context(sandbox.emulators())
        folder = stack.state.home
        with contextlib.closing(
            Warehouse.open(Settings.from_environment(stack.environment))
        ) as warehouse:
            warehouse.create(tables.POSTCODE_INDEX)
        service = undo.enter_context(append_service(folder))
        environment = stack.environment | {
            "PATH": "/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"{HOST}:{service}",
            "PUBSUB_EMULATOR_HOST": f"{HOST}:{service}",
        }
        sources = {
            OWN: Source(folder=stage.stage(FUNCTION, folder / OWN), target=OWN),
            EMPTY: empty(folder / "asynchronous", EMPTY_ASYNCHRONOUS),
        }
        load = generator(pushes(REQUESTS), folder)
        processes = undo.enter_context(servers(sources, python, environment))
        for process in processes.values():
            load(process.port, 1.0, CONNECTIONS)
        for _ in range(ROUNDS):
            for name, process in processes.items():
                # What was under way when the load ended is appended too.
                time.sleep(20 * APPEND_S)
                take_counts(service)
                began = cpu_s(process)
                round_ = load(process.port, SECONDS, CONNECTIONS)
                cpu_us = (cpu_s(process) - began) / round_.requests * 1e6
                time.sleep(20 * APPEND_S)
                turns[name].append(Round(round_, cpu_us, take_counts(service)))
    return finish(lines(turns), problems=[*problems(turns)])


if __name__ == "__main__":
    sys.exit(main())
