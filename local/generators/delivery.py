"""Messages as a producer sends them: some late, some again, some spoilt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    moment,
    shuffled,
)

Event = dict[str, Any]
Spoil = Callable[[Event], bytes]

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """
    One message as it is sent, and what it is.

    ``event`` is what has to be stored, with its id and use case wherever they were
    sent. It is None for a message that can never be accepted; then ``reason`` is the
    dead letter's reason and ``fault`` names one of the generator's faults.
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
    """
    One way to spoil an event, and the reason that its dead letter must have.

    ``of_registration``: whether registrations are spoilt, else other events.
    ``attributes`` replaces what the message's attributes say.
    """

    reason: str
    spoil: Spoil
    of_registration: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)

    def delivery(
        self,
        event: Event,
        *,
        name: str,
        sent_ms: int,
        attributes: Mapping[str, str] | None = None,
    ) -> Delivery:
        """Return the message with this event, spoilt."""
        return Delivery(
            data=self.spoil(event),
            attributes=attributes or {},
            sent_time=moment(sent_ms),
            event=None,
            reason=self.reason,
            fault=name,
        )


def encode(event: Mapping[str, Any]) -> bytes:
    """Return an event as compact JSON in UTF-8, a Decimal as the number it reads as."""
    fields = ",".join(
        f'"{name}":{value:f}'
        if isinstance(value, Decimal)
        else f'"{name}":{to_json(value)}'
        for name, value in event.items()
    )
    return f"{{{fields}}}".encode()


def cut_short(event: Event) -> bytes:
    """Spoil an event by leaving out the end of its JSON."""
    return encode(event)[:-12]


def with_fields(**fields: Any) -> Spoil:
    """Spoil an event by other values."""
    return lambda event: encode(event | fields)


def without(name: str) -> Spoil:
    """Spoil an event by leaving out a field."""
    return lambda event: encode({k: v for k, v in event.items() if k != name})


def check_shares(**shares: float) -> None:
    """Raise ValueError for a share that is negative, or of more than all."""
    limited = {"late", "never", "wrong_first"}
    for name, share in shares.items():
        if share < 0 or (name in limited and share > 1):
            raise ValueError(f"{name} is a share, not {share}")


def drawn_late(random: np.random.Generator, n: int, share: float) -> Flags:
    """Return which of ``n`` messages are sent late: exactly this share of them."""
    is_late = np.zeros(n, bool)
    is_late[shuffled(random, n)[: round(n * share)]] = True
    return is_late


def sent_once(
    events: Sequence[Event],
    messages: Iterable[tuple[bytes, Mapping[str, str]]],
    sent_ms: Ints,
    is_late: Flags,
) -> list[Delivery]:
    """Return the first message of each event, by its data and attributes."""
    return [
        Delivery(
            data=data,
            attributes=attributes,
            sent_time=moment(milliseconds),
            event=event,
            is_late=late,
        )
        for event, (data, attributes), milliseconds, late in zip(
            events, messages, sent_ms.tolist(), is_late.tolist(), strict=True
        )
    ]


def repeated(
    random: np.random.Generator,
    deliveries: Sequence[Delivery],
    share: float,
    *,
    longest: tuple[int, int],
) -> list[Delivery]:
    """
    Send some again, most within minutes.

    Args:
        random: What is drawn from.
        deliveries: The first of each message.
        share: How many are sent again; one may be sent again twice.
        longest: The wait of the others, at most: a number, and milliseconds of its
            unit. Two, since the product of all three numbers depends on their order.
    """
    count = round(len(deliveries) * share)
    again = floor(random.random(count) * len(deliveries))
    wait_ms = 200 + exponential(random, count, 90 * SECOND_MS)
    number, unit_ms = longest
    longer_ms = floor(random.random(count) * number * unit_ms)
    wait_ms += np.where(random.random(count) < 0.1, longer_ms, 0)
    return [
        replace(
            deliveries[which],
            sent_time=deliveries[which].sent_time + timedelta(milliseconds=wait),
            is_duplicate=True,
        )
        for which, wait in zip(again.tolist(), wait_ms.tolist(), strict=True)
    ]


def in_order(deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Return messages in the order of sending."""
    return sorted(deliveries, key=attrgetter("sent_time"))
