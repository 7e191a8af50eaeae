"""
Predictions from BigQuery, where there is no index: one query for all who wait.

02-GetProba imports this for every lookup, so nothing heavy may be imported here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from propensity.concurrency import GroupCommit
from propensity.errors import Unavailable
from propensity.gcp.log import log
from propensity.online.indexes import FUNCTION
from propensity.registry.index import Prediction
from propensity.settings import Settings
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.gcp.warehouse import Warehouse

# Each query bills 10 MB or more, so few at a time; more than one, so that a slow query
# does not hold up everybody.
CONCURRENT_QUERIES = 4
QUERY_USERS = 1_000
# Beyond this BigQuery is far behind, and waiting would end in a timeout anyway.
MAXIMUM_WAITING_USERS = 20 * QUERY_USERS
# Users whose predictions are kept.
KEPT_USERS = 100_000

# A use case and a user.
Key = tuple[str, str]
Future = asyncio.Future[Prediction | None]


class Table:
    """
    ``ma_predictions_table``; each answer is kept for PROPENSITY_REFRESH_S.

    Belongs to one event loop.
    """

    def __init__(
        self,
        warehouse: Callable[[], Warehouse],
        settings: Settings,
        *,
        clock: Callable[[], float],
    ) -> None:
        """
        Args:
            warehouse: Opens BigQuery, in a thread.
            settings: Of the deployment.
            clock: Monotonic, in seconds.
        """
        self._warehouse = warehouse
        self._settings = settings
        self._clock = clock
        self._reads: GroupCommit[Key, Prediction | None] = GroupCommit(
            self._read,
            writers=CONCURRENT_QUERIES,
            size=QUERY_USERS,
            waiting=MAXIMUM_WAITING_USERS,
        )
        # With their end, the oldest first; those of reads under way, too.
        self._kept: dict[Key, tuple[float, Future]] = {}

    async def find(
        self, use_case: str, user_ids: Sequence[str]
    ) -> Mapping[str, Prediction | None]:
        """
        Return users' predictions, None for a user without one.

        Raises:
            PropensityError: The predictions could not be read. Nothing is kept then.
            Unavailable: It takes too long, or too many wait.
        """
        if not user_ids:
            return {}
        found = {user: self._future((use_case, user)) for user in user_ids}
        limit = self._settings.deadline_s
        # Cancelling a wait leaves the futures alone: others may wait for them too.
        _, late = await asyncio.wait({*found.values()}, timeout=limit)
        if late:
            raise Unavailable(f"no answer within {limit} s")
        return {user: future.result() for user, future in found.items()}

    def _future(self, key: Key) -> Future:
        """Return the future of a user's prediction: a kept one, or that of a read."""
        now = self._clock()
        expires, future = self._kept.pop(key, (now, None))
        if future is None or now >= expires:
            expires = now + self._settings.refresh_s
            future = self._reads.submit(key, size=1)
            future.add_done_callback(partial(self._forget_failed, key))
        self._kept[key] = expires, future
        if len(self._kept) > KEPT_USERS:
            del self._kept[next(iter(self._kept))]
        return future

    def _forget_failed(self, key: Key, future: Future) -> None:
        is_failed = future.cancelled() or future.exception()
        if is_failed and self._kept.get(key, (0, None))[1] is future:
            del self._kept[key]

    async def _read(self, keys: Sequence[Key]) -> list[Prediction | None]:
        """Read predictions by one query for each use case."""
        users_of: dict[str, dict[str, None]] = defaultdict(dict)
        for use_case, user_id in keys:
            users_of[use_case][user_id] = None
        found: dict[Key, Prediction] = {}
        for use_case, users in users_of.items():
            found |= await asyncio.to_thread(self._query, use_case, [*users])
        return [found.get(key) for key in keys]

    def _query(self, use_case: str, user_ids: Sequence[str]) -> dict[Key, Prediction]:
        began = self._clock()
        rows, bytes_billed = self._warehouse().lookup(
            statement("lookup"), {"use_case": use_case, "user_ids": user_ids}
        )
        log(
            "INFO",
            "read predictions",
            function=FUNCTION,
            use_case=use_case,
            outcome="read",
            rows_in=len(user_ids),
            rows_out=len(rows),
            seconds=self._clock() - began,
            bytes_billed=bytes_billed,
        )
        return {
            (use_case, row.user_id): Prediction(
                row.probability,
                row.percentile,
                row.as_of.isoformat(),
                row.model_version,
                None if row.expected_value is None else float(row.expected_value),
            )
            for row in rows
        }
