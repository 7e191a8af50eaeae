"""What all of the emulator speaks: messages of protobuf, deliveries, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# A message of protobuf without proto-plus around it, which costs several times as much.
Proto = Any
# ``google.protobuf.Empty``, encoded.
EMPTY = b""


class RefusedError(Exception):
    """A request that is answered with an error. Knows its gRPC status, by name."""

    def __init__(self, message: str, status: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True, eq=False)
class Delivery:
    """A message for one subscription, and how often it has been delivered."""

    message: Proto
    attempts: int = 0


def timestamp(moment: Proto) -> str:
    """Return a time as Pub/Sub writes it: UTC, in milliseconds."""
    date_and_time = datetime.fromtimestamp(moment.seconds, UTC).isoformat()[:19]
    return f"{date_and_time}.{moment.nanos // 1_000_000:03d}Z"
