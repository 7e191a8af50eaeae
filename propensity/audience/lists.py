"""Lists of destinations: who is there, of which audience."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from propensity.audience.declared import FILES
from propensity.registry.deployment import Deployment


@dataclass(frozen=True, kw_only=True)
class Listed:
    """
    Users of an audience who are on the list of a destination, or may be.

    Attributes:
        destination: Its name in the ledger.
        users: How many.
        as_of: Of the newest addition.
    """

    audience: str
    destination: str
    users: int
    as_of: date


def listed(deployment: Deployment) -> list[Listed]:
    """
    Return who is on a list, of all audiences of the use case.

    Files in the bucket are no list: each has all users of its date.
    """
    rows = deployment.rows("audience_lists")
    lists = [Listed(**dict(row.items())) for row in rows]
    return [listing for listing in lists if listing.destination not in FILES]
