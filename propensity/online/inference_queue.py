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

from propensity.edges.appends import RowsRefused
from propensity.edges.counts import Counts
from propensity.edges.failures import PUBLIC, failure_of
from propensity.edges.log import log
from propensity.errors import Unavailable
from propensity.online.instances import FUNCTION
from propensity.registry.inference_log import Row, batch_of, size_of

# Size of one append, and how long its first row waits for more.
APPEND_ROWS = 500
APPEND_BYTES = 4 * 1024**2
LINGER_S = 0.1
# Rows that may wait in an instance of the function. With more, requests are refused.
WAITING_ROWS = 50_000
WAITING_BYTES = 64 * 1024**2
# Pause after a failed append; it doubles with each further failure, up to the longest.
RETRY_S = 0.2
LONGEST_RETRY_S = 5.0


class InferenceQueue:
    """
    Appends rows to ``inference_log``, behind the answers.

    Failed appends are repeated, and no row is dropped. The queue is bounded: when it is
    full, further requests are refused.
    """

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
        self._size = 0
        self._reserved = 0
        self._writing: asyncio.Task[None] | None = None
        self._is_followed = False

    @property
    def waiting(self) -> int:
        """Rows that are not durable yet, with reserved ones."""
        return len(self._rows) + self._reserved

    def reserve(self, rows: int) -> None:
        """
        Reserve room for rows; ``release`` gives it back.

        Raises:
            Unavailable: The queue is full.
        """
        is_full = self.waiting and self.waiting + rows > WAITING_ROWS
        if is_full or self._size > WAITING_BYTES:
            raise Unavailable(
                "too many scores wait to be logged in this instance; try again"
            )
        self._reserved += rows

    def release(self, rows: int) -> None:
        """Give back reserved room."""
        self._reserved -= rows

    def add(self, rows: Sequence[Row]) -> None:
        """Queue rows of ``inference_log``."""
        self._rows.extend(rows)
        self._size += sum(map(size_of, rows))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    def background(self) -> Callable[[], Awaitable[None]] | None:
        """
        Return the background task for an answer, which keeps the server alive.

        On SIGTERM the server ends after its last request. So one request, answered
        long ago, stays open until the queue is empty; for others this is None.
        """
        return None if self._is_followed else self.settle

    async def settle(self) -> None:
        """Wait until the queue is empty."""
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
                group, size = self._next()
                await self._persist(group)
                for _ in group:
                    self._rows.popleft()
                self._size -= size
        finally:
            # However it ended: the next row begins anew, with those that are left.
            self._writing = None

    def _next(self) -> tuple[list[Row], int]:
        """Return the oldest rows that fit in an append, and their size."""
        group: list[Row] = []
        size = 0
        for row in islice(self._rows, APPEND_ROWS):
            more = size_of(row)
            if group and size + more > APPEND_BYTES:
                break
            group.append(row)
            size += more
        return group, size

    async def _persist(self, group: list[Row]) -> None:
        """Append a group, and repeat until it is durable."""
        pause = RETRY_S
        while group:
            try:
                await self._append(batch_of(group))
            except RowsRefused as error:
                # The table will never take these rows; the append had none of the rest.
                message = f"lost: the table refuses {len(error.rows)} rows for good"
                log("ERROR", message, function=FUNCTION, outcome=error.code)
                group = [row for at, row in enumerate(group) if at not in error.rows]
                continue
            except Exception as error:  # no error may lose a row that waits
                why = failure_of(error, PUBLIC).log_message
                message = f"inferences not logged yet: {why}"
                severity = "WARNING" if isinstance(error, Unavailable) else "ERROR"
                log(severity, message, function=FUNCTION, waiting=self.waiting)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_RETRY_S)
            else:
                self._counts.add(logged=len(group))
                return
