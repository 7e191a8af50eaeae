"""What all of the emulator speaks: messages of protobuf, and refusals."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

# A message of protobuf without proto-plus around it, which costs several times as much.
# The classes are made at run time, so that no type checker knows them.
Proto = Any
# ``google.protobuf.Empty``, encoded.
EMPTY = b""


class RefusedError(Exception):
    """A request that is answered with an error. Knows its gRPC status, by name."""

    def __init__(self, message: str, status: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.status = status


def copy_of(proto: Proto) -> Proto:
    """Return a copy that shares nothing with the original."""
    copy = type(proto)()
    copy.CopyFrom(proto)
    return copy


def seconds_of(duration: Proto) -> float:
    """Return a duration in seconds."""
    return float(duration.seconds + duration.nanos / 1e9)


def timestamp(moment: Proto) -> str:
    """Return a time as Pub/Sub writes it: UTC, in milliseconds."""
    date_and_time = datetime.fromtimestamp(moment.seconds, UTC).isoformat()[:19]
    return f"{date_and_time}.{moment.nanos // 1_000_000:03d}Z"
