"""Messages as a producer sends them: some late, some repeated, some broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
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
    moment,
    shuffled,
    uuids,
)

Event = dict[str, Any]
# What breaks an event, by the reason that its dead letter must have.
Faults = Mapping[str, Callable[[Event], Event | bytes]]
REGISTRATION = "new_registration"
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Delivery:
    """
    One message as it is sent.

    ``event`` is what must be stored; None for a broken message, whose dead letter must
    have the ``reason``.
    """

    data: bytes
    attributes: Mapping[str, str]
    sent_time: datetime
    event: Event | None
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
    random: np.random.Generator,
    faults: Faults,
    *,
    id_field: str,
    time_field: str,
    broken: float = 0.01,
    is_delayed: bool = True,
    late: float = 0.05,
    late_days: tuple[float, float] = (0, 1),
    duplicates: float = 0.05,
    longest_ms: int = DAY_MS // 2,
    attributes_of: Callable[[Event], Mapping[str, str]] = lambda _: {},
) -> list[Delivery]:
    """
    Return all messages with some events, in the order of sending.

    Args:
        events: JSON objects.
        random: Draws all this.
        faults: Take turns in what is broken, a share under ids of its own.
        id_field, time_field: Names in an event.
        is_delayed: Whether each takes a moment.
        late, late_days: Share that is late, and by how many days, from and to.
        duplicates: Share of repetitions, most of them within minutes.
        longest_ms: How late the other repetitions are at most.
        attributes_of: Gives a message's attributes.
    """
    n = len(events)
    texts = [event[time_field].removesuffix("Z") for event in events]
    event_ms = np.array(texts, "datetime64[ms]").astype(np.int64)
    sent_ms = event_ms + (latency_ms(random, n) if is_delayed else 0)
    is_late = shuffled(random, n)[: round(n * late)]
    least, most = late_days
    late_ms = floor((least + (most - least) * random.random(n)) * DAY_MS)
    sent_ms[is_late] += late_ms[is_late]
    once = [
        Delivery(encode(event), attributes_of(event), moment(at), event)
        for event, at in zip(events, sent_ms.tolist(), strict=True)
    ]

    count = round(n * duplicates)
    again = floor(random.random(count) * n)
    wait_ms = 200 + exponential(random, count, 90 * SECOND_MS)
    longer_ms = floor(random.random(count) * longest_ms)
    wait_ms += np.where(random.random(count) < 0.1, longer_ms, 0)
    repeated = [
        replace(once[place], sent_time=moment(at))
        for place, at in zip(again, (sent_ms[again] + wait_ms).tolist(), strict=True)
    ]

    rows = [n for n, one in enumerate(events) if one.get("event_type") != REGISTRATION]
    count = round(n * broken)
    ids, wait_ms = uuids(random, count), latency_ms(random, count)
    spoilt = []
    for number, place in enumerate(floor(random.random(count) * len(rows))):
        row = rows[place]
        reason, spoil = [*faults.items()][number % len(faults)]
        event = events[row] | {id_field: ids[number]}
        data = spoil(event)
        attributes = attributes_of(event if isinstance(data, bytes) else data)
        data = data if isinstance(data, bytes) else encode(data)
        at = moment(int(event_ms[row] + wait_ms[number]))
        spoilt.append(Delivery(data, attributes, at, None, reason))
    return sorted([*once, *repeated, *spoilt], key=attrgetter("sent_time"))
