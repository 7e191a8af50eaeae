"""Players' events as a producer sends them: late, repeated, and spoilt ones beside."""

from __future__ import annotations

import numpy as np

from local.generators.delivery import Delivery, Event, drawn_late, repeated
from local.generators.drawing import (
    DAY_MS,
    floor,
    latency_ms,
    milliseconds,
    moment,
    uuids,
)
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
    messages = [
        message_of(event, style)
        for event, style in zip(events, random.random(n).tolist(), strict=True)
    ]
    deliveries = [
        Delivery(
            data=data,
            attributes=attributes,
            sent_time=moment(sent),
            event=event,
            is_late=was_late,
        )
        for (data, attributes), event, sent, was_late in zip(
            messages, events, sent_ms.tolist(), is_late.tolist(), strict=True
        )
    ]

    deliveries += repeated(
        random, deliveries, round(n * duplicates), longest=(3, DAY_MS)
    )
    deliveries += _spoilt(random, events, round(n * broken))
    return sorted(deliveries, key=lambda delivery: delivery.sent_time)


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
    spoilt = []
    for name, event_id, wait, where in zip(
        turns, ids, wait_ms, random.random(count).tolist(), strict=True
    ):
        fault = FAULTS[name]
        pool = pools[fault.of_registration]
        event = pool[int(where * len(pool))] | {"event_id": event_id}
        sent_ms = milliseconds(instant(event["event_time"])) + wait
        spoilt.append(
            Delivery(
                data=fault.spoil(event),
                attributes=attributes_of({**event, **fault.attributes}),
                sent_time=moment(sent_ms),
                event=None,
                reason=fault.reason,
                fault=name,
            )
        )
    return spoilt
