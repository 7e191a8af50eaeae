"""Messages as a producer sends them: some late, some repeated, some broken."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any

import numpy as np

from local.generators.drawing import (
    DAY_MS,
    SECOND_MS,
    Ints,
    exponential,
    floor,
    latency_ms,
    milliseconds,
    moment,
    random_of,
    shuffled,
    uuids,
)

Event = dict[str, Any]
REGISTRATION = "new_registration"
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """
    One message as it is sent, and what it is.

    ``event`` is what must be stored; None for a broken message, whose dead letter must
    have the ``reason``.
    """

    data: bytes
    attributes: Mapping[str, str]
    sent_time: datetime
    event: Event | None
    is_duplicate: bool = False
    is_late: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Fault:
    """One way to break an event: of registrations, or of all others."""

    reason: str
    spoil: Callable[[Event], bytes]
    of_registration: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Habits:
    """
    How a producer sends its events.

    ``is_delayed``: each takes a moment. ``late`` is the share that is late, by
    ``late_days`` from and to. ``duplicates`` is the share of repetitions, most of them
    within minutes, and ``longest_ms`` how late the others are. ``broken`` is the share
    of broken messages, under ids of their own, whose ``faults`` take turns.
    """

    id_field: str
    time_field: str
    faults: Sequence[Fault]
    is_delayed: bool = True
    late: float = 0.05
    late_days: tuple[float, float] = (0, 1)
    duplicates: float = 0.05
    longest_ms: int = DAY_MS // 2
    broken: float = 0.01
    attributes_of: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda _: {}


def encode(event: Mapping[str, Any]) -> bytes:
    """Return an event as compact JSON in UTF-8; a Decimal becomes a number."""
    fields = ",".join(
        f'"{name}":{value:f}'
        if isinstance(value, Decimal)
        else f'"{name}":{_to_json(value)}'
        for name, value in event.items()
    )
    return f"{{{fields}}}".encode()


def times_of(events: Sequence[Event], name: str) -> Ints:
    """Return a time of each event in milliseconds since 1970."""
    times = (datetime.fromisoformat(event[name]) for event in events)
    return np.array([milliseconds(time) for time in times])


def sent(
    events: Sequence[Event], habits: Habits, *, seed: int, purpose: str
) -> list[Delivery]:
    """Return all messages with some events, in the order of sending."""
    random, n = random_of(seed, purpose), len(events)
    sent_ms = times_of(events, habits.time_field)
    if habits.is_delayed:
        sent_ms += latency_ms(random, n)
    is_late = np.zeros(n, bool)
    is_late[shuffled(random, n)[: round(n * habits.late)]] = True
    least, most = habits.late_days
    late_ms = floor((least + (most - least) * random.random(n)) * DAY_MS)
    sent_ms += np.where(is_late, late_ms, 0)
    once = [
        Delivery(
            data=encode(event),
            attributes=habits.attributes_of(event),
            sent_time=moment(at),
            event=event,
            is_late=late,
        )
        for event, at, late in zip(
            events, sent_ms.tolist(), is_late.tolist(), strict=True
        )
    ]
    count = round(n * habits.duplicates)
    again = floor(random.random(count) * n).tolist()
    wait_ms = 200 + exponential(random, count, 90 * SECOND_MS)
    longer_ms = floor(random.random(count) * habits.longest_ms)
    wait_ms += np.where(random.random(count) < 0.1, longer_ms, 0)
    repeated = [
        replace(
            once[place],
            sent_time=once[place].sent_time + timedelta(milliseconds=wait),
            is_duplicate=True,
        )
        for place, wait in zip(again, wait_ms.tolist(), strict=True)
    ]
    pools: dict[bool, list[Event]] = {False: [], True: []}
    for event in events:
        pools[event.get("event_type") == REGISTRATION].append(event)
    count = round(n * habits.broken)
    spoilt = []
    for fault, new_id, wait, place in zip(
        itertools.islice(itertools.cycle(habits.faults), count),
        uuids(random, count),
        latency_ms(random, count).tolist(),
        random.random(count).tolist(),
        strict=True,
    ):
        pool = pools[fault.of_registration]
        event = pool[int(place * len(pool))] | {habits.id_field: new_id}
        at = datetime.fromisoformat(event[habits.time_field])
        spoilt.append(
            Delivery(
                data=fault.spoil(event),
                attributes=habits.attributes_of({**event, **fault.attributes}),
                sent_time=moment(milliseconds(at) + wait),
                event=None,
                reason=fault.reason,
            )
        )
    return sorted([*once, *repeated, *spoilt], key=attrgetter("sent_time"))
