"""
What a receiver of users is: it sends a request once, and says what became of it.

``delivery`` decides whether and when a request is sent again.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from propensity.audience.members import Audience, Member
from propensity.errors import PropensityError, RequestError

ADD = "add"
REMOVE = "remove"


@dataclass(frozen=True)
class Sent:
    """
    What a receiver says of a request that it has taken.

    Attributes:
        rejected: Reasons of those who were rejected, by the key of a member.
        receipt: What to ask with for what became of the others; None if they are
            accepted.
        unsure: Keys of rejected members who may have been taken.
        words: The receiver's; they may name users, so a terminal alone shows them.
    """

    rejected: Mapping[str, str] = field(default_factory=dict)
    receipt: str | None = None
    unsure: frozenset[str] = frozenset()
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of the users of a receipt; in part if nobody knows of whom."""

    is_accepted: bool
    reason: str | None = None
    is_partial: bool = False


class Refused(Exception):
    """The receiver will never take this request; the message is the ledger's reason."""

    def __init__(self, reason: str, words: str = "") -> None:
        super().__init__(reason)
        self.words = words


class Stopped(Exception):
    """
    The receiver takes nothing, or it is not known whom: the delivery ends.

    The error is logged, and has no word of the receiver's; the ledger has the reason.
    """

    def __init__(self, error: PropensityError, reason: str, words: str) -> None:
        super().__init__(error.message)
        self.error = error
        self.reason = reason
        self.words = words


class Unanswered(Exception):
    """It is not known whether a request was taken: the same may be sent again."""

    def __init__(self, receiver: str, reason: str, *, pause_s: float = 0.0) -> None:
        super().__init__(f"{receiver} did not answer: {reason}")
        self.receiver = receiver
        self.reason = reason
        self.pause_s = pause_s


@dataclass(frozen=True)
class Request:
    """
    Users who are sent at once, to be added to a list or removed from it.

    Attributes:
        form: What its content is made by, such as a hash of the destination's template.
        recorded_as: The key under which the ledger has these users as pending.
        was_refused: Whether they were refused before, and maybe not by their fault.
        may_have_arrived: Whether an earlier try of these users was not answered.
        barred: Why nobody of them may be sent; empty where they may.
    """

    audience: Audience
    destination: str
    action: str
    members: Sequence[Member]
    form: str = ""
    recorded_as: str = ""
    was_refused: bool = False
    may_have_arrived: bool = False
    barred: str = ""

    @property
    def keys(self) -> list[str]:
        return [member.key for member in self.members]

    @cached_property
    def key(self) -> str:
        """
        The idempotency key: the same for the same content, however often sent.

        With another form the content is another one, which receivers refuse under a key
        that they know.
        """
        parts: list[object] = [str(value) for value in self.audience.key.values()]
        parts += [self.action, self.destination, self.form, self.keys]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def check_age(
    request: Request, longest: timedelta, *, receiver: str, now: datetime
) -> None:
    """Raise RequestError if members were chosen too long ago for a receiver."""
    chosen_at = request.audience.chosen_at
    if now - chosen_at > longest:
        raise RequestError(
            f"the audience was chosen at {chosen_at:%Y-%m-%d %H:%M} UTC, and "
            f"{receiver} accepts users for {longest / timedelta(hours=1):g} hours: "
            "send the next date",
            field="as_of",
        )


class Destination(ABC):
    """
    A receiver of users.

    Attributes:
        name: In the ledger.
        batch: Users in a request, at most.
        known_by: Columns by which it knows a user, such as an address; none if it is
            the user id.
        gets_ids_alone: Whether people are to be known there by nothing but user ids.
        rate: Requests a second, at most; 0 for any number.
        requests_of_a_file: How many are a file, which ``write`` writes, the best user
            first; 0 where each is sent by itself.
    """

    name: str
    batch: int
    actions: Sequence[str] = (ADD,)
    known_by: Sequence[str] = ()
    gets_ids_alone: bool = False
    rate: float = 0.0
    form: str = ""
    requests_of_a_file: int = 0

    @abstractmethod
    def send(self, request: Request) -> Sent:
        """
        Send users once; return what the receiver says of them.

        Raises:
            Refused: All of them, for one reason.
            Unanswered: The outcome is not known; the same request may be sent again.
            Stopped, PropensityError: Nothing will be taken; the delivery ends.
        """

    def write(self, first: Request, pages: Iterable[Sequence[Member]]) -> None:
        """Write a file with the users of requests, of which there is the first."""
        raise NotImplementedError

    def validate(self, request: Request) -> None:
        """
        Ask whether a request would be taken, which sends nothing.

        Raises:
            Refused, Unanswered: As of ``send``.
        """
        raise RequestError(
            f"{self.name} cannot check requests without executing them",
            hint="Leave --validate out",
            field="validate",
        )

    def take_for_address(self, column: str) -> None:
        """Know users by a column, unless the file says by which ones."""
        return

    def outcome(self, receipt: str) -> Outcome | None:
        """Return what became of the users of a receipt; None if that is still open."""
        return None
