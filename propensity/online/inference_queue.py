"""
The queue of rows for ``inference_log``, appended behind the answers.

An answer does not wait for the table, and the function ends only when all rows are in
it. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

import pyarrow as pa

from propensity.errors import Unavailable
from propensity.gcp.http import PUBLIC, failure_of
from propensity.gcp.log import Counts, log
from propensity.gcp.writes import RowsRefused
from propensity.registry.inference_log import Row, batch_of

FUNCTION = "score"
# Rows of one append, and how long its first row waits for more.
APPEND_ROWS = 500
LINGER_S = 0.1
# Rows that may wait in an instance of the function. With more, requests are refused.
WAITING_ROWS = 20_000
# Pause after a failed append.
RETRY_S = 1.0


class InferenceQueue:
    """Appends rows, and repeats failed appends; no row is dropped."""

    def __init__(
        self, append: Callable[[pa.RecordBatch], Awaitable[None]], counts: Counts
    ) -> None:
        """
        Args:
            append: Makes rows durable, or raises.
            counts: Counts durable rows as ``logged``.
        """
        self._append = append
        self._counts = counts
        # With those of the append under way, until they are durable.
        self._rows: deque[Row] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._is_followed = False

    def check_room(self) -> None:
        """Raise Unavailable where the queue is full."""
        if len(self._rows) >= WAITING_ROWS:
            raise Unavailable(
                "too many scores wait to be logged in this instance; try again"
            )

    def add(self, rows: Sequence[Row]) -> None:
        """Queue rows of ``inference_log``."""
        self._rows.extend(rows)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def settle(self) -> None:
        """
        Wait until the queue is empty: the background task of an answer.

        On SIGTERM the server ends after its last request. So one request, answered
        long ago, stays open until the queue is empty; others end at once.
        """
        if self._is_followed:
            return
        self._is_followed = True
        try:
            while self._writing is not None:
                await asyncio.wait([self._writing])
        finally:
            self._is_followed = False

    async def _write(self) -> None:
        try:
            while self._rows:
                if len(self._rows) < APPEND_ROWS:
                    await asyncio.sleep(LINGER_S)
                group = [*islice(self._rows, APPEND_ROWS)]
                await self._persist(group)
                for _ in group:
                    self._rows.popleft()
        finally:
            # However it ended: the next row begins anew, with those that are left.
            self._writing = None

    async def _persist(self, group: Sequence[Row]) -> None:
        """Append a group, and repeat until it is durable."""
        while group:
            try:
                await self._append(batch_of(group))
            except RowsRefused as error:
                # The table will never take these rows; the append had none of the rest.
                message = f"lost: the table refuses {len(error.rows)} rows for good"
                log("ERROR", message, function=FUNCTION, outcome=error.code)
                group = [row for at, row in enumerate(group) if at not in error.rows]
            except Exception as error:  # no error may lose a row that waits
                why = failure_of(error, PUBLIC).log_message
                message = f"inferences not logged yet: {why}"
                log("ERROR", message, function=FUNCTION, waiting=len(self._rows))
                await asyncio.sleep(RETRY_S)
            else:
                self._counts.add(logged=len(group))
                return
