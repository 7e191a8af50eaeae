"""
Who is on the lists of destinations, and what waits of a stopped audience.

A delivery looks at ``stop_file`` before each request, so one that is under way ends as
well; what is pending waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from propensity.audience import stop_file
from propensity.audience.declared import FILES, check_name
from propensity.audience.stop_file import ALL
from propensity.errors import RequestError, SendingStopped
from propensity.pages.words import plural
from propensity.registry.deployment import Deployment


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Users of an audience who may be on a list, with the date of the newest one."""

    audience: str
    destination: str
    users: int
    as_of: date

    def __str__(self) -> str:
        users = plural(self.users, "user")
        return f"{self.destination} has {users} of {self.audience} on its list"


def listed(deployment: Deployment) -> list[Listed]:
    """
    Return who is on a list, of all audiences of the use case.

    Files in the bucket are no list: each has all users of its date.
    """
    rows = deployment.rows("audience_lists")
    lists = [Listed(**dict(row.items())) for row in rows]
    return [listing for listing in lists if listing.destination not in FILES]


def check_sent(deployment: Deployment, audience: str, destination: str | None) -> None:
    """Raise RequestError for an audience, or its destination, that there never was."""
    deliveries = deployment.rows("audience_deliveries", audience=audience)
    if not deliveries:
        check_name(deployment.use_case, audience)
    receivers = sorted({row["destination"] for row in deliveries})
    if destination is not None and destination not in receivers:
        raise RequestError(
            f"{audience} was never sent to {destination!r}",
            hint=f"It was sent to: {', '.join(receivers) if receivers else 'nobody'}",
            field="destination",
        )


def check(deployment: Deployment, audience: str) -> None:
    file = stop_file.read(deployment.artifacts)
    use_case = deployment.use_case.name
    if not file.covers(use_case, audience):
        return
    words = f"{audience} --use-case {use_case}"
    if ALL in file.audiences:
        words = "--all"
    raise SendingStopped(
        f"{audience} of {use_case} is stopped",
        hint=f"Users wait until you run `propensity audience resume {words}`",
        detail=waiting(deployment, audience),
    )


def waiting(deployment: Deployment, audience: str) -> dict[str, int]:
    """Return how many users of an audience wait to be sent, and are on lists."""
    counts = {"to_add": 0, "to_remove": 0, "on_lists": 0}
    rows = deployment.rows("audience_deliveries", audience=audience)
    for row in rows:
        # The newest date comes first; it has all who are members still.
        if row["status"] == "pending" and row["as_of"] == rows[0]["as_of"]:
            counts[f"to_{row['action']}"] += row["users"]
    for listing in listed(deployment):
        if listing.audience == audience:
            counts["on_lists"] += listing.users
    return counts
