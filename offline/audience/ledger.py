"""
The ledger: what became of every user who was sent, to the row.

A request's users are recorded together once it is answered. Whoever is killed in
between sends the same request again: its receiver knows it by its key, and the ledger
has nobody twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from offline.audience.destinations.base import ADD, REMOVE, Request
from offline.promote import Deployment
from propensity import tables
from propensity.statements import statement

ACCEPTED, REJECTED = "accepted", "rejected"

# Users who are recorded at once: so many, and those of the requests under way, are sent
# again at most where a delivery is killed.
FLUSHED_AT = 1_000


@dataclass
class Tally:
    """Users who were sent, by what became of them: ``sent`` is always the sum."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def sent(self) -> int:
        """Users who were sent, or could not be."""
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
        self._waiting: list[dict[str, Any]] = []
        self._where = {
            "use_case": deployment.use_case.name,
            "audience": audience,
            "as_of": as_of,
            "destination": destination,
        }
        self.tallies = {ADD: Tally(), REMOVE: Tally()}

    def recorded(self) -> set[tuple[str, str]]:
        """Return action and user of all rows that are there."""
        rows = self._warehouse.table(statement("audience_recorded"), self._where)
        return set(zip(*(rows[n].to_pylist() for n in ("action", "user_id")),
                       strict=True))  # fmt: skip

    def listed(self) -> list[str]:
        """Return who was accepted earlier and not removed since, sorted."""
        rows = self._warehouse.table(statement("audience_listed"), self._where)
        return sorted(rows["user_id"].to_pylist())

    def add(self, request: Request, rejected: Mapping[str, str]) -> None:
        """Record a request that was answered."""
        tally = self.tallies[request.action]
        for member in request.members:
            reason = rejected.get(member.user_id)
            if reason is None:
                tally.accepted += 1
            else:
                tally.rejected[reason] += 1
            self._waiting.append(
                {
                    **self._where,
                    "action": request.action,
                    "user_id": member.user_id,
                    "request": request.key,
                    "status": ACCEPTED if reason is None else REJECTED,
                    "reason": reason,
                    "recorded_at": self._now(),
                }
            )
        if len(self._waiting) >= self._flushed_at:
            self.flush()

    def flush(self) -> None:
        """
        Write what waits: all of it or nothing.

        Rows whose write failed are not written again, as they may be there; if they are
        not, their users are sent again by the next delivery.
        """
        waiting, self._waiting = self._waiting, []
        if waiting:
            schema = tables.AUDIENCE_LEDGER.arrow_schema()
            rows = pa.Table.from_pylist(waiting, schema=schema)
            self._warehouse.write(tables.AUDIENCE_LEDGER, rows)
