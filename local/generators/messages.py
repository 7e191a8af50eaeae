"""Messages as a producer sends them: some late, some repeated, some broken."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any

import numpy as np

from local.generators.drawing import (
    DAY_MS,
    SECOND_MS,
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
# What breaks an event, by the reason that its dead letter must have.
Faults = Mapping[str, Callable[[Event], Event | bytes]]
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


def encode(event: Mapping[str, Any]) -> bytes:
    """Return an event as compact JSON in UTF-8; a Decimal becomes a number."""
    fields = ",".join(
        f'"{name}":{value:f}'
        if isinstance(value, Decimal)
        else f'"{name}":{_to_json(value)}'
        for name, value in event.items()
    )
    return f"{{{fields}}}".encode()


def cut_short(event: Event) -> bytes:
    """Return an event that is no JSON any more."""
    return encode(event)[:-12]


def without(name: str) -> Callable[[Event], Event]:
    """Return what takes a field from an event."""
    return lambda event: {key: event[key] for key in event if key != name}


def given(**fields: Any) -> Callable[[Event], Event]:
    """Return what gives an event other values."""
    return lambda event: event | fields


def sent(
    events: Sequence[Event],
    *,
    seed: int,
    purpose: str,
    id_field: str,
    time_field: str,
    faults: Faults,
    broken: float = 0.01,
    is_delayed: bool = True,
    late: float = 0.05,
    late_days: tuple[float, float] = (0, 1),
    duplicates: float = 0.05,
    longest_ms: int = DAY_MS // 2,
    attributes_of: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda _: {},
) -> list[Delivery]:
    """
    Return all messages with some events, in the order of sending.

    Args:
        events: JSON objects.
        seed, purpose: Of the random numbers.
        id_field, time_field: Names in an event.
        faults: Take turns.
        broken: Share of broken messages, under ids of their own.
        is_delayed: Whether each takes a moment.
        late, late_days: Share that is late, and by how many days, from and to.
        duplicates: Share of repetitions, most of them within minutes.
        longest_ms: How late the other repetitions are at most.
        attributes_of: Gives a message's attributes.
    """
    random, n = random_of(seed, purpose), len(events)
    times = (datetime.fromisoformat(event[time_field]) for event in events)
    event_ms = np.array([*map(milliseconds, times)])
    sent_ms = event_ms + latency_ms(random, n) if is_delayed else event_ms
    is_late = np.zeros(n, bool)
    is_late[shuffled(random, n)[: round(n * late)]] = True
    least, most = late_days
    late_ms = floor((least + (most - least) * random.random(n)) * DAY_MS)
    sent_ms = sent_ms + np.where(is_late, late_ms, 0)
    once = [
        Delivery(
            data=encode(event),
            attributes=attributes_of(event),
            sent_time=moment(at),
            event=event,
            is_late=late,
        )
        for event, at, late in zip(
            events, sent_ms.tolist(), is_late.tolist(), strict=True
        )
    ]

    count = round(n * duplicates)
    again = floor(random.random(count) * n).tolist()
    wait_ms = 200 + exponential(random, count, 90 * SECOND_MS)
    longer_ms = floor(random.random(count) * longest_ms)
    wait_ms += np.where(random.random(count) < 0.1, longer_ms, 0)
    repeated = [
        replace(
            once[place],
            sent_time=once[place].sent_time + timedelta(milliseconds=wait),
            is_duplicate=True,
        )
        for place, wait in zip(again, wait_ms.tolist(), strict=True)
    ]

    rows = [n for n, one in enumerate(events) if one.get("event_type") != REGISTRATION]
    count = round(n * broken)
    ids, wait_ms = uuids(random, count), latency_ms(random, count)
    places = [rows[place] for place in floor(random.random(count) * len(rows))]
    spoilt = []
    for (reason, spoil), new_id, place, wait in zip(
        itertools.islice(itertools.cycle(faults.items()), count),
        *(ids, places, wait_ms.tolist()),
        strict=True,
    ):
        event = events[place] | {id_field: new_id}
        broke = spoil(event)
        spoilt.append(
            Delivery(
                data=broke if isinstance(broke, bytes) else encode(broke),
                attributes=attributes_of(event if isinstance(broke, bytes) else broke),
                sent_time=moment(int(event_ms[place]) + wait),
                event=None,
                reason=reason,
            )
        )
    return sorted([*once, *repeated, *spoilt], key=attrgetter("sent_time"))
