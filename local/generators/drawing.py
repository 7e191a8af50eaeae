"""The random numbers of the streams: each purpose has a generator of its own."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

SECOND_MS = 1_000
HOUR_MS = 3_600 * SECOND_MS
DAY_MS = 24 * HOUR_MS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    within = floor(random.random(n) * HOUR_MS)
    return np.sort(start_ms + np.minimum(hours, len(weight) - 1) * HOUR_MS + within)


def latency_ms(random: np.random.Generator, n: int) -> Ints:
    """Draw the time from event to sending: mostly a second, sometimes minutes."""
    waits = 40 + exponential(random, n, 600)
    offline = floor(random.random(n) * 10 * 60 * SECOND_MS)
    return np.where(random.random(n) < 0.03, offline, waits)


def uuids(random: np.random.Generator, n: int) -> list[str]:
    """Draw UUIDs of version 4."""
    raw = np.asarray(random.bit_generator.random_raw(2 * n)).reshape(n, 2)
    return [str(UUID(int=high << 64 | low, version=4)) for high, low in raw.tolist()]


def moment(milliseconds: int) -> datetime:
    """Return the UTC time of milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def milliseconds(time: datetime) -> int:
    """Return the whole milliseconds since 1970 of an aware time."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def texts_of(time_ms: Ints) -> list[str]:
    """Return times as ISO 8601 in UTC, to the millisecond."""
    texts = np.datetime_as_string(time_ms.astype("datetime64[ms]")).tolist()
    return [f"{text}Z" for text in texts]
