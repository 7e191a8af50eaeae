"""What every destination does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from offline.audience.selection import Member

ADD, REMOVE = "add", "remove"


@dataclass(frozen=True, kw_only=True)
class Request:
    """
    Users who are sent at once.

    ``key`` is the same for the same users of an audience, whoever sends them and
    however often: it tells a receiver that it has the request already. ``chosen_at`` is
    when the members were chosen.
    """

    use_case: str
    audience: str
    as_of: date
    action: str
    members: Sequence[Member]
    destination: str
    chosen_at: datetime

    @property
    def key(self) -> str:
        """The idempotency key."""
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
        at_once: Requests that may be under way together.
        actions: ``add``, and ``remove`` where it can take users off its list. They are
            never mixed in a request.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def batch(self) -> int: ...  # noqa: D102

    @property
    def at_once(self) -> int: ...  # noqa: D102

    @property
    def actions(self) -> Sequence[str]: ...  # noqa: D102

    def problems(self, action: str, members: Sequence[Member]) -> Mapping[str, str]:
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
