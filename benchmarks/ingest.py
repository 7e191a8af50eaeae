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
from itertools import islice

from google.pubsub_v1.types import DeadLetterPolicy, PubsubMessage, Subscription

from benchmarks.append_service import APPEND_S, append_service
from benchmarks.load import Load, generator
from benchmarks.report import Line, beside, finish
from benchmarks.servers import EMPTY_ASYNCHRONOUS, Source, empty, servers
from deploy import stage
from local import sandbox, venvs
from local.emulators.pubsub.broker import Delivery
from local.emulators.pubsub.push import head_of, request
from local.generators.games import Games
from local.processes import HOST, cpu_s
from local.stack.state import LOCAL, ROOT
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.tables import every as tables

FUNCTION = ROOT / "04-StreamFeatures"
OWN, EMPTY = "stream_features", "empty asynchronous"
EVENTS = tables.STREAM_EVENTS.name
# Processor time of a push, of the empty asynchronous handler's.
MOST_CPU_OF_EMPTY = 2.0
LEAST_EVENTS_AN_APPEND = 20.0
CONNECTIONS, ROUNDS, SECONDS = 256, 5, 3.0
# More distinct requests than any of the servers can take in a round.
REQUESTS = 90_000
EVENTS_PER_USER = 25


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


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    python = venvs.functions_python(ROOT, folder=LOCAL / "venvs", say=print)
    loads: dict[str, list[Load]] = {OWN: [], EMPTY: []}
    cpu_us: dict[str, list[float]] = {OWN: [], EMPTY: []}
    an_append: list[float] = []
    problems: list[str] = []
    with contextlib.ExitStack() as undo:
        stack = undo.enter_context(sandbox.emulators())
        folder = stack.state.home
        with contextlib.closing(
            Warehouse.open(Settings.from_environment(stack.environment))
        ) as warehouse:
            warehouse.create(tables.POSTCODE_INDEX)
        service = undo.enter_context(append_service())
        environment = stack.environment | {
            "PATH": "/usr/bin:/bin",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"{HOST}:{service.port}",
            "PUBSUB_EMULATOR_HOST": f"{HOST}:{service.port}",
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
                service.take(EVENTS)
                began = cpu_s(process)
                done = load(process.port, SECONDS, CONNECTIONS)
                cpu_us[name].append((cpu_s(process) - began) / done.requests * 1e6)
                loads[name].append(done)
                if name == OWN:
                    time.sleep(20 * APPEND_S)
                    appended = service.take(EVENTS)
                    ids = {
                        i for batch in appended for i in batch["event_id"].to_pylist()
                    }
                    an_append.append(sum(map(len, appended)) / len(appended))
                    if (lost := done.requests - done.failures - len(ids)) > 0:
                        problems.append(f"{lost} acknowledged events in no append")
                    if done.failures:
                        problems.append(f"{done.failures} pushes failed")
    rates = {name: [one.requests_per_s for one in made] for name, made in loads.items()}
    lines = [
        beside("processor time of a push", "µs", cpu_us, most=MOST_CPU_OF_EMPTY),
        beside("requests a second", "", rates),
        Line(what="events an append", ours=an_append, least=LEAST_EVENTS_AN_APPEND),
    ]
    return finish(lines, problems=problems)


if __name__ == "__main__":
    sys.exit(main())
