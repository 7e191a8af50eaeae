"""
The end of an audience: its users are taken off the list of a destination.

It is a delivery of nobody, as of a date after all others: what is pending is sent again
with its key, and the ledger has who was removed. The audience's file may be gone; the
destination's is needed.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from propensity.audience import declared, delivery, stopping
from propensity.audience.control import Control
from propensity.audience.declared import Declared, DeclaredAudience
from propensity.audience.destination import REMOVE, Destination, Request, Sent
from propensity.audience.lists import Listed, check_sends
from propensity.audience.members import NOBODY, Audience, Source
from propensity.audience.requests import RequestLog
from propensity.audience.run import Secret, opened
from propensity.clock import SYSTEM, Clock
from propensity.errors import RequestError, UseCaseError
from propensity.registry.deployment import Deployment
from propensity.registry.leases import leased
from propensity.statements import read_text
from propensity.timeframe import DAY

# Users of whom the ledger does not say yet what became.
OPEN = ("pending", "waiting")


def end(
    deployment: Deployment,
    listing: Listed,
    secret: Secret,
    *,
    is_by_hand: bool = False,
    ends_at: float = math.inf,
    watched: delivery.Watched = delivery.unwatched,
    clock: Clock = SYSTEM,
) -> delivery.DeliveryResult:
    """
    Take the users of an audience off a list.

    Args:
        listing: The audience and the list.
        is_by_hand: Whether a person has removed them; it is only recorded.
        ends_at, watched: As of ``delivery.deliver``.

    Raises:
        RunInProgress: A delivery of the audience is under way.
        SendingStopped: The audience is stopped, or the deployment sends nothing; a
            removal by hand may be recorded all the same.
        RequestError: The destination cannot remove users, or has no file any more.
        UseCaseError, SettingsError, MissingTable, Unavailable: As named; nothing was
            sent.
    """
    artifacts = deployment.artifacts
    name = deployment.use_case.name
    with leased(
        artifacts, name, f"audience-{listing.audience}", clock=clock.now
    ) as lease:

        def check() -> None:
            lease.check()
            if not is_by_hand:
                stopping.check(deployment, listing.audience)

        check()
        as_of = _date(deployment, listing)
        destination: Destination = ByHand(listing.destination)
        if not is_by_hand:
            destination = _opened(deployment, listing, secret)
        nobody = Audience(
            use_case=name,
            name=listing.audience,
            as_of=as_of,
            # Nobody is drawn.
            control=Control(key=b"", group=listing.audience, share=0.0),
            selection="nobody, because the audience has ended",
            is_stored=True,
            chosen_at=clock.now(),
            source=Source(_declared(deployment, listing), deployment.use_case, NOBODY),
        )
        log = RequestLog(deployment, nobody, destination, clock)
        return delivery.deliver(log, check=check, ends_at=ends_at, watched=watched)


class ByHand(Destination):
    """A person, who has removed the users."""

    batch = 100_000
    actions: Sequence[str] = (REMOVE,)

    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, request: Request) -> Sent:
        """Do nothing: it is done."""
        return Sent()


def _date(deployment: Deployment, listing: Listed) -> date:
    """Return the date of an ending that was interrupted, or the first one without."""
    # The newest date comes first.
    rows = deployment.rows("audience_deliveries", audience=listing.audience)
    newest: date = rows[0]["as_of"]
    last = [row for row in rows if row["as_of"] == newest]
    is_ending = all(row["action"] == REMOVE for row in last)
    is_open = any(row["status"] in OPEN for row in last)
    return newest if is_ending and is_open else newest + DAY


def _declared(
    deployment: Deployment, listing: Listed, destination: str = ""
) -> DeclaredAudience:
    """Return the audience, whose file may be gone, with the file of a destination."""
    folder = declared.folder_of(deployment.use_case)
    file = Declared(destination=destination, top=1)
    return DeclaredAudience(listing.audience, folder, file)


def _opened(deployment: Deployment, listing: Listed, secret: Secret) -> Destination:
    """Open the destination that has a list; raises as ``end``."""
    folder = declared.folder_of(deployment.use_case)
    by_hand = (
        f"remove the {listing.users:,} users there yourself, then record it: "
        f"propensity audience end {listing.audience} --destination "
        f"'{listing.destination}' --removed-by-hand"
    )
    file = _file_of(folder / "destinations", listing.destination)
    check_sends(deployment, listing)
    if file is None:
        raise RequestError(
            f"{listing.users:,} users of {listing.audience} are on the list of "
            f"{listing.destination}, and no file in audiences/destinations has this "
            "name",
            hint=f"Restore the file; or {by_hand}",
            field="destination",
        )
    named = _declared(deployment, listing, file)
    columns = _columns(deployment, listing)
    destination = opened(named, deployment, secret, columns=columns)
    if REMOVE not in destination.actions:
        raise RequestError(
            f"{listing.destination} cannot remove users, and {listing.users:,} of "
            f"{listing.audience} are on its list",
            hint=f"If it can, add [remove] to its file; otherwise {by_hand}",
            field="destination",
        )
    return destination


def _file_of(folder: Path, name: str) -> str | None:
    """Return the file, without its ``.toml``, of the destination of a name."""
    for file in sorted(folder.glob("*.toml")):
        try:
            entries = tomllib.loads(read_text(folder, file.name))
        except (UseCaseError, ValueError):
            continue
        if entries.get("name") == name:
            return file.stem
    return None


def _columns(deployment: Deployment, listing: Listed) -> list[str]:
    """Return the names of the further columns that users were sent with."""
    rows = deployment.rows(
        "list_columns", audience=listing.audience, destination=listing.destination
    )
    columns = set[str]()
    for row in rows:
        if row["attributes"] is not None:
            columns.update(json.loads(row["attributes"]))
    return sorted(columns)
