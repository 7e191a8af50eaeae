"""
Receivers of audiences that took users who are to be forgotten.

The delivery log is the only record of who has somebody's data, and the members' columns
of the address that a receiver knows the user by. So a user's rows of an audience stay
while its next delivery will take the user off a list; all else is for a person to do.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from msgspec import Struct

from propensity import usecases
from propensity.audience import declared
from propensity.audience.declared import BUCKET, DeclaredAudience
from propensity.errors import RequestError, UseCaseError
from propensity.statements import read
from propensity.usecases import UseCase

# What becomes of a user on a receiver's list.
REMOVED = "removed"
WAITS = "the next delivery removes them"
BY_HAND = "remove them there yourself"


class Taken(Struct, frozen=True):
    """
    A user whom a destination of an audience took, or may have taken.

    Attributes:
        as_of: Of the newest delivery that had the user.
        removal: REMOVED, WAITS or BY_HAND.
    """

    use_case: str
    audience: str
    destination: str
    user_id: str
    as_of: date
    removal: str

    @property
    def kept(self) -> str:
        """What forget.py knows the rows by that the removal needs."""
        return f"{self.use_case}/{self.audience}/{self.user_id}"


def taken(
    rows: Iterable[Mapping[str, Any]],
    name: str,
    use_case: UseCase | None,
    *,
    today: date,
) -> list[Taken]:
    """
    Return who took users, and what becomes of them.

    Args:
        rows: Of the statement ``forget_receivers``.
        name: Of the use case.
        use_case: None if its folder is wrong, or there is none any more.
    """
    is_deployed = name in usecases.names()
    result = []
    for row in rows:
        audience, destination = row["audience"], row["destination"]
        removal = REMOVED
        if row["is_listed"]:
            removal = BY_HAND
            if (
                is_deployed
                and not row["is_rejected"]
                and will_remove(use_case, audience, destination, today=today)
            ):
                removal = WAITS
        about = (name, audience, destination, row["user_id"])
        result.append(Taken(*about, row["as_of"], removal))
    return result


def will_remove(
    use_case: UseCase | None, audience: str, destination: str, *, today: date
) -> bool:
    """
    Return whether a later delivery of an audience takes users off a list.

    Where a file is wrong, deliveries go on once it is right again.

    Args:
        use_case: None if its folder is wrong.
    """
    if use_case is None:
        return True
    try:
        named = declared.load(use_case, audience)
    except RequestError:
        return False
    except UseCaseError:
        return True
    last = named.declared.until
    return (last is None or today <= last) and _can_remove(named, destination)


def _can_remove(named: DeclaredAudience, destination: str) -> bool:
    """Return whether an audience still goes to a destination, which removes users."""
    if named.declared.destination == BUCKET:
        return False
    try:
        text = read(named.folder / "destinations", f"{named.declared.destination}.toml")
        entries = tomllib.loads(text)
    except FileNotFoundError:
        return False
    except (UseCaseError, OSError, ValueError):
        return True
    is_able = entries.get("kind") == "google" or "remove" in entries
    return is_able and entries.get("name") == destination


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
