"""
The ledger: one row per user who is sent, pending first, then accepted or rejected.

Users are recorded as pending, with the request that they are in, before anything is
sent. A delivery that was killed sends the requests that are still pending again: each
has the users and the key that it had, so the receiver knows it. Rows are only added;
the newest of a user counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from typing import Any, Self

import pyarrow as pa

from offline.audience.posting import ADD, REMOVE, Request
from offline.deployment import Deployment
from propensity.errors import RequestError
from propensity.gcp.warehouse import Warehouse
from propensity.pages.words import cleaned
from propensity.statements import statement
from propensity.tables import every as tables

SQL = resources.files(__package__)
PENDING, ACCEPTED, REJECTED = "pending", "accepted", "rejected"
# Status and request by action and user.
Recorded = Mapping[tuple[str, str], tuple[str, str]]
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


class Ledger:
    """The rows of an audience's as-of date and a destination."""

    def __init__(
        self,
        warehouse: Warehouse,
        where: Mapping[str, Any],
        *,
        now: Callable[[], datetime],
    ) -> None:
        """
        Args:
            where: use_case, audience, as_of and destination.
        """
        self._warehouse = warehouse
        self._where = where
        self._now = now
        self._rows: list[dict[str, Any]] = []
        self.tallies = {ADD: Tally(), REMOVE: Tally()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Write what was answered, whatever happened."""
        self.flush()

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
        if len(self._rows) >= FLUSHED_AT:
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


def account(deployment: Deployment, audience: str) -> dict[str, Any]:
    """
    Return what the ledger has of an audience: members, and users by their status.

    Raises:
        RequestError: There is no audience of this name.
    """
    name = deployment.use_case.name
    members, users = (
        [
            dict(row.items())
            for row in deployment.rows(
                statement(f"audience_{of}", own=SQL), audience=audience
            )
        ]
        for of in ("selections", "deliveries")
    )
    if not members:
        raise RequestError(f"{name} has no audience {audience}", field="audience")
    return {"use_case": name, "audience": audience, "members": members, "users": users}
