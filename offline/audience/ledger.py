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
from typing import Any

import pyarrow as pa

from offline.audience.destinations.base import ADD, REMOVE, Request
from offline.audience.selection import Member
from offline.promote import Deployment
from propensity import tables
from propensity.pages.words import cleaned
from propensity.privacy.suppression import Suppressed
from propensity.statements import statement

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
        check_turn: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            audience, as_of, destination: The rows that are read and written.
            flushed_at: Users who are recorded at once.
            check_turn: Raises where another delivery has begun; None where nothing is
                recorded.
        """
        self._check_turn = check_turn
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

    def check(self) -> None:
        """
        Raise SchemaError where nothing could be recorded, before anything is sent.

        A table of before there were receipts has no column for them. It bills nothing.
        """
        where = dict(self._where)
        where["since"] = where.pop("as_of")
        self._warehouse.column_types(statement("audience_receipts"), where)

    def recorded(self, as_of: date | None = None) -> set[tuple[str, str]]:
        """Return action and user of all rows of a date; the ledger's own by default."""
        where = self._where if as_of is None else self._where | {"as_of": as_of}
        rows = self._warehouse.table(statement("audience_recorded"), where)
        actions, users = rows["action"].to_pylist(), rows["user_id"].to_pylist()
        return {*zip(actions, users, strict=True)}

    def listed(self) -> list[str]:
        """Return who was accepted earlier and not removed since, sorted."""
        rows = self._warehouse.table(statement("audience_listed"), self._where)
        return sorted(rows["user_id"].to_pylist())

    def unknown(self, as_of: date, *, reach: int, suppressed: Suppressed) -> list[str]:
        """
        Return treated members of a date who may have been added and are in no row.

        Args:
            reach: Users whom a delivery may have sent after the last one in a row.
            suppressed: They have been sent or left out, so none of them counts.
        """
        use_case = str(self._where["use_case"])
        rows = self._warehouse.table(
            statement("audience_members"), self._where | {"as_of": as_of}
        )
        is_control = rows["is_control"].to_pylist()
        users = zip(rows["user_id"].to_pylist(), is_control, strict=True)
        treated = sorted(user for user, is_held_out in users if not is_held_out)
        recorded = self.recorded(as_of)
        known = [(ADD, user) in recorded for user in treated]
        last = max((at for at, is_known in enumerate(known) if is_known), default=-1)
        reached = []
        for at, user in enumerate(treated):
            if at > last and not suppressed.covers(user, use_case):
                reach -= 1
                if reach < 0:
                    break
            if not known[at]:
                reached.append(user)
        return reached

    def add(self, parts: Sequence[Part], receipts: Mapping[str, str]) -> None:
        """
        Record a request that was answered: what was taken, in one part or more.

        Args:
            parts: Requests, with the users who were rejected.
            receipts: What the destination calls them, by their keys, where it works on
                them later.
        """
        for request, rejected in parts:
            key = request.key
            # The same for all users of the request: computed once.
            same = {
                **self._where,
                "action": request.action,
                "request": key,
                "receipt": cleaned(receipts.get(key)),
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
                "receipt": same["receipt"] if reason is None else None,
                "status": ACCEPTED if reason is None else REJECTED,
                "reason": reason,
                "recorded_at": self._now(),
            }
        )

    def flush(self) -> None:
        """
        Write what waits: all of it or nothing.

        Rows whose write failed are not written again, as they may be there; if they are
        not, their users are sent again by the next delivery. Where that has begun
        nothing is written: it has not found these users, and records them.
        """
        if self._waiting and self._check_turn is not None:
            self._check_turn()
        waiting, self._waiting = self._waiting, []
        if waiting:
            schema = tables.AUDIENCE_LEDGER.arrow_schema()
            rows = pa.Table.from_pylist(waiting, schema=schema)
            self._warehouse.write(tables.AUDIENCE_LEDGER, rows)
