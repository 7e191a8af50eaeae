"""
The ledger: one row per user who is sent, pending first, then accepted or rejected.

Users are recorded as pending, with the request that they are in, before anything is
sent. A delivery that was killed sends the requests that are still pending again: each
has the users and the key that it had, so the receiver knows it. Rows are only added;
``ma_audience_ledger`` is a view of the newest of each user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from typing import Any

from offline.audience.posting import Request
from offline.deployment import opened
from propensity.errors import RequestError
from propensity.gcp.warehouse import Warehouse
from propensity.statements import statement
from propensity.tables import every as tables

SQL = resources.files(__package__)
PENDING, ACCEPTED, REJECTED = "pending", "accepted", "rejected"


@dataclass(frozen=True)
class Ledger:
    """
    The rows of an audience's as-of date and a destination.

    Attributes:
        where: What all its rows have in common.
        rows: Rows that wait to be written.
    """

    warehouse: Warehouse
    where: Mapping[str, Any]
    now: Callable[[], datetime]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def recorded(self) -> Mapping[tuple[str, str], tuple[str, str]]:
        """Return status and request by action and user, in the order of requests."""
        rows = self.warehouse.table(statement("audience_sent", own=SQL), self.where)
        return {
            (row["action"], row["user_id"]): (row["status"], row["request"])
            for row in rows.to_pylist()
        }

    def listed(self) -> list[str]:
        """Return who was added as of an earlier date, and not removed since."""
        rows = self.warehouse.table(statement("audience_listed", own=SQL), self.where)
        users: list[str] = rows["user_id"].to_pylist()
        return users

    def record(
        self, request: Request, status: str, reasons: Mapping[str, str] | None = None
    ) -> None:
        """Record a request's users, rejected where there is a reason for a user."""
        rejected = reasons or {}
        same = {
            **self.where,
            "action": request.action,
            "request": request.key,
            "recorded_at": self.now(),
        }
        for user in (member.user_id for member in request.members):
            became = REJECTED if user in rejected else status
            reason = rejected.get(user)
            self.rows.append(
                {**same, "user_id": user, "status": became, "reason": reason}
            )

    def flush(self) -> None:
        """Write what waits: all of it or nothing."""
        if self.rows:
            self.warehouse.write(tables.AUDIENCE_LEDGER, self.rows)
            self.rows.clear()


def account(audience: str, *, use_case: str | None = None) -> dict[str, Any]:
    """
    Return what the ledger has of an audience: members, and users by their status.

    Raises:
        RequestError: There is no audience of this name.
    """
    with opened(use_case) as deployment:
        members, users = (
            [dict(row.items()) for row in deployment.rows(sql, audience=audience)]
            for sql in (
                statement("audience_selections", own=SQL),
                statement("audience_deliveries", own=SQL),
            )
        )
    name = deployment.use_case.name
    if not members:
        raise RequestError(f"{name} has no audience {audience}", field="audience")
    return {"use_case": name, "audience": audience, "members": members, "users": users}
