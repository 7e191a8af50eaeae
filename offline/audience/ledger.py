"""
The ledger: what became of every user who was sent, to the row.

The users of a request are recorded together once it is answered, under the key of the
request that the receiver took. A request that is refused as a whole is taken in parts,
each with a key of its own. A delivery that was killed in between sends the same request
again: the receiver knows it by its key, and the ledger has nobody twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib import resources
from typing import Any

import pyarrow as pa

from offline.audience.destinations.base import ADD, REMOVE, Request
from offline.audience.selection import Member
from offline.promote import Deployment
from propensity import tables
from propensity.pages.words import cleaned
from propensity.statements import statement

SQL = resources.files(__package__)

ACCEPTED, REJECTED = "accepted", "rejected"

# A request, and the users of it who were rejected, with reasons.
Part = tuple[Request, Mapping[str, str]]

# Users who are recorded at once. After a kill at most so many are sent again, and the
# users of the requests under way.
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
        """
        Args:
            audience, as_of, destination: The rows that are read and written.
            flushed_at: Users who are recorded at once.
        """
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
        """Return action and user of all rows."""
        rows = self._warehouse.table(
            statement("audience_recorded", own=SQL), self._where
        )
        actions, users = rows["action"].to_pylist(), rows["user_id"].to_pylist()
        return {*zip(actions, users, strict=True)}

    def listed(self) -> list[str]:
        """Return who was accepted earlier and not removed since, sorted."""
        rows = self._warehouse.table(statement("audience_listed", own=SQL), self._where)
        return sorted(rows["user_id"].to_pylist())

    def add(self, parts: Sequence[Part]) -> None:
        """
        Record a request that was answered: what was taken, in one part or more.

        Args:
            parts: Requests, with the users who were rejected.
        """
        for request, rejected in parts:
            # The same for all users of the request: computed once.
            same = {
                **self._where,
                "action": request.action,
                "request": request.key,
            }
            for member in request.members:
                self._note(same, member, rejected.get(member.user_id))
        if len(self._waiting) >= self._flushed_at:
            self.flush()

    def _note(
        self, same: Mapping[str, Any], member: Member, reason: str | None
    ) -> None:
        # A receiver's own words may have what no table and no terminal takes.
        reason = cleaned(reason)
        tally = self.tallies[same["action"]]
        if reason is None:
            tally.accepted += 1
        else:
            tally.rejected[reason] += 1
        self._waiting.append(
            {
                **same,
                "user_id": member.user_id,
                "status": ACCEPTED if reason is None else REJECTED,
                "reason": reason,
                "recorded_at": self._now(),
            }
        )

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
