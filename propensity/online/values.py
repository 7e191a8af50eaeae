"""
Lookups with a user's expected value beside the newest probability.

The index has no expected values, which would double it. So each request is a query of
the table: probability and value are of the same row.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from propensity.edges.asgi import Json
from propensity.edges.log import log
from propensity.errors import Unavailable
from propensity.online.question import Question
from propensity.online.sources import FUNCTION
from propensity.settings import Settings
from propensity.statements import statement
from propensity.waiting.threads import DaemonThreads, in_thread

if TYPE_CHECKING:
    from propensity.edges.warehouse import Warehouse

# Queries at once, beside those of other lookups, which they must not hold up.
CONCURRENT_QUERIES = 2
MAXIMUM_WAITING = 100


class Values:
    """
    Answers from the table's columns of expected values. Belongs to one event loop.

    Args:
        warehouse: Opens it, in a thread.
        settings: Of the deployment.
        threads: Gives a pool for its queries alone.
    """

    def __init__(
        self,
        warehouse: Callable[[], Warehouse],
        settings: Settings,
        *,
        threads: DaemonThreads,
    ) -> None:
        self._warehouse = warehouse
        self._timeout_s = settings.deadline_s
        self._threads = threads.pool(CONCURRENT_QUERIES, "values")
        self._sql = statement("lookup_value")
        self._waiting = 0

    async def answer(
        self, use_case: str, question: Question, *, oldest: int
    ) -> Response | None:
        """
        Return a user's probability and expected value.

        Args:
            use_case: Of the user.
            question: About one user.
            oldest: Day number of the oldest prediction date that is not stale.

        Returns:
            None for a user without a probability.

        Raises:
            PropensityError: The table could not be read.
        """
        if self._waiting >= MAXIMUM_WAITING:
            raise Unavailable("too many lookups of values are waiting to be read")
        self._waiting += 1
        [user_id] = question.user_ids
        reading = in_thread(self._threads, self._read, use_case, user_id)
        try:
            row = await asyncio.wait_for(reading, self._timeout_s)
        except TimeoutError:
            raise Unavailable(f"no answer within {self._timeout_s} s") from None
        finally:
            self._waiting -= 1
        if row is None:
            return None
        return Json(_rendered(user_id, row, oldest=oldest).encode())

    def _read(self, use_case: str, user_id: str) -> Any | None:
        rows, bytes_billed = self._warehouse().lookup(
            self._sql, {"use_case": use_case, "user_id": user_id}
        )
        log(
            "INFO",
            "read value",
            function=FUNCTION,
            use_case=use_case,
            outcome="read",
            rows_in=1,
            rows_out=len(rows),
            bytes_billed=bytes_billed,
        )
        return rows[0] if rows else None


def _rendered(user_id: str, row: Any, *, oldest: int) -> str:
    return json.dumps(
        {
            "user_id": user_id,
            "probability": row.probability,
            "prediction_date": row.as_of.isoformat(),
            "model_version": row.model_version,
            "percentile": row.percentile,
            "stale": row.as_of.toordinal() < oldest,
            "expected_value": None
            if row.expected_value is None
            else float(row.expected_value),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
