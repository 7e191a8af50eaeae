"""
The ledger: one row per user who is sent, pending first, then accepted or rejected.

Users are recorded as pending, with the request that they are in, before anything is
sent. A delivery that was killed sends the requests that are still pending again: each
has the users and the key that it had, so the receiver knows it. Rows are only added;
the newest of a user counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib import resources
from typing import Any

import pyarrow as pa

from offline.audience.requests import ADD, REMOVE, Request
from offline.promote import Deployment
from propensity import tables
from propensity.errors import RequestError
from propensity.pages.words import cleaned, plural
from propensity.statements import statement

SQL = resources.files(__package__)
# Status and request by action and user.
Recorded = Mapping[tuple[str, str], tuple[str, str]]

PENDING, ACCEPTED, REJECTED = "pending", "accepted", "rejected"
# Users who are recorded at once: after a kill at most so many are sent again.
FLUSHED_AT = 1_000


@dataclass
class Tally:
    """Counts of users by outcome; ``sent`` is always their sum."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def sent(self) -> int:
        """All users, also those who could not be sent."""
        return self.accepted + self.rejected.total()

    def fields(self) -> dict[str, Any]:
        """Return the counts for a program."""
        return {
            "sent": self.sent,
            "accepted": self.accepted,
            "rejected": dict(self.rejected.most_common()),
        }


class Ledger:
    """The rows of an audience's as-of date and a destination."""

    def __init__(
        self,
        deployment: Deployment,
        *,
        audience: str,
        as_of: date,
        destination: str,
        now: Callable[[], datetime],
        flushed_at: int = FLUSHED_AT,
    ) -> None:
        self._warehouse = deployment.warehouse
        self._now = now
        self._flushed_at = flushed_at
        self._rows: list[dict[str, Any]] = []
        self._where = {
            "use_case": deployment.use_case.name,
            "audience": audience,
            "as_of": as_of,
            "destination": destination,
        }
        self.tallies = {ADD: Tally(), REMOVE: Tally()}

    def recorded(self) -> Recorded:
        """Return status and request by action and user, in the order of requests."""
        rows = self._warehouse.table(statement("audience_sent", own=SQL), self._where)
        return {
            (row["action"], row["user_id"]): (row["status"], row["request"])
            for row in rows.to_pylist()
        }

    def listed(self) -> list[str]:
        """Return who was added as of an earlier date, and not removed since."""
        rows = self._warehouse.table(statement("audience_listed", own=SQL), self._where)
        users: list[str] = rows["user_id"].to_pylist()
        return users

    def plan(self, requests: Iterable[Request]) -> None:
        """Record the users of requests as pending, all or none."""
        for request in requests:
            self._add(request, {}, PENDING)
        self.flush()

    def record(self, request: Request, rejected: Mapping[str, str]) -> None:
        """Record a request that was answered; ``rejected`` has reasons by user."""
        # A receiver's own words may have what no table and no terminal takes.
        reasons = {user: str(cleaned(reason)) for user, reason in rejected.items()}
        tally = self.tallies[request.action]
        tally.rejected.update(reasons.values())
        tally.accepted += len(request.members) - len(reasons)
        self._add(request, reasons, ACCEPTED)
        if len(self._rows) >= self._flushed_at:
            self.flush()

    def _add(self, request: Request, rejected: Mapping[str, str], status: str) -> None:
        same = {**self._where, "action": request.action, "request": request.key}
        now = self._now()
        self._rows += [
            {
                **same,
                "user_id": member.user_id,
                "status": REJECTED if member.user_id in rejected else status,
                "reason": rejected.get(member.user_id),
                "recorded_at": now,
            }
            for member in request.members
        ]

    def flush(self) -> None:
        """Write what waits: all of it or nothing."""
        rows, self._rows = self._rows, []
        if rows:
            schema = tables.AUDIENCE_LEDGER.arrow_schema()
            table = pa.Table.from_pylist(rows, schema=schema)
            self._warehouse.write(tables.AUDIENCE_LEDGER, table)


@dataclass(frozen=True, kw_only=True)
class Account:
    """The ledger of an audience: members by date, and users by what became of them."""

    use_case: str
    audience: str
    members: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]

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
                for r in self.rows
                if r["as_of"] == as_of
            ]
        return "\n".join(lines)


def account(deployment: Deployment, audience: str) -> Account:
    """
    Return what the ledger has of an audience.

    Raises:
        RequestError: There is no audience of this name.
    """
    members, rows = (
        [
            dict(row.items())
            for row in deployment.rows(statement(name, own=SQL), audience=audience)
        ]
        for name in ("audience_selections", "audience_deliveries")
    )
    name = deployment.use_case.name
    if not members:
        raise RequestError(f"{name} has no audience {audience}", field="audience")
    return Account(use_case=name, audience=audience, members=members, rows=rows)
