"""Lists of destinations: which users of an audience are on them, or may be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from propensity.audience.declared import FILES
from propensity.errors import RequestError, SendingStopped
from propensity.registry.deployment import Deployment


@dataclass(frozen=True, kw_only=True)
class Listed:
    """
    Users of an audience who are on the list of a destination.

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


def check_moved(deployment: Deployment, audience: str, destination: str) -> None:
    """
    Make sure that nobody stays on the list of an earlier destination.

    Args:
        destination: Where the audience goes now.

    Raises:
        RequestError: An earlier destination still has users of the audience.
        SendingStopped: A destination has, and the deployment sends nothing.
    """
    for listing in listed(deployment):
        if listing.audience == audience and listing.destination != destination:
            check_sends(deployment, listing)
            raise RequestError(
                f"{listing.users:,} users of {audience} are on the list of "
                f"{listing.destination}, and nobody would take them off, because the "
                f"audience now goes to {destination}",
                hint="Restore the former name or destination, or take them off first: "
                f"propensity audience end {audience} --destination "
                f"'{listing.destination}'",
                field="destination",
            )


def check_sends(deployment: Deployment, listing: Listed) -> None:
    """Raise SendingStopped where the deployment sends nothing: users on a list wait."""
    if deployment.settings.sends == "no":
        raise SendingStopped(
            f"this deployment does not send (PROPENSITY_SENDS is no), so "
            f"{listing.users:,} users of {listing.audience} stay on the list of "
            f"{listing.destination}",
            hint="To go on, set PROPENSITY_SENDS=yes and deploy",
            detail={"on_lists": listing.users},
        )
