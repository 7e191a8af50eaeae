"""
Streamed data: random numbers, a generator of its own for each purpose, and messages
as a producer sends them, some of them late or repeated.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from propensity.models.encoding import Floats

Ints = NDArray[np.int64]
Event = dict[str, Any]

SECOND_MS = 1_000
HOUR_MS = 3_600 * SECOND_MS
DAY_MS = 24 * HOUR_MS
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def random_of(seed: int, purpose: str) -> np.random.Generator:
    """Return a generator for one purpose, so that purposes may come in any order."""
    tag = zlib.crc32(purpose.encode())
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, tag])))


def floor(values: Floats) -> Ints:
    return np.floor(values).astype(np.int64)


def shuffled(random: np.random.Generator, n: int) -> Ints:
    """Return the numbers below ``n`` in any order."""
    return np.argsort(random.random(n), kind="stable")


def normal(random: np.random.Generator, n: int) -> Floats:
    """Draw by Box and Muller."""
    radius = np.sqrt(-2 * np.log1p(-random.random(n)))
    drawn: Floats = radius * np.cos(2 * np.pi * random.random(n))
    return drawn


def pick(random: np.random.Generator, weights: Floats) -> Ints:
    """Draw one column for each row of weights, which sum to 1."""
    uniform = random.random(len(weights))
    chosen: Ints = (uniform[:, None] >= weights.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return chosen


def exponential(random: np.random.Generator, n: int, mean: float) -> Ints:
    """Draw whole numbers with about this mean."""
    return floor(-mean * np.log1p(-random.random(n)))


def moments(
    random: np.random.Generator, n: int, *, start_ms: int, weight: Floats
) -> Ints:
    """Draw sorted milliseconds; ``weight`` has one entry for each hour from a start."""
    share = np.cumsum(weight) / weight.sum()
    hours = np.searchsorted(share, random.random(n), side="right")
    offset_ms = floor(random.random(n) * HOUR_MS)
    return np.sort(start_ms + np.minimum(hours, len(weight) - 1) * HOUR_MS + offset_ms)


def latency_ms(random: np.random.Generator, n: int) -> Ints:
    """Draw the time from event to sending: mostly a second, sometimes minutes."""
    waits = 40 + exponential(random, n, 600)
    offline = floor(random.random(n) * 10 * 60 * SECOND_MS)
    return np.where(random.random(n) < 0.03, offline, waits)


def moment(milliseconds: int) -> datetime:
    """Return the UTC time of milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / SECOND_MS, UTC)


def milliseconds(time: datetime) -> int:
    """Return the whole milliseconds since 1970 of an aware time."""
    return round(time.timestamp() * SECOND_MS)


def texts_of(time_ms: Ints) -> list[str]:
    """Return times as ISO 8601 in UTC, to the millisecond."""
    texts = np.datetime_as_string(time_ms.astype("datetime64[ms]")).tolist()
    return [f"{text}Z" for text in texts]


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
    return _ENCODER.encode(event)


def attributes_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes of a message with this event; of a transaction, none."""
    names = ("event_id", "use_case", "event_type")
    return {name: event[name] for name in names if name in event}


def sent(
    events: Sequence[Event],
    random: np.random.Generator,
    *,
    time_field: str,
    is_delayed: bool = True,
    late: float = 0.05,
    late_days: tuple[float, float] = (0, 1),
    repeated: float = 0.05,
    repeated_days: float = 0.5,
) -> list[Delivery]:
    """
    Return all messages with some events, in the order of sending.

    Args:
        events: JSON objects; the first field of each is its id.
        random: Draws all this.
        time_field: Name in an event.
        is_delayed: Whether each takes a moment.
        late, late_days: Share that is late, and by how many days, from and to.
        repeated: Share of repetitions, most of them within minutes.
        repeated_days: How late the other repetitions are at most.
    """
    n = len(events)
    texts = [event[time_field].removesuffix("Z") for event in events]
    event_ms = np.array(texts, "datetime64[ms]").astype(np.int64)
    sent_ms = event_ms + (latency_ms(random, n) if is_delayed else 0)
    is_late = shuffled(random, n)[: round(n * late)]
    shortest, longest = late_days
    late_ms = floor((shortest + (longest - shortest) * random.random(n)) * DAY_MS)
    sent_ms[is_late] += late_ms[is_late]
    once = [
        Delivery(encode(event), attributes_of(event), moment(at), event)
        for event, at in zip(events, sent_ms.tolist(), strict=True)
    ]

    count = round(n * repeated)
    repeats = floor(random.random(count) * n)
    wait_ms = 200 + exponential(random, count, 90 * SECOND_MS)
    longer_ms = floor(random.random(count) * repeated_days * DAY_MS)
    wait_ms += np.where(random.random(count) < 0.1, longer_ms, 0)
    twice = [
        replace(once[index], sent_time=moment(at))
        for index, at in zip(
            repeats, (sent_ms[repeats] + wait_ms).tolist(), strict=True
        )
    ]
    return sorted(once + twice, key=attrgetter("sent_time"))
