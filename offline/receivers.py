"""
Receivers of audiences that took users who are to be forgotten.

The delivery log is the only record of who has somebody's data, and the members' columns
of the address that a receiver knows the user by. So a user's rows of an audience stay
while a delivery, or the end of the audience, will take the user off a list; all else is
for a person to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from msgspec import Struct

from propensity import usecases
from propensity.audience import declared
from propensity.audience.declared import FILES
from propensity.audience.destinations.kinds import kind_of
from propensity.audience.stopping import StopFile
from propensity.errors import RequestError, UseCaseError
from propensity.usecases import UseCase

# What becomes of a user on a receiver's list.
REMOVED = "removed"
WAITS = "the next delivery removes them"
ENDS = "propensity audience end removes them"
BY_HAND = "remove them there yourself"
STOPPED = "waits, because sending is stopped"
COPIES = "removed from the files; tell those who read them"


class Taken(Struct, frozen=True):
    """
    A user whom a destination of an audience took, or may have taken.

    Attributes:
        as_of: Of the newest delivery that had the user.
        removal: REMOVED, WAITS, STOPPED, ENDS, BY_HAND or COPIES.
    """

    use_case: str
    audience: str
    destination: str
    user_id: str
    as_of: date
    removal: str

    @property
    def is_kept(self) -> bool:
        """Whether the removal still needs rows about the user."""
        return self.removal in (WAITS, STOPPED, ENDS)

    @property
    def key(self) -> str:
        """What forget.py knows these rows by."""
        return f"{self.use_case}/{self.audience}/{self.user_id}"


def taken(
    rows: Iterable[Mapping[str, Any]],
    name: str,
    use_case: UseCase | None,
    *,
    stopped: StopFile,
) -> list[Taken]:
    """
    Return who took users, and what becomes of them.

    Args:
        rows: Of the statement ``forget_receivers``.
        name: Of the use case.
        use_case: None if its folder is wrong, or there is none any more.
        stopped: Audiences of which nothing is sent.
    """
    is_deployed = name in usecases.names()
    result = []
    for row in rows:
        audience = row["audience"]
        destination = row["destination"]
        removal = REMOVED
        if destination in FILES:
            removal = COPIES
        elif row["is_listed"]:
            removal = BY_HAND
            if is_deployed and not row["is_rejected"]:
                removal = removal_of(use_case, audience, destination)
            if removal == WAITS and stopped.covers(name, audience):
                removal = STOPPED
        user = row["user_id"]
        as_of = row["as_of"]
        result.append(Taken(name, audience, destination, user, as_of, removal))
    return result


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
        for file, chosen in declared.destinations(use_case):
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


def entries(users: Sequence[Taken]) -> list[dict[str, object]]:
    """Return an entry for each receiver, for the report; it names no user."""
    groups: dict[tuple[str, str, str, str], list[date]] = {}
    for user in users:
        key = (user.destination, user.audience, user.use_case, user.removal)
        groups.setdefault(key, []).append(user.as_of)
    return [
        {
            "destination": destination,
            "audience": audience,
            "use_case": use_case,
            "users": len(days),
            "newest": str(max(days)),
            "removal": removal,
        }
        for (destination, audience, use_case, removal), days in sorted(groups.items())
    ]


def sentence(entry: Mapping[str, object]) -> str:
    """Say what becomes of users on a receiver's list."""
    return (
        "{destination} took {users} of these users by audience {audience} of "
        "{use_case}, last as of {newest}: {removal}"
    ).format_map(entry)
