"""
Enriched events to Parquet files in the bucket, a folder for every day.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Mapping, Sequence
from datetime import date

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from propensity.errors import Conflict
from propensity.events import reading
from propensity.events.messages import Message
from propensity.events.values import Refused
from propensity.registry.versions import PARQUET
from propensity.stream.consumers import Consumer, Edges


class ArchiveEvents(Consumer):
    """The consumer ``archiveEvents``."""

    name = "archiveEvents"

    def __init__(self, edges: Edges) -> None:
        super().__init__(edges, linger_s=edges.settings.archive_linger_s)

    async def consume(self, messages: Sequence[Message]) -> Mapping[int, Refused]:
        """Write a group as one object for each day of its events."""
        accepted = reading.accept(
            messages,
            self.edges.catalogue,
            None,
            received_at=self.edges.clock.now(),
            rules=self.edges.rules,
        )
        accepted, n_suppressed = await self.unsuppressed(accepted, messages)
        if accepted.refused:
            await self.dead_letter(messages, accepted.refused)
        rows = accepted.rows
        days = pc.unique(rows.column("event_date"))
        # Late events make many days of a group; their writes wait at the same time.
        await asyncio.gather(
            *(asyncio.to_thread(self._write, day, rows) for day in days.to_pylist())
        )
        self.counts.add(
            accepted.reasons,
            rows_in=len(messages),
            rows_out=rows.num_rows,
            objects=len(days),
            suppressed=n_suppressed,
        )
        return accepted.refused

    def _write(self, day: date, group: pa.RecordBatch) -> None:
        rows = group.filter(pc.equal(group.column("event_date"), pa.scalar(day)))
        # The name is a hash of the events: a group delivered again is the same object.
        digest = hashlib.sha256()
        ids = rows.select(["use_case", "user_id", "event_id"]).to_pylist()
        for key in sorted(tuple(row.values()) for row in ids):
            digest.update(msgspec.json.encode(key))
        file = io.BytesIO()
        pq.write_table(pa.Table.from_batches([rows]), file)
        name = f"archive/events/date={day}/{digest.hexdigest()[:32]}.parquet"
        try:
            self.edges.artifacts.create(name, file.getvalue(), content_type=PARQUET)
        except Conflict:
            return
