"""
Receivers of audiences that took users who are to be forgotten.

The delivery log is the only record of who has somebody's data, and the members' columns
of the address that a receiver knows the user by. So a user's rows in tables of
audiences stay while a delivery, or the end of an audience, will take the user off a
list; all else is for a person to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from propensity import usecases
from propensity.audience import declared
from propensity.audience.declared import FILES
from propensity.audience.destinations.kinds import kind_of
from propensity.audience.receivers import destinations
from propensity.audience.stop_file import StopFile
from propensity.errors import RequestError, UseCaseError
from propensity.usecases import UseCase

# What becomes of a user on a receiver's list.
REMOVED = "removed"
WAITS = "the next delivery removes them"
ENDS = "propensity audience end removes them"
BY_HAND = "remove them there yourself"
STOPPED = "waits, because sending is stopped"
COPIES = "removed from the files; tell those who read them"


@dataclass
class Receiver:
    """
    A destination of an audience that took users, or may have taken them.

    Attributes:
        removal: REMOVED, WAITS, STOPPED, ENDS, BY_HAND or COPIES.
        newest: The newest date that one of the users was sent as of.
    """

    destination: str
    audience: str
    use_case: str
    removal: str
    users: set[str] = field(default_factory=set)
    newest: date = date.min

    @property
    def needs_rows(self) -> bool:
        """Whether the removal needs rows about the users."""
        return self.removal in (WAITS, STOPPED, ENDS)

    def entry(self) -> dict[str, object]:
        """Return its entry of the report, which names no user."""
        entry = {"users": len(self.users), "newest": str(self.newest)}
        return vars(self) | entry

    def sentence(self) -> str:
        return (
            f"{self.destination} took {len(self.users)} of these users by audience "
            f"{self.audience} of {self.use_case}, last as of {self.newest}: "
            f"{self.removal}"
        )


def receivers_of(
    rows: Iterable[Mapping[str, Any]],
    use_cases: Mapping[str, UseCase],
    stopped: StopFile,
) -> list[Receiver]:
    """
    Return who took users, and what becomes of them.

    Args:
        rows: Of the statement ``forget_receivers``.
        use_cases: By name, as far as their folders can be read.
        stopped: Audiences of which nothing is sent.
    """
    receivers = dict[tuple[str, str, str, str], Receiver]()
    for row in rows:
        destination = row["destination"]
        audience = row["audience"]
        name = row["use_case"]
        removal = REMOVED
        if destination in FILES:
            removal = COPIES
        elif row["is_listed"]:
            removal = BY_HAND
            if name in usecases.names() and not row["is_rejected"]:
                removal = removal_of(use_cases.get(name), audience, destination)
            if removal == WAITS and stopped.covers(name, audience):
                removal = STOPPED
        key = (destination, audience, name, removal)
        receiver = receivers.setdefault(key, Receiver(*key))
        receiver.users.add(row["user_id"])
        receiver.newest = max(receiver.newest, row["as_of"])
    return [receivers[key] for key in sorted(receivers)]


def removal_of(use_case: UseCase | None, audience: str, destination: str) -> str:
    """
    Return who takes a user off a list: WAITS, ENDS or BY_HAND.

    Where a file is wrong, deliveries go on once it is right again.

    Args:
        use_case: None if its folder is wrong.
    """
    if use_case is None:
        return WAITS
    able = []
    try:
        for file, chosen in destinations(use_case):
            can_remove = kind_of(chosen).can_remove(chosen)
            if can_remove and chosen.get("name") == destination:
                able.append(file)
        if not able:
            return BY_HAND
        named = declared.load_audience(use_case, audience)
    except RequestError:
        return ENDS
    except UseCaseError:
        return WAITS
    return WAITS if named.declared.destination in able else ENDS
