"""
Processor time of a push to stream_features, beside an empty handler's. Gates.

Both take turns with the same pushes of Pub/Sub, each a distinct event. As many rows
must be appended as events were acknowledged.
"""

from __future__ import annotations

import contextlib
from itertools import islice

from google.pubsub_v1.types import DeadLetterPolicy, PubsubMessage, Subscription

from benchmarks.measuring.report import Line
from benchmarks.measuring.serving import EMPTY_ASYNCHRONOUS, loads, place
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
# More than any of the servers can take in a round.
REQUESTS = 90_000


def pushes(count: int) -> list[bytes]:
    """Return pushes of distinct events to topic ``events``."""
    head = head_of(f"http://{HOST}/")
    subscription = Subscription.pb()(
        name="projects/benchmark/subscriptions/events-stream-features",
        dead_letter_policy=DeadLetterPolicy.pb()(max_delivery_attempts=20),
    )
    requests = []
    for number, event in enumerate(islice(Games(users=count // 25).events(), count)):
        message = PubsubMessage.pb()(
            data=encode(event),
            attributes=attributes_of(event),
            message_id=str(10**15 + number),
        )
        message.publish_time.GetCurrentTime()
        requests.append(request(head, subscription, Delivery(message, attempts=1)))
    return requests


def lines() -> list[Line]:
    with place(FOLDER) as here:
        with contextlib.closing(Warehouse.open(here.settings)) as warehouse:
            warehouse.create(POSTCODE_INDEX)
        sources = {
            OWN: here.function(FOLDER, OWN),
            EMPTY: here.handler("asynchronous", EMPTY_ASYNCHRONOUS),
        }
        sent = loads(
            here, sources, pushes(REQUESTS), connections=256, rounds=6, seconds=3
        )
    events = f"/{STREAM_EVENTS.name}/"
    appended = [rows for stream, rows in here.appended if events in stream]
    cpu_us = {name: [load.cpu_us for load in figures] for name, figures in sent.items()}
    lost = sum(load.requests for load in sent[OWN]) - sum(appended)
    if lost > 0:
        raise RuntimeError(f"{lost} answers were in no append")
    return [Line("processor time of a push", "µs", cpu_us, most=2.3)]
