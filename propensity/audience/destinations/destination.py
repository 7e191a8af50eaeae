"""
What a receiver of users is: it sends a request once, and says what became of it.

``delivery`` decides whether and when a request is sent again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from propensity.audience.members import Audience, Member
from propensity.errors import PropensityError, RequestError

if TYPE_CHECKING:
    from propensity.clock import Clock
    from propensity.registry.deployment import Deployment

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

    It is a row of the log, with what is known of the users besides.

    Attributes:
        key: The idempotency key: the same for the same content, however often sent.
        reason: Why it was refused before, maybe by no fault of its users; or "".
        may_have_arrived: Whether an earlier try of these users was not answered.
    """

    audience: Audience
    action: str
    members: Sequence[Member]
    key: str = ""
    reason: str = ""
    may_have_arrived: bool = False

    @property
    def keys(self) -> list[str]:
        return [member.key for member in self.members]


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


class DestinationFile(
    msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """What the files of all receivers have, and what each kind of them says."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^(?!(bucket|csv)$)[!-~][ -~]{0,63}\Z",
            description="up to 64 ASCII characters, and not bucket or csv",
        ),
    ]

    @classmethod
    def can_remove(cls, entries: Mapping[str, object]) -> bool:
        """Whether the receiver takes users off its list, by a file's entries."""
        raise NotImplementedError

    @classmethod
    def entries(
        cls, template: Mapping[str, object], variables: Mapping[str, str], audience: str
    ) -> Mapping[str, object]:
        """Return the entries of an audience's file."""
        return template

    def opened(
        self,
        deployment: Deployment,
        variables: Mapping[str, str],
        *,
        columns: Sequence[str],
        clock: Clock,
    ) -> Destination:
        """Open the receiver, with secrets by ``$`` and name; or raise ValueError."""
        raise NotImplementedError
