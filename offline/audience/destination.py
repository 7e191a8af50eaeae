"""What is sent to a destination: a request of an audience's users."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from offline.audience.members import Audience
from offline.audience.selection import Member

ADD, REMOVE = "add", "remove"


class Refused(Exception):
    """The receiver will never take this request; the message is its reason."""


@dataclass(frozen=True)
class Request:
    """
    Users who are sent at once, to be added to a list or removed from it.

    Attributes:
        recorded_as: The key under which the ledger has these users as pending.
    """

    audience: Audience
    destination: str
    action: str
    members: Sequence[Member]
    recorded_as: str = ""

    @cached_property
    def key(self) -> str:
        """The idempotency key: the same for the same users, however often sent."""
        users = [member.user_id for member in self.members]
        named = map(str, self.audience.key.values())
        parts = (*named, self.action, self.destination, users)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class Destination(Protocol):
    """
    A receiver of users.

    Attributes:
        name: In the ledger.
        batch: Users in a request, at most.
        actions: ``add``, and ``remove`` where it can take users off its list.
    """

    name: str
    batch: int
    actions: Sequence[str]

    def send(self, request: Request) -> Mapping[str, str]:
        """
        Send users; return the reason of each who was rejected.

        Raises:
            Refused: All of them, for one reason.
            Unavailable: Nobody knows; the same request may be sent again.
        """
        ...
