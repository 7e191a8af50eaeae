"""
The account of an audience: what became of its users, and of requests on which a
destination works later.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from offline import promote
from offline.audience.destinations.base import Later
from offline.audience.destinations.opened import opened
from offline.audience.posting import Refused
from offline.promote import Deployment
from offline.replay.sending import Stop
from propensity.clock import SYSTEM, Clock
from propensity.errors import RequestError
from propensity.pages.words import plural

# Google knows a request for about fifty days.
REMEMBERED = timedelta(days=49)

# States of users in a request that a destination works on later.
PROCESSING, DONE, FAILED = "waiting", "done", "failed"
WARNED, UNKNOWN = "warned", "unknown"

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Account:
    """
    The ledger of an audience: members by date, and users by what became of them.

    Attributes:
        outcomes: What a destination that works on requests later says of them now.
    """

    use_case: str
    audience: str
    members: Sequence[Row] = field(default_factory=list)
    rows: Sequence[Row] = field(default_factory=list)
    outcomes: Sequence[Row] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.audience} of {self.use_case}"]
        chosen = {
            row["as_of"]: f"{plural(row['users'], 'member')} ({row['selection']}), "
            f"{row['control_users']:,} held out"
            for row in self.members
        }
        for as_of in sorted({*chosen, *(r["as_of"] for r in self.rows)}, reverse=True):
            lines += ["", f"{as_of}  {chosen.get(as_of, 'no member')}"]
            lines += [
                f"  {r['destination']:<12} {r['action']:<6} {r['status']:<8} "
                f"{r['users']:>9,}  {r['reason']}".rstrip()
                for r in (*self.rows, *self.outcomes)
                if r["as_of"] == as_of
            ]
        return "\n".join(lines)


def account(
    name: str, *, use_case: str | None = None, to: str = "", clock: Clock = SYSTEM
) -> Account:
    """
    Return what the ledger has of an audience.

    Args:
        to: The file of a destination to ask about its requests; empty for none.

    Raises:
        RequestError: There is no audience of this name, or the destination works on
            nothing later.
        AccessDenied, MissingTable, Unavailable: As named.
        Stopped: Ctrl-C.
    """
    with promote.opened(use_case) as deployment:
        members, rows = (
            [dict(row.items()) for row in deployment.rows(query, audience=name)]
            for query in ("audience_selections", "audience_deliveries")
        )
        if not members:
            raise RequestError(
                f"{deployment.use_case.name} has no audience {name}", field="audience"
            )
        since = clock.now().date() - REMEMBERED
        outcomes = _outcomes(deployment, name, to=to, since=since) if to else []
        return Account(
            use_case=deployment.use_case.name,
            audience=name,
            members=members,
            rows=rows,
            outcomes=outcomes,
        )


def _outcomes(
    deployment: Deployment, name: str, *, to: str, since: date
) -> Sequence[Row]:
    """Ask a destination about its requests; return counts in the ledger's columns."""
    with (
        Stop() as stop,
        contextlib.closing(opened(to, deployment, stop, audience=name)) as destination,
    ):
        if not isinstance(destination, Later):
            raise RequestError(
                f"{destination.name} works on nothing later: what it has answered is "
                "in the ledger",
                field="to",
            )
        receipts = deployment.rows(
            "audience_receipts",
            audience=name,
            destination=destination.name,
            since=since,
        )
        users: Counter[tuple[date, str, str, str]] = Counter()
        for row in receipts:
            key = row["as_of"], row["action"]
            for status, reason, count in _outcome(destination, row):
                users[*key, status, reason] += count
    return [
        {
            "destination": destination.name,
            "as_of": as_of,
            "action": action,
            "status": status,
            "reason": reason,
            "users": count,
        }
        for (as_of, action, status, reason), count in users.items()
        if count
    ]


def _outcome(destination: Later, row: Row) -> list[tuple[str, str, int]]:
    """Return status, reason and number of the users of a request."""
    try:
        outcome = destination.outcome(row["receipt"], users=row["users"])
    except Refused as refusal:
        return [(UNKNOWN, str(refusal), row["users"])]
    if not outcome.is_over:
        return [(PROCESSING, "", row["users"])]
    return [
        (DONE, "", outcome.done),
        *((FAILED, why, users) for why, users in outcome.failed.most_common()),
        *((WARNED, why, users) for why, users in outcome.warned.most_common()),
    ]
