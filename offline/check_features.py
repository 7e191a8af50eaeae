"""
Check the streamed features against one clean computation over all events.

The view ``stream_features`` adds the newest events to a stored row of each user. This
computes every user anew from ``stream_events``, each event once, and compares all
columns. They must agree to the last digit, whatever was duplicated, reordered or
compacted. Users who differ only by a late event, which the next compaction counts, are
counted separately. Reads all events of the use case, which is billed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from propensity import usecases
from propensity.edges.warehouse import Warehouse
from propensity.errors import RequestError
from propensity.runs import compact
from propensity.runs.watermark import EPOCH
from propensity.settings import Settings
from propensity.statements import statement

# Events may be dated some minutes ahead of the clock.
AHEAD = timedelta(days=2)

_SINCE = re.compile(r"received_at >= TIMESTAMP '([^']*)'")


@dataclass(frozen=True)
class Compared:
    """
    Users that were compared, and the columns in which some differ.

    ``waiting`` counts users with a late event that the next compaction will count.
    """

    use_case: str
    users: int
    differing: Mapping[str, Mapping[str, tuple[Any, Any]]]
    waiting: int = 0

    def fields(self) -> dict[str, Any]:
        """Return the counts, and the differing columns without user ids."""
        return {
            "use_case": self.use_case,
            "users": self.users,
            "waiting": self.waiting,
            "differing": [*self.differing.values()],
        }

    def summary(self, *, shown: int) -> str:
        """
        Return the counts, and columns of some users who differ.

        Users are personal data: their features say which rows to look at.
        """
        lines = [
            f"{self.use_case}: {self.users:,} users, {len(self.differing):,} differ"
        ]
        if self.waiting:
            lines.append(
                f"  {self.waiting:,} more wait for the next compaction, by late events"
            )
        for columns in list(self.differing.values())[:shown]:
            described = (
                f"{name} {view} in the view, {clean} anew"
                for name, (view, clean) in columns.items()
            )
            lines.append("  " + "; ".join(described))
        return "\n".join(lines)


def run(use_case: str) -> Compared:
    """
    Compare the users of a use case as they are now.

    Raises:
        PropensityError: They could not be read, or there are none.
    """
    loaded = usecases.load(use_case)
    if not loaded.events:
        raise RequestError(f"{loaded.name} takes no events of the stream")
    with contextlib.closing(Warehouse.open(Settings.from_environment())) as warehouse:
        return compare(warehouse, loaded.name, now=datetime.now(UTC))


def compare(warehouse: Warehouse, use_case: str, *, now: datetime) -> Compared:
    """
    Compare the view with the clean computation, user by user.
    """
    view = _by_user(warehouse, "streamed_features", {"use_case": use_case})
    clean = _by_user(
        warehouse,
        "stream_features_as_of",
        {"use_case": use_case, "as_of": now + AHEAD, "earliest": date(1970, 1, 1)},
    )
    differing = {}
    for user in view.keys() | clean.keys():
        streamed, recomputed = view.get(user, {}), clean.get(user, {})
        columns = {
            name: (streamed.get(name), recomputed.get(name))
            for name in streamed.keys() | recomputed.keys()
            if streamed.get(name) != recomputed.get(name)
        }
        if columns:
            differing[user] = columns
    waiting = differing.keys() & _late_users(warehouse, use_case) if differing else ()
    return Compared(
        use_case=use_case,
        users=len(view.keys() | clean.keys()),
        differing={
            user: columns for user, columns in differing.items() if user not in waiting
        },
        waiting=len(waiting),
    )


def _late_users(warehouse: Warehouse, use_case: str) -> set[str]:
    """Return users with late events since the moment that the view reads from."""
    match = _SINCE.search(warehouse.view_text(compact.VIEW))
    since = datetime.fromisoformat(match[1]) if match else EPOCH
    parameters = {"use_case": use_case, "since": since, "since_day": since.date()}
    return {*_by_user(warehouse, "late_users", parameters)}


def _by_user(
    warehouse: Warehouse, name: str, parameters: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    return {
        row["user_id"]: row
        for batch in warehouse.batches(statement(name), parameters)
        for row in batch.to_pylist()
    }
