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
    SECOND_MS,
    Flags,
    Ints,
    exponential,
    floor,
    latency_ms,
    milliseconds,
    moment,
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

    ``event`` is what must be stored; None for a broken message, whose ``fault`` is the
    key of a ``Fault`` and whose ``reason`` the dead letter must have.
    """

    data: bytes
    attributes: Mapping[str, str]
    sent_time: datetime
    event: Event | None
    is_duplicate: bool = False
    is_late: bool = False
    reason: str | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Fault:
    """One way to break an event: of registrations, or of all others."""

    reason: str
    spoil: Callable[[Event], bytes]
    of_registration: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


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
    return encode(event)[:-12]


def with_fields(**fields: Any) -> Callable[[Event], bytes]:
    """Break an event by other values."""
    return lambda event: encode(event | fields)


def without(name: str) -> Callable[[Event], bytes]:
    """Break an event by leaving out a field."""
    return lambda event: encode({k: v for k, v in event.items() if k != name})


def drawn_late(random: np.random.Generator, n: int, share: float) -> Flags:
    """Return which of ``n`` messages are late: exactly this share of them."""
    is_late = np.zeros(n, bool)
    is_late[shuffled(random, n)[: round(n * share)]] = True
    return is_late


def sent(
    random: np.random.Generator,
    events: Sequence[Event],
    *,
    sent_ms: Ints,
    is_late: Flags,
    duplicates: float,
    longest: tuple[int, int],
    broken: float,
    faults: Mapping[str, Fault],
    id_field: str,
    time_field: str,
    attributes_of: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda _: {},
) -> list[Delivery]:
    """
    Return all messages in the order of sending.

    Args:
        random: Of everything drawn here.
        events: One for each message.
        sent_ms, is_late: When each is sent, and whether that is late.
        duplicates: Repetitions, as a share of the events; most come within minutes.
        longest: How late the others are at most: a number, and milliseconds of a unit.
        broken: Broken messages, as a share of the events, under ids of their own.
        faults: They take turns.
        id_field, time_field: Fields of an event.
        attributes_of: The attributes of a message with an event.
    """
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
    count = round(len(once) * duplicates)
    again = floor(random.random(count) * len(once)).tolist()
    wait_ms = 200 + exponential(random, count, 90 * SECOND_MS)
    longer_ms = floor(random.random(count) * longest[0] * longest[1])
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
    count = round(len(events) * broken)
    spoilt = []
    for name, new_id, wait, place in zip(
        itertools.islice(itertools.cycle(faults), count),
        uuids(random, count),
        latency_ms(random, count).tolist(),
        random.random(count).tolist(),
        strict=True,
    ):
        fault = faults[name]
        pool = pools[fault.of_registration]
        event = pool[int(place * len(pool))] | {id_field: new_id}
        at = milliseconds(datetime.fromisoformat(event[time_field])) + wait
        spoilt.append(
            Delivery(
                data=fault.spoil(event),
                attributes=attributes_of({**event, **fault.attributes}),
                sent_time=moment(at),
                event=None,
                reason=fault.reason,
                fault=name,
            )
        )
    return sorted([*once, *repeated, *spoilt], key=attrgetter("sent_time"))
