"""Messages as they are sent: some late, some again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from local.generators.drawing import SECOND_MS, Flags, exponential, floor, shuffled

Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """
    One message as it is sent, and what it is.

    ``event`` is what has to be stored, with its id and use case wherever they were
    sent, and None for what can never be; then ``reason`` is the dead letter's reason
    and ``fault`` names one of ``FAULTS``.
    """

    data: bytes
    attributes: Mapping[str, str]
    sent_time: datetime
    event: Event | None
    is_duplicate: bool = False
    is_late: bool = False
    reason: str | None = None
    fault: str | None = None


def drawn_late(random: np.random.Generator, n: int, share: float) -> Flags:
    """Return which of ``n`` messages are sent late: exactly this share of them."""
    is_late = np.zeros(n, bool)
    is_late[shuffled(random, n)[: round(n * share)]] = True
    return is_late


def repeated(
    random: np.random.Generator,
    deliveries: Sequence[Delivery],
    count: int,
    *,
    longest: tuple[int, int],
) -> list[Delivery]:
    """
    Send some again, most within minutes.

    Args:
        random: What is drawn from.
        deliveries: The first of each message.
        count: How many are sent again; one may be sent again twice.
        longest: The wait of the others, at most: a number, and milliseconds of its
            unit. Two, since the product of all three numbers depends on their order.
    """
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
