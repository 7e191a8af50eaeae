"""
What the generators of streams draw with: raw uniform numbers, and what follows of them.

numpy keeps the sequence of its uniform numbers from release to release, and of nothing
else. So only those are drawn, and a generator rounds whatever it computes from them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


SECOND_MS = 1_000
HOUR_MS = 3_600 * SECOND_MS
DAY_MS = 24 * HOUR_MS


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def require(conditions: Mapping[str, bool], *, of: object) -> None:
    """
    Check the arguments of a process.

    Raises:
        ValueError: A condition is not met; the message has all such.
    """
    if missed := [name for name, is_met in conditions.items() if not is_met]:
        raise ValueError(f"wanted {', '.join(missed)}; got {of}")


def random_of(seed: int, purpose: str) -> np.random.Generator:
    """Return numbers of its own for every purpose: the order of questions is free."""
    tag = zlib.crc32(purpose.encode())
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, tag])))


def floor(values: Floats) -> Ints:
    """Return the whole numbers below."""
    return np.floor(values).astype(np.int64)


def moments(
    random: np.random.Generator, n: int, *, start_ms: int, weight: Floats
) -> Ints:
    """
    Draw n moments in milliseconds, in order, by the weight of each hour from a start.
    """
    hours = np.searchsorted(
        np.cumsum(weight) / weight.sum(), random.random(n), side="right"
    )
    within = floor(random.random(n) * HOUR_MS)
    return np.sort(start_ms + np.minimum(hours, len(weight) - 1) * HOUR_MS + within)


def shuffled(random: np.random.Generator, n: int) -> Ints:
    """Return the numbers below ``n`` in any order."""
    return np.argsort(random.random(n), kind="stable")


def normal(random: np.random.Generator, n: int) -> Floats:
    """Draw by Box and Muller, from uniform numbers alone."""
    radius = np.sqrt(-2 * np.log1p(-random.random(n)))
    drawn: Floats = radius * np.cos(2 * np.pi * random.random(n))
    return drawn


def pick(random: np.random.Generator, weights: Floats) -> Ints:
    """Draw one column per row of weights, which sum to 1."""
    uniform = random.random(len(weights))
    chosen: Ints = (uniform[:, None] >= weights.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return chosen


def exponential(random: np.random.Generator, n: int, mean: float) -> Ints:
    """Draw whole numbers with this mean, about."""
    return floor(-mean * np.log1p(-random.random(n)))


def latency_ms(random: np.random.Generator, n: int) -> Ints:
    """Draw milliseconds from event to sending: mostly one second, sometimes minutes."""
    waits = 40 + exponential(random, n, 600)
    offline = floor(random.random(n) * 10 * 60 * SECOND_MS)
    return np.where(random.random(n) < 0.03, offline, waits)


def uuids(random: np.random.Generator, n: int) -> list[str]:
    """Draw random UUIDs of version 4."""
    raw = np.asarray(random.bit_generator.random_raw(2 * n), np.uint64).reshape(n, 2)
    raw[:, 0] = raw[:, 0] & np.uint64(0xFFFFFFFFFFFF0FFF) | np.uint64(0x4000)
    raw[:, 1] = raw[:, 1] & np.uint64((1 << 62) - 1) | np.uint64(1 << 63)
    texts = (f"{high:016x}{low:016x}" for high, low in raw.tolist())
    return [f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in texts]


def moment(milliseconds: int) -> datetime:
    """Return a moment by its milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def milliseconds(time: datetime) -> int:
    """Return the whole milliseconds since 1970 of a moment that names its zone."""
    return (time - _EPOCH) // timedelta(milliseconds=1)
