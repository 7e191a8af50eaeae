"""A message as it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from local.generators.games.messages import Event


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
