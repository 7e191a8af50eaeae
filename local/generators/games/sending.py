"""Players' events as a producer sends them: late, repeated, and spoilt ones beside."""

from __future__ import annotations

import numpy as np

from local.generators.delivery import (
    Delivery,
    Event,
    drawn_late,
    in_order,
    repeated,
    sent_once,
)
from local.generators.drawing import DAY_MS, floor, latency_ms, milliseconds, uuids
from local.generators.games.messages import (
    FAULTS,
    HUGE_TURNS,
    REGISTRATION,
    attributes_of,
    instant,
    message_of,
)


def sent(
    random: np.random.Generator,
    events: list[Event],
    *,
    duplicates: float,
    late: float,
    broken: float,
) -> list[Delivery]:
    """Return what is sent, in the order of sending; see ``Games.deliveries``."""
    n = len(events)
    sent_ms = np.array([milliseconds(instant(e["event_time"])) for e in events])
    sent_ms += latency_ms(random, n)
    is_late = drawn_late(random, n, late)
    sent_ms += np.where(is_late, floor((1 + 4 * random.random(n)) * DAY_MS), 0)
    messages = map(message_of, events, random.random(n).tolist())
    deliveries = sent_once(events, messages, sent_ms, is_late)
    again = repeated(random, deliveries, duplicates, longest=(3, DAY_MS))
    spoilt = _spoilt(random, events, round(n * broken))
    return in_order([*deliveries, *again, *spoilt])


def _spoilt(
    random: np.random.Generator, events: list[Event], count: int
) -> list[Delivery]:
    """Spoil copies of events, every fault in its turn."""
    pools: dict[bool, list[Event]] = {False: [], True: []}
    for event in events:
        pools[event["event_type"] == REGISTRATION].append(event)
    names = [name for name, fault in FAULTS.items() if pools[fault.of_registration]]
    lean = [name for name in names if FAULTS[name].reason != "too_large"]
    turns = (names * HUGE_TURNS)[:count]
    turns += [lean[i % len(lean)] for i in range(count - len(turns))]
    ids = uuids(random, count)
    wait_ms = latency_ms(random, count).tolist()
    places = random.random(count).tolist()
    spoilt = []
    for name, event_id, wait, place in zip(turns, ids, wait_ms, places, strict=True):
        fault = FAULTS[name]
        pool = pools[fault.of_registration]
        event = pool[int(place * len(pool))] | {"event_id": event_id}
        spoilt.append(
            fault.delivery(
                event,
                name=name,
                sent_ms=milliseconds(instant(event["event_time"])) + wait,
                attributes=attributes_of({**event, **fault.attributes}),
            )
        )
    return spoilt
