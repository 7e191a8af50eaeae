"""A request, and what every destination does with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Protocol

from offline.audience.selection import Member

ADD, REMOVE = "add", "remove"


@dataclass(frozen=True, kw_only=True)
class Request:
    """Users who are sent at once, to be added to a list or removed from it."""

    use_case: str
    audience: str
    as_of: date
    action: str
    members: Sequence[Member]
    destination: str
    chosen_at: datetime

    @property
    def key(self) -> str:
        """The idempotency key: the same for the same users, however often sent."""
        parts = (
            self.use_case,
            self.audience,
            self.as_of.isoformat(),
            self.action,
            self.destination,
            [member.user_id for member in self.members],
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class Destination(Protocol):
    """
    A receiver of users.

    Attributes:
        name: In the ledger.
        batch: Users in a request, at most.
        at_once: Requests under way together, at most.
        actions: ``add``, and ``remove`` where it can take users off its list.
    """

    name: str
    batch: int
    at_once: int
    actions: Sequence[str]

    def problems(self, members: Sequence[Member]) -> Mapping[str, str]:
        """Return the users who cannot be sent there, with reasons."""
        ...

    def send(self, request: Request) -> Mapping[str, str]:
        """
        Send users; return the reason of each who was rejected.

        Raises:
            Refused: All of them, for one reason.
            Unavailable: Nobody knows; the same request may be sent again.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def requests_of(same: Request, members: Sequence[Member], batch: int) -> list[Request]:
    """Return members in requests of a size, each like ``same``."""
    ordered = sorted(members, key=lambda member: member.user_id)
    return [
        replace(same, members=ordered[start : start + batch])
        for start in range(0, len(ordered), batch)
    ]
