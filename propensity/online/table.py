"""
Predictions from BigQuery, where there is no index: one query for all who wait.

02-GetProba imports this for every lookup, so nothing heavy may be imported here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from propensity.concurrency import GroupCommit
from propensity.errors import Unavailable
from propensity.gcp.log import log
from propensity.online.indexes import FUNCTION
from propensity.registry.index import Prediction
from propensity.settings import Settings
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.gcp.queries import Queries

# Each query bills 10 MB or more, so few at a time; more than one, so that a slow query
# does not hold up everybody.
CONCURRENT_QUERIES = 4
QUERY_USERS = 1_000
# Beyond this BigQuery is far behind, and waiting would end in a timeout anyway.
MAXIMUM_WAITING_USERS = 20 * QUERY_USERS

# A use case and a user.
Key = tuple[str, str]


class Table:
    """``ma_predictions_table``. Belongs to one event loop."""

    def __init__(
        self,
        queries: Callable[[], Queries],
        settings: Settings,
    ) -> None:
        """``queries`` opens BigQuery, in a thread."""
        self._queries = queries
        self._settings = settings
        self._reads: GroupCommit[Key, Prediction | None] = GroupCommit(
            self._read,
            writers=CONCURRENT_QUERIES,
            size=QUERY_USERS,
            waiting=MAXIMUM_WAITING_USERS,
        )

    async def find(
        self, use_case: str, user_ids: Sequence[str]
    ) -> Mapping[str, Prediction | None]:
        """
        Return users' predictions, None for a user without one.

        Raises:
            PropensityError: The predictions could not be read.
            Unavailable: It takes too long, or too many wait.
        """
        reads: dict[str, asyncio.Future[Prediction | None]] = {}
        for user_id in dict.fromkeys(user_ids):
            read = reads[user_id] = self._reads.submit((use_case, user_id), size=1)
            # Its error is known, also where nobody waits for it any more.
            read.add_done_callback(lambda read: read.cancelled() or read.exception())
        if reads:
            limit = self._settings.deadline_s
            _, late = await asyncio.wait(reads.values(), timeout=limit)
            if late:
                raise Unavailable(f"no answer within {limit} s")
        return {user_id: read.result() for user_id, read in reads.items()}

    async def _read(self, keys: Sequence[Key]) -> list[Prediction | None]:
        """Read predictions by one query for each use case."""
        users_of: dict[str, set[str]] = defaultdict(set)
        for use_case, user_id in keys:
            users_of[use_case].add(user_id)
        found: dict[Key, Prediction] = {}
        for use_case, users in users_of.items():
            found |= await asyncio.to_thread(self._query, use_case, sorted(users))
        return [found.get(key) for key in keys]

    def _query(self, use_case: str, user_ids: Sequence[str]) -> dict[Key, Prediction]:
        queries = self._queries().for_run()
        parameters = {"use_case": use_case, "user_ids": user_ids}
        rows = queries.lookup(statement("lookup"), parameters)
        log(
            "INFO",
            "read predictions",
            function=FUNCTION,
            use_case=use_case,
            outcome="read",
            rows_in=len(user_ids),
            rows_out=len(rows),
            bytes_billed=queries.bytes_billed,
        )
        return {(use_case, row.user_id): Prediction.of(row) for row in rows}
