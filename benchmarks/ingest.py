"""
Speed of the stream through HTTP: stream_features against a handler that does nothing.

    python -m benchmarks.ingest

stream_features and an empty asynchronous handler take turns with the same requests:
pushes of Pub/Sub, every one a distinct event. What stream_features appends and
publishes goes to an ``append_server``: it must get as many rows as events were
acknowledged. Gates.
"""

from __future__ import annotations

import contextlib
import sys
from itertools import islice

from google.pubsub_v1.types import DeadLetterPolicy, PubsubMessage, Subscription

from benchmarks.report import Line, finish
from benchmarks.serving import EMPTY_ASYNCHRONOUS, loads, place
from local.emulators.pubsub.broker import Delivery
from local.emulators.pubsub.push import head_of, request
from local.generators.games import Games
from local.generators.streams import attributes_of, encode
from local.processes import HOST
from propensity.gcp.warehouse import Warehouse
from propensity.tables.stream import POSTCODE_INDEX, STREAM_EVENTS

FOLDER = "04-StreamFeatures"
OWN = "stream_features"
EMPTY = "empty asynchronous"
# Processor time of a push, of the empty asynchronous handler's.
MOST_CPU_OF_EMPTY = 2.3
LEAST_EVENTS_AN_APPEND = 20.0
CONNECTIONS = 256
ROUNDS = 6
SECONDS = 3
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
        for event in islice(games.events(), count - len(requests)):
            message = PubsubMessage.pb()(
                data=encode(event),
                attributes=attributes_of(event),
                message_id=str(10**15 + len(requests)),
            )
            message.publish_time.GetCurrentTime()
            delivery = Delivery(message, attempts=1)
            requests.append(request(head, subscription, delivery))
    return requests


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    with place(FOLDER) as here:
        with contextlib.closing(Warehouse.open(here.settings)) as warehouse:
            warehouse.create(POSTCODE_INDEX)
        sources = {
            OWN: here.function(FOLDER, OWN),
            EMPTY: here.handler("asynchronous", EMPTY_ASYNCHRONOUS),
        }
        how = {"connections": CONNECTIONS, "rounds": ROUNDS, "seconds": SECONDS}
        sent = loads(here, sources, pushes(REQUESTS), **how)
    events = f"/{STREAM_EVENTS.name}/"
    appended = [rows for stream, rows in here.appended if events in stream]
    cpu_us = {name: [load.cpu_us for load in figures] for name, figures in sent.items()}
    lines = [
        Line("processor time of a push", "µs", cpu_us, most=MOST_CPU_OF_EMPTY),
        Line("events an append", "", {OWN: appended}, least=LEAST_EVENTS_AN_APPEND),
    ]
    lost = sum(load.requests for load in sent[OWN]) - sum(appended)
    problems = [f"{lost} answers were in no append"] if lost > 0 else []
    return finish(lines, problems=problems)


if __name__ == "__main__":
    sys.exit(main())
